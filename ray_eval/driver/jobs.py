"""A run as a job of a Ray cluster: what is different inside one, and how one is handed in and followed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray_eval.config import EvalConfig
from ray_eval.errors import SetupError

JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set in the processes of a job. Source: ray/dashboard/modules/job/job_supervisor.py."""
STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"
"""How long `ray job stop` waits between SIGTERM and SIGKILL, where the cluster was started with it."""
STOP_WAIT_S = 3.0
"""That, where nothing says it."""
PUTTING_AWAY_S = 2.5
"""What a run needs of it once its episodes are let go: the last lines, the summary."""
POLL_S = 0.5
_STOPPED = 130


def in_a_job(config: EvalConfig, environment: Mapping[str, str] = os.environ) -> EvalConfig:
    """The configuration as it is meant inside a job: that cluster unless another is named, and a grace that fits.

    A Ray of its own would be a second one on the head, and share the job's environment.
    """
    if JOB not in environment:
        return config
    grace_s = max(0.0, float(environment.get(STOP_WAIT) or STOP_WAIT_S) - PUTTING_AWAY_S)
    return dataclasses.replace(
        config,
        ray=dataclasses.replace(config.ray, address=config.ray.address or "auto"),
        limits=dataclasses.replace(config.limits, grace_s=min(config.limits.grace_s, grace_s)),
    )


def submit(
    arguments: Sequence[str],
    *,
    address: str | None,
    folder: str | None,
    program: str = "ray-eval",
    say: Callable[[str], None] = print,
) -> int:
    """Hands a command in as a job, shows what it prints, and gives its exit code.

    `ray job submit` itself gives 1 for every code but 0. Ctrl+C stops the job, as `ray job stop` does.

    Args:
        arguments: words of ray-eval, from the command on.
        address: of the cluster's dashboard, `http://127.0.0.1:8265`; None takes the one that RAY_ADDRESS names.
        folder: a folder that the job is to run in, sent to the cluster; None runs in the head's own.
        program: ray-eval on the head.
        say: shows a line.

    Raises:
        SetupError: nobody answers there.
    """
    from ray.job_submission import JobSubmissionClient

    try:
        client = JobSubmissionClient(address)
        job = client.submit_job(
            entrypoint=shlex.join([program, *arguments]), runtime_env={"working_dir": folder} if folder else {}
        )
    except (ConnectionError, RuntimeError) as error:
        raise SetupError(
            f"--address {address}: expected the dashboard of a Ray cluster, got {error}; ray dashboard opens a way"
        ) from error
    say(f"job {job}; ray job stop {job} stops it")
    try:
        asyncio.run(_show(client, job))
    except KeyboardInterrupt:
        say("stopping the job")
        client.stop_job(job)
    return _exit_code(client, job, program)


async def _show(client: Any, job: str) -> None:
    async for text in client.tail_job_logs(job):
        sys.stdout.write(text)
        sys.stdout.flush()


def _exit_code(client: Any, job: str, program: str) -> int:
    while True:
        info = client.get_job_info(job)
        if info.status.is_terminal():
            break
        time.sleep(POLL_S)
    if info.status == "STOPPED":
        return _STOPPED
    code = info.driver_exit_code
    if code == 127:
        raise SetupError(
            f"job {job}: expected {program} on the head's PATH, got none; start Ray from an activated environment, or "
            "say --program with its whole path there"
        )
    with contextlib.suppress(TypeError, ValueError):
        return int(code)
    raise SetupError(f"job {job}: expected the command's exit code, got {info.message or info.status}")

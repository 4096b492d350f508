"""`bench memory`: what a worker's process holds after an episode with images of each of several tasks."""

from __future__ import annotations

import contextlib
import re
import resource
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ray_eval.bench.checkouts import Checkout
from ray_eval.bench.rows import Row
from ray_eval.bench.tasks import BenchTask
from ray_eval.envs import make_env
from ray_eval.errors import SetupError
from ray_eval.rollout.built_envs import BuiltEnvs, resident_bytes
from ray_eval.types import IMAGE, STATE, WRIST_IMAGE

STEPS = 10
"""Steps of each episode, both cameras drawn after the last."""

LOOK_S: Final = 0.5
"""Time between two looks at the memory of processes."""


def bench_memory(tasks: Sequence[BenchTask], budget_bytes: int) -> list[Row]:
    """Resident memory, GB, with envs kept within the budget as a worker keeps them."""
    envs = BuiltEnvs(make_env)
    found = [("before the first", resident_bytes(), 0)]
    with contextlib.closing(envs):
        for task in tasks:
            env = envs.env_of(task.suite, task.task_id, task.settings((IMAGE, WRIST_IMAGE, STATE)), budget_bytes)
            env.reset(task.spec())
            for action in task.actions(STEPS):
                env.step(action)
            env.observe()
            found.append((str(task), resident_bytes(), len(envs)))
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return [
        *(_row(on, f"resident, {count} envs", size, budget_bytes) for on, size, count in found),
        _row("the whole time", "resident at most", peak_bytes, budget_bytes),
    ]


def bench_shared_memory(
    tasks: Sequence[BenchTask], checkouts: Sequence[Checkout], beside: int, repeats: int
) -> list[Row]:
    """Proportional memory (PSS) at most of each of several workers side by side, of one or two checkouts in turn.

    Args:
        tasks: What each of them runs, as `bench_memory` does.
        checkouts: This one, and what it is compared with.
        beside: How many processes.
        repeats: How often.
    """
    found: dict[str, list[float]] = {checkout.name: [] for checkout in checkouts}
    for _ in range(repeats):
        for checkout in checkouts:
            found[checkout.name].append(_most_pss(tasks, checkout, beside) / beside / 1e9)
    ours, *others = (statistics.median(values) for values in found.values())
    subject, other = f"{len(tasks)} tasks, {beside} processes", checkouts[-1].name if others else ""
    return [Row(subject, "PSS of each at most", ours, "GB", repeats, other, others[0] if others else None)]


def _most_pss(tasks: Sequence[BenchTask], checkout: Checkout, beside: int) -> int:
    """Bytes of all at the moment at which they are most."""
    words = [word for task in tasks for word in ("--task", f"{task.suite}/{task.task_id}")]
    command, most = checkout.command("bench", "memory", *words), 0
    running = [
        subprocess.Popen(command, env=checkout.environment(), cwd=checkout.folder, stdout=subprocess.DEVNULL)
        for _ in range(beside)
    ]
    try:
        while all(process.poll() is None for process in running):
            most = max(most, sum(_pss(process.pid) for process in running))
            time.sleep(LOOK_S)
        codes = [process.wait() for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    if any(codes):
        raise SetupError(f"bench memory: expected {checkout.name} to finish, got exit codes {codes}")
    return most


def _pss(pid: int) -> int:
    """Bytes of a process; 0 where it has just ended."""
    with contextlib.suppress(OSError):
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        return int(found.group(1)) * 1024 if found else 0
    return 0


def _row(subject: str, what: str, size_bytes: int, budget_bytes: int) -> Row:
    return Row(subject, what, size_bytes / 1e9, "GB", 1, "limits.worker_memory_gb", budget_bytes / 1e9)

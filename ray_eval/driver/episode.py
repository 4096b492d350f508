"""One episode of a recorded run, run again in this process without Ray: for a look, a video or a debugger."""

from __future__ import annotations

import contextlib
import os
import pdb  # noqa: T100 - the debugger is what --pdb asks for
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ray_eval.config import EvalConfig, check_writable, load_config, simulator_section
from ray_eval.driver.filming import FILM, check_can_film, film_makers, written
from ray_eval.driver.latency import resolve_latency
from ray_eval.driver.plan import plan_of
from ray_eval.driver.recording import Recorded, Recording
from ray_eval.driver.resolve import env_settings, queue_rules, told_section
from ray_eval.driver.simulators import env_spec_of, simulator_of
from ray_eval.envs.gl import choose_backend, gl_environment
from ray_eval.errors import ConfigError, SetupError, did_you_mean
from ray_eval.report.ledger import read_ledger, result_of
from ray_eval.report.trace import write_trace
from ray_eval.rollout.hosted import HostedRollout
from ray_eval.rollout.replaying import ReplaySettings
from ray_eval.rollout.running import Rollout, RolloutSettings
from ray_eval.scratch import scratch_folder
from ray_eval.sections import ListenSection
from ray_eval.serving.actor import PolicyActor
from ray_eval.serving.credentials import new_token
from ray_eval.types import EnvSpec, EpisodeResult, Outcome, StepRecord

SAME, DIFFERENT = 0, 1
"""Exit codes: the trajectory is the recorded one, or it is not."""


def run_again(
    folder: Path, episode_id: str, *, video: Path | None = None, trace: Path | None = None, is_debugged: bool = False
) -> int:
    """Runs the episode and says whether its trajectory is the recorded one.

    Args:
        folder: the run's folder.
        episode_id: the episode.
        video: .mp4 file of what the usual cameras see.
        trace: Parquet file of what the queue held and what was executed, a row per control step.
        is_debugged: whether to stop in the debugger where it breaks.

    Raises:
        ConfigError: the ledger has no such episode.
        LedgerError: the folder holds no run.
        SetupError: the trace cannot be written.
    """
    records: list[StepRecord] = []
    for option, file in (("--video", video), ("--trace", trace)):
        if file is not None:
            check_writable(file, option)
    if video is not None:
        check_can_film(video)
    ledger = read_ledger(folder)
    config = load_config(ledger.header["config"])
    env_spec = env_spec_of(config, plan_of(config))
    recorded = _recorded(ledger.episodes, episode_id)
    _enter_worker_environment(config)
    with (
        _rollout(config, ledger.header["identity"], env_spec) as (rollout, settings),
        _debugger(is_enabled=is_debugged),
    ):
        result = rollout.watched(recorded.spec, 1, settings, on_record=records.append)
        print(f"{episode_id}: {result.outcome}, {result.steps} steps, {result.wall_s:.1f} s")
        if video is not None:
            _film(Recording(folder), result, rollout, video)
            print(f"video: {video}")
    if trace is not None:
        write_trace(trace, records, episode_id)
        print(f"trace: {trace}, {len(records)} steps")
    return _compare(recorded, result)


def unsuccessful(folder: Path) -> list[str]:
    """The ids of a run's episodes that did not succeed, each with what came of it behind a `#`.

    Raises:
        LedgerError: the folder holds no run.
    """
    records = read_ledger(folder).episodes
    return [
        f"{episode_id}  # {record['outcome']}, {record['steps']} steps{_cause(record)}"
        for episode_id, record in records.items()
        if record["outcome"] != Outcome.SUCCESS
    ]


def _cause(record: Mapping[str, Any]) -> str:
    return f": {record['error']}" if record.get("error") else ""


def _recorded(records: Mapping[str, Mapping[str, Any]], episode_id: str) -> EpisodeResult:
    if episode_id not in records:
        hint = did_you_mean(episode_id, records)
        some = f"; the first of them is {next(iter(records))}" if records and not hint else f".{hint}"
        raise ConfigError(f"{episode_id}: expected an episode of the run's ledger, found none{some}")
    return result_of(records[episode_id])


def _enter_worker_environment(config: EvalConfig) -> None:
    """Starts this program anew with a worker's variables, which count only before NumPy and GL are loaded."""
    is_drawn = simulator_of(config).gl is not None
    backend = choose_backend(config.render.gl, python=config.simulator.python).backend if is_drawn else "osmesa"
    wanted = gl_environment(backend)
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, "-m", "ray_eval", *sys.argv[1:]], {**os.environ, **wanted})  # noqa: S606


@contextlib.contextmanager
def _rollout(
    config: EvalConfig, identity: Mapping[str, Any], env_spec: EnvSpec
) -> Iterator[tuple[Rollout | HostedRollout, RolloutSettings]]:
    """A rollout whose policy is served by a thread of this process, and what it is to be given."""
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder())
        listen = ListenSection(f"unix:{scratch}/policy-0.sock", new_token())
        policy = PolicyActor(
            f"policy-0 {config.policy_type}", told_section(config, env_spec), listen, config.serving.batching()
        )
        stack.callback(policy.close)
        spec = policy.spec()
        latency = resolve_latency(config.execution.latency, identity, policy.calibrate, env_spec.control_hz)
        settings = RolloutSettings(
            "again",
            env_settings(config, spec, env_spec),
            queue_rules(config, spec),
            latency.section,
            fps=config.execution.fps,
            keeps_actions=True,
        )
        section = simulator_section(config)
        is_here = section.python is None
        rollout = Rollout(policy.connection, section) if is_here else HostedRollout(section, policy.connection)
        stack.callback(rollout.close)
        yield rollout, settings


def _film(recording: Recording, result: EpisodeResult, rollout: Rollout | HostedRollout, video: Path) -> None:
    """Runs what was just executed once more, and films that."""
    if result.actions is None:
        raise SetupError(f"--video: expected an episode short enough to be kept, got {result.steps} steps")
    maker = film_makers(recording, 1)(Recorded(result, result.actions))[FILM]
    settings = ReplaySettings(recording.env_settings(), maker.looks)
    retraced = rollout.replay(result.spec, result.actions.array(), settings, maker.see)
    written(video, maker.made(retraced).video or b"")


@contextlib.contextmanager
def _debugger(*, is_enabled: bool) -> Iterator[None]:
    try:
        yield
    except Exception:
        if is_enabled:
            pdb.post_mortem(sys.exc_info()[2])
        raise


def _compare(recorded: EpisodeResult, result: EpisodeResult) -> int:
    if recorded.outcome is Outcome.ERROR:
        print(f"the ledger has no trajectory to compare with: that attempt ended in {recorded.error}")
        return SAME
    if result.trajectory_sha256 == recorded.trajectory_sha256:
        print(f"trajectory: the recorded one, {result.trajectory_sha256}")
        return SAME
    print(f"trajectory: NOT the recorded one: {recorded.trajectory_sha256} there, {result.trajectory_sha256} now")
    print(f"  recorded: {recorded.outcome}, {recorded.steps} steps; now: {result.outcome}, {result.steps} steps")
    return DIFFERENT

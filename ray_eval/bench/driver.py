"""`bench pipeline --workers N --fake`: the driver, its ledger, the policy server and its clients under many workers."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np
import psutil
from rich.console import Console

from ray_eval.bench.crowd import CrowdedCluster, Turn
from ray_eval.bench.rows import Row
from ray_eval.config import EvalConfig, load_config
from ray_eval.driver.cluster import ray_session
from ray_eval.driver.folder import RunFolder
from ray_eval.driver.part import Part
from ray_eval.driver.plan import plan_of
from ray_eval.driver.replicas import actor_cpus
from ray_eval.driver.session import Session
from ray_eval.errors import SetupError
from ray_eval.report.progress import ProgressView
from ray_eval.scratch import scratch_folder
from ray_eval.types import EpisodeResult

EPISODES_PER_REPEAT: Final = 15
"""Episodes of the fake suite: three tasks of five init states."""
POLICY: Final = ("policy=random", "policy.images=false", "protocol.replan_steps=chunk")
"""A policy that costs next to nothing, behind the real server."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What the driver had spent when it had taken a result and written it down."""

    at: float
    """Monotonic time, s."""
    cpu_s: float
    """CPU time of the driver's process since its start, Ray's threads in it included."""


class Timekeeper(ProgressView):
    """The view of a run without a terminal, its lines thrown away, which notes when each result is told of."""

    def __init__(self, output: IO[str]) -> None:
        super().__init__(Console(file=output, width=120))
        self.moments: list[Moment] = []

    def finished(self, result: EpisodeResult, label: str = "") -> None:
        """Notes the time; the line of the ledger is on disk by now."""
        self.moments.append(Moment(time.monotonic(), time.process_time()))
        super().finished(result, label)


@dataclass(frozen=True, slots=True)
class Crowded:
    """What a run with many simulated workers showed while all of them were busy."""

    workers: int
    """Simulated workers."""
    episodes: int
    """Episodes committed in the time that is looked at: neither the first of each worker nor the last."""
    per_s: float
    """Episodes committed per second, each fsynced."""
    bound_per_s: float
    """The same for workers that never wait: their number over an episode's mean length."""
    cpu_share: float
    """CPUs that the driver's process kept busy."""
    delays_s: tuple[float, ...]
    """From each result to that worker's next episode, as the worker sees it."""
    memory_bytes: int
    """Resident memory of the driver's process at the end."""

    def delay_ms(self, percentile: float) -> float:
        """A percentile of the delays."""
        return float(np.percentile(self.delays_s, percentile)) * 1000


def bench_driver(workers: int, episodes_per_worker: int, steps: int, step_ms: float) -> list[Row]:
    """The figures of a run of so many episodes for each worker, by the driver's own code from its session on."""
    with scratch_folder() as scratch:
        found = run_crowded(_config(workers, episodes_per_worker, steps, Path(scratch) / "run"), step_ms)
    return rows_of(found, f"{workers} workers, {steps} steps of {step_ms:g} ms")


def rows_of(found: Crowded, subject: str) -> list[Row]:
    """A run's figures as rows."""
    count = found.episodes
    return [
        Row(subject, "episodes committed", found.per_s, "1/s", count, "workers never wait", found.bound_per_s),
        Row(subject, "driver's CPU", found.cpu_share, "", count, "one core", 1.0),
        Row(subject, "result to next lease, median", found.delay_ms(50), "ms", count),
        Row(subject, "result to next lease, 99 %", found.delay_ms(99), "ms", count),
        Row(subject, "driver's memory", found.memory_bytes / 1e6, "MB", 1),
    ]


def _config(workers: int, episodes_per_worker: int, steps: int, out: Path) -> EvalConfig:
    repeats = -(-workers * episodes_per_worker // EPISODES_PER_REPEAT)
    words = ["suite=fake", f"repeats={repeats}", f"protocol.max_steps={steps}", f"workers={workers}"]
    return load_config(None, [*POLICY, *words, "ray.dashboard=false", f"out={out}"])


def run_crowded(config: EvalConfig, step_ms: float) -> Crowded:
    """Runs a configuration with simulated workers, by the driver's own code from its session on.

    Raises:
        SetupError: Ray does not start, or an episode ended as an error.
    """
    plan, workers = plan_of(config), int(config.workers)
    folder = RunFolder(Path(str(config.out)), is_resume=False)
    with contextlib.closing(folder), Path(os.devnull).open("w") as nowhere:
        part, view = Part(config, plan, folder), Timekeeper(nowhere)
        with scratch_folder() as scratch, _crowded(config, step_ms / 1000) as cluster:
            Session(config, cluster, scratch, view, len(plan)).execute([part])
            turns = cluster.turns()
        results = part.evaluation(is_interrupted=False).results
    broken = [result.error for result in results if result.error]
    if broken or len(results) != len(plan):
        raise SetupError(f"bench pipeline: expected {len(plan)} episodes, got {len(broken)} errors: {broken[:1]}")
    return figures(workers, view.moments, turns, results)


@contextlib.contextmanager
def _crowded(config: EvalConfig, step_s: float) -> Iterator[CrowdedCluster]:
    with ray_session(config.ray, "ray-eval-bench", 1, actor_cpus(config)) as cluster:
        yield CrowdedCluster(**{**vars(cluster), "worker_cpus": int(config.workers)}, step_s=step_s)


def figures(
    workers: int, moments: Sequence[Moment], turns: Sequence[Turn], results: Sequence[EpisodeResult]
) -> Crowded:
    """What the driver's moments and the workers' turns say.

    The first and the last episode of each worker are left out: they begin together, and end one by one.

    Raises:
        SetupError: there are no more than those.
    """
    busy = moments[workers : len(moments) - workers]
    if len(busy) < 2:
        raise SetupError(f"bench pipeline: expected more than two episodes for each worker, got {len(moments)}")
    first, last = busy[0], busy[-1]
    delays = tuple(turn.delay_s for turn in turns if first.at <= turn.since <= last.at)
    length_s = sum(result.wall_s for result in results) / len(results)
    return Crowded(
        workers,
        episodes=len(busy) - 1,
        per_s=(len(busy) - 1) / (last.at - first.at),
        bound_per_s=workers / length_s,
        cpu_share=(last.cpu_s - first.cpu_s) / (last.at - first.at),
        delays_s=delays,
        memory_bytes=psutil.Process().memory_info().rss,
    )

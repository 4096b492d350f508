"""Two minutes of a planned run, measured: what a forecast of the whole is drawn from. Runs in the driver."""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from ray_eval.capacity.figures import EpisodeFigures, Figures, median_or, own_time_s, scaled
from ray_eval.config import EvalConfig
from ray_eval.driver.cluster import local_workers, worker_count
from ray_eval.driver.folder import RunFolder
from ray_eval.driver.part import Part
from ray_eval.driver.plan import plan_of
from ray_eval.driver.replicas import policy_cpus
from ray_eval.driver.session import Session, open_session
from ray_eval.errors import SetupError
from ray_eval.report.ledger import read_ledger
from ray_eval.report.progress import ProgressView, RunView
from ray_eval.rollout.latency import make_latency
from ray_eval.scratch import scratch_folder
from ray_eval.sections import WORKER_MEMORY_BYTES
from ray_eval.types import EpisodeResult, EpisodeSpec, Outcome

TASKS_PER_WORKER = 2
"""Tasks that each worker sees something of: enough to time a build and to see more than one."""
LEAST_PER_WORKER = 2
"""Episodes of each worker that are waited for, however long they take."""
SIZES = (1, 2, 4, 8, 16, 32, 64)
"""Rows of the forwards that are timed at rest, up to the most that a forward may have."""


class Stopwatch(ProgressView):
    """A view that notes when the loop began and when each result was told of, in the ledger's order."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.began = 0.0
        self.ended: list[float] = []
        self.results: list[EpisodeResult] = []

    def start(self, view: RunView) -> None:
        """Notes the loop's begin."""
        self.began = time.monotonic()
        super().start(view)

    def finished(self, result: EpisodeResult, label: str = "") -> None:
        """Notes a result."""
        self.ended.append(time.monotonic())
        self.results.append(result)
        super().finished(result, label)


def calibrate(config: EvalConfig, seconds: float, console: Console) -> Figures:
    """Runs some of the plan's episodes for about so long, and gives what they showed.

    The workers are as many as the run would have here: what shares a machine is slower for it, and is measured so.

    Raises:
        ConfigError: the configuration cannot be run as written.
        SetupError: it cannot be run here, or no episode came to its end.
    """
    plan = plan_of(config)
    workers = worker_count(config, len(plan), local_workers(policy_cpus(config)))
    sample = sampled(plan, TASKS_PER_WORKER * workers)
    watch = Stopwatch(console)
    started = time.monotonic()
    with scratch_folder() as scratch:
        there = dataclasses.replace(config, out=str(Path(scratch) / "run"), workers=workers)
        with contextlib.closing(RunFolder(Path(scratch) / "run", is_resume=False)) as folder:
            part = Part(there, sample, folder)
            with open_session(there, len(sample), watch) as session:

                def is_enough() -> bool:
                    has_some = len(watch.results) >= LEAST_PER_WORKER * workers
                    return has_some and time.monotonic() - watch.began > seconds

                session.execute([part], is_enough=is_enough)
                loop_ended = time.monotonic()
                about_policy = _about_policy(session, there, watch.results)
                worker_bytes = _largest(session.described)
                lead = _lead_steps(part)
            ended = time.monotonic()
        workers_of = [record["worker"] for record in read_ledger(folder.path).episodes.values()]
    return figures_of(
        watch,
        workers_of,
        lead,
        start_s=watch.began - started,
        end_s=ended - loop_ended - about_policy.took_s,
        about_policy=about_policy,
        worker_bytes=worker_bytes,
    )


def sampled(plan: Sequence[EpisodeSpec], tasks: int) -> tuple[EpisodeSpec, ...]:
    """The episodes of so many of the plan's tasks, spread evenly over it, in the plan's order."""
    found = list(dict.fromkeys((spec.suite, spec.task_id) for spec in plan))
    count = min(tasks, len(found))
    chosen = {found[index * len(found) // count] for index in range(count)}
    return tuple(spec for spec in plan if (spec.suite, spec.task_id) in chosen)


@dataclass(frozen=True, slots=True)
class AboutPolicy:
    """What was measured of the policy servers."""

    forward_s: Mapping[int, float]
    """Time of a forward by its rows, among all else that ran."""
    overhead_s: float
    """What a request takes beside its wait and its forward."""
    resident_bytes: int
    """Memory of one."""
    took_s: float
    """How long these questions took."""


def _about_policy(session: Session, config: EvalConfig, results: Sequence[EpisodeResult]) -> AboutPolicy:
    started = time.monotonic()
    policies = session.policies
    totals = policies.totals()
    batching = config.serving.batching()
    is_fixed = batching.determinism == "reproducible" and not session.policy_spec.batch_invariant
    sizes = [batching.batch_size] if is_fixed else [size for size in SIZES if size <= batching.max_batch_size]
    at_rest = {size: policies.calibrated_ms(size) / 1000 for size in sizes}
    waits_s = [wait_ms / 1000 for result in results for wait_ms in result.infer_ms]
    batches, requests = totals.get("batches", 0), totals.get("requests", 0)
    forward_s, overhead_s = at_rest, 0.0
    if batches and requests and waits_s:
        measured_s = totals["forward_ms"] / batches / 1000
        curve = Figures((EpisodeFigures(1, 1, 0.0),), at_rest)
        forward_s = scaled(curve.forward, sizes, batching.batch_size if is_fixed else requests / batches, measured_s)
        overhead_s = max(0.0, sum(waits_s) / len(waits_s) - totals["queue_wait_ms"] / requests / 1000 - measured_s)
    return AboutPolicy(forward_s, overhead_s, policies.resident_bytes(), time.monotonic() - started)


def _largest(described: Mapping[str, Mapping[str, Any]]) -> int:
    """Resident memory of the largest worker on this host; none where all are elsewhere."""
    largest = 0
    for about in described.values():
        if about["host"] == platform.node():
            with contextlib.suppress(psutil.Error):
                largest = max(largest, psutil.Process(about["pid"]).memory_info().rss)
    return largest


def _lead_steps(part: Part) -> int:
    """Control steps by which requests are sent ahead, of the plan's first episode; 0 in sync mode."""
    latency = make_latency(part.settings.latency, part.env.control_hz)
    return min(latency.draw(part.plan[0], 0), part.settings.rules.horizon)


def figures_of(
    watch: Stopwatch,
    workers: Sequence[str],
    lead_steps: int,
    *,
    start_s: float,
    end_s: float,
    about_policy: AboutPolicy,
    worker_bytes: int,
) -> Figures:
    """What the stopwatch, the ledger's workers in its order and the policy's own figures say together.

    Raises:
        SetupError: no episode came to its end.
    """
    episodes: list[EpisodeFigures] = []
    dispatches_s: list[float] = []
    builds_s: list[float] = []
    before: dict[str, tuple[float, str]] = {}
    for result, ended, worker in zip(watch.results, watch.ended, workers, strict=True):
        spec = result.spec
        task = f"{spec.suite}/{spec.task_id}"
        free_since, last_task = before.get(worker, (watch.began, ""))
        between_s = max(0.0, ended - free_since - result.wall_s)
        (dispatches_s if task == last_task else builds_s).append(between_s)
        before[worker] = ended, task
        if result.outcome is not Outcome.ERROR:
            waits_s = [wait_ms / 1000 for wait_ms in result.infer_ms]
            own_s = own_time_s(result.wall_s, waits_s, result.steps, lead_steps)
            episodes.append(EpisodeFigures(result.steps, result.requests, own_s, task))
    if not episodes:
        broken = next((result.error for result in watch.results), "no result")
        raise SetupError(f"calibration: expected an episode that comes to its end, got {broken}")
    dispatch_s = median_or(dispatches_s, 0.0)
    return Figures(
        tuple(episodes),
        about_policy.forward_s,
        about_policy.overhead_s,
        dispatch_s,
        max(0.0, sum(builds_s) / len(builds_s) - dispatch_s) if builds_s else 0.0,
        start_s,
        max(0.0, end_s),
        worker_bytes or WORKER_MEMORY_BYTES,
        about_policy.resident_bytes,
        f"{len(episodes)} episodes by {len(before)} workers on {platform.node()}",
    )

"""The metrics of a session for Prometheus, by Ray's exporter; set in the driver alone, between episodes."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.util import metrics as ray_metrics

from ray_eval.report import live
from ray_eval.report.live import LIVE_METRICS, LiveMetric
from ray_eval.report.metrics import Rate
from ray_eval.report.progress import RunView
from ray_eval.types import EpisodeResult, Outcome

TICK_S = 1.0
"""Time between two settings of the gauges, of which Ray forgets what is silent for 20 s."""
_POLICY_SECONDS = (
    (live.FORWARD_SECONDS, "forward_ms"),
    (live.WAIT_SECONDS, "queue_wait_ms"),
    (live.IDLE_SECONDS, "idle_while_queued_ms"),
)
_POLICY_COUNTS = ((live.FORWARDS, "batches"), (live.FORWARD_REQUESTS, "requests"))


class LiveMetrics:
    """What a session tells Prometheus. Ray's histograms invent their sums, so a time is two counters: seconds, times.

    Args:
        session: label of what belongs to no single run of the session: workers, the policy.
    """

    def __init__(self, session: str) -> None:
        self._session = {"run": session}
        self._metrics = {metric: _made(metric) for metric in LIVE_METRICS}
        self._ended: dict[tuple[str, str], Counter[Outcome]] = {}
        self._policy: Mapping[str, Any] = {}
        self._next_tick = 0.0

    def took_up(self, run: str, results: Iterable[EpisodeResult]) -> None:
        """Episodes that earlier sessions ended count for the rate, and are not counted again."""
        for result in results:
            self._ended.setdefault((run, result.spec.suite), Counter())[result.outcome] += 1

    def count_from(self, policy: Mapping[str, Any]) -> None:
        """What the policy did before, for the preflight or another run of the session, is not counted."""
        self._policy = policy

    def ended(self, run: str, result: EpisodeResult) -> None:
        """An episode has its final result."""
        suite = result.spec.suite
        labels = {"run": run, "suite": suite}
        self._ended.setdefault((run, suite), Counter())[result.outcome] += 1
        self._add(live.EPISODES, 1, {**labels, "outcome": str(result.outcome)})
        self._add(live.STEPS, result.steps, labels)
        self._add(live.REQUESTS, len(result.infer_ms), labels)
        self._add(live.INFER_SECONDS, sum(result.infer_ms) / 1000, labels)
        if result.timing is not None:
            self._add(live.RESETS, 1, labels)
            self._add(live.RESET_SECONDS, result.timing.reset_s, labels)
            self._add(live.STEP_SECONDS, result.timing.step_s, labels)
            self._add(live.OBSERVE_SECONDS, result.timing.observe_s, labels)

    def retried(self, run: str, result: EpisodeResult) -> None:
        """An attempt broke, and there will be another one."""
        self._add(live.RETRIES, 1, {"run": run, "suite": result.spec.suite})

    def tick(self, view: RunView, *, busy: int, workers: int, starting: int, is_last: bool = False) -> None:
        """Sets the gauges anew and counts what the policy did, where it is time to; at the end in any case."""
        now = time.monotonic()
        if now < self._next_tick and not is_last:
            return
        self._next_tick = now + TICK_S
        self._set(live.PLANNED, len(view.plan), self._session)
        self._set(live.DONE, len(view.done), self._session)
        for state, count in (("busy", busy), ("idle", workers - busy), ("starting", starting)):
            self._set(live.WORKERS, count, {**self._session, "state": state})
        self._set_rates()
        self._count_policy(view.policy)

    def _set_rates(self) -> None:
        for (run, suite), counts in self._ended.items():
            rate = Rate(counts[Outcome.SUCCESS], counts[Outcome.FAILURE], counts[Outcome.ERROR], 0)
            if rate.value is not None and rate.interval is not None:
                values = (rate.value, *rate.interval)
                for metric, value in zip((live.RATE, live.RATE_LOW, live.RATE_HIGH), values, strict=True):
                    self._set(metric, value, {"run": run, "suite": suite})

    def _count_policy(self, policy: Mapping[str, Any]) -> None:
        if not policy:
            return
        for metric, key in _POLICY_SECONDS:
            self._add(metric, (policy[key] - self._policy.get(key, 0)) / 1000, self._session)
        for metric, key in _POLICY_COUNTS:
            self._add(metric, policy[key] - self._policy.get(key, 0), self._session)
        self._set(live.WAITING, policy["waiting"], self._session)
        self._policy = policy

    def _add(self, metric: LiveMetric, value: float, labels: Mapping[str, str]) -> None:
        # Ray refuses 0; a policy actor that was started again counts from 0.
        if value > 0:
            self._metrics[metric].inc(value, dict(labels))

    def _set(self, metric: LiveMetric, value: float, labels: Mapping[str, str]) -> None:
        self._metrics[metric].set(value, dict(labels))


def session_name(folders: Sequence[Path]) -> str:
    """What a session is called: its run's folder, or that of the sweep or the duel whose runs share it."""
    if len(folders) == 1:
        return folders[0].name
    shared = Path(os.path.commonpath(folders))
    return shared.parent.name if shared.name == "points" else shared.name


def _made(metric: LiveMetric) -> Any:
    kind = ray_metrics.Counter if metric.kind == "counter" else ray_metrics.Gauge
    return kind(metric.name, description=metric.said, tag_keys=metric.labels)

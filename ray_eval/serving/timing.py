"""The policy's own time: how long it takes at batch 1, and a slower one that answers the same; in its process."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence

from ray_eval.interfaces import Policy
from ray_eval.policies.contract import continued, trial_observation
from ray_eval.types import ActionChunk, Observation, PolicySpec

WARM_UP_COUNT = 3
"""Forwards that are not counted: compilation, caches, clocks that speed up."""
TIMED_COUNT = 20
"""Forwards whose median is the figure."""


def calibrated_ms(policy: Policy, clock: Callable[[], float] = time.perf_counter, rows: int = 1) -> float:
    """Median time of a forward of so many rows, ms, on made-up observations in LIBERO's format."""
    times_s = []
    chunk: ActionChunk | None = None
    for index in range(WARM_UP_COUNT + TIMED_COUNT):
        observation = trial_observation(policy.spec, index)
        if chunk is not None and policy.spec.takes_prefix:  # a guided forward takes longer
            observation = continued(observation, chunk)
        started = clock()
        chunk = policy.infer_batch([observation] * rows)[0]
        times_s.append(clock() - started)
    return 1000.0 * statistics.median(times_s[WARM_UP_COUNT:])


class SlowedPolicy:
    """Another policy's answers after a pause that differs from forward to forward."""

    def __init__(
        self, policy: Policy, pause_ms: tuple[float, float], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._policy = policy
        self._pause_ms = pause_ms
        self._sleep = sleep

    @property
    def spec(self) -> PolicySpec:
        """The other policy's."""
        return self._policy.spec

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """The other policy's answers, later."""
        # Unseeded on purpose: that no result depends on it is what it is there to show.
        self._sleep(random.uniform(*self._pause_ms) / 1000.0)  # noqa: S311 - no secret
        return self._policy.infer_batch(observations)

"""Latency in control steps, drawn per (episode, request index); pure, runs in each worker."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Protocol

from ray_eval.rollout.seeds import request_seed
from ray_eval.sections import LatencySection, LognormalLatency, RecordedLatency, StepsLatency, UniformLatency
from ray_eval.types import EpisodeSpec

SMALLEST_SHARE = 0.5 / 2.0**63
"""The smallest number at which a distribution's quantile is taken."""
PURPOSE = "latency"
"""Purpose of the seeds that latencies are drawn from."""


class LatencyModel(Protocol):
    """How many control steps pass between capturing an observation and its chunk being usable."""

    def draw(self, episode: EpisodeSpec, request_index: int) -> int:
        """Control steps, at least 0; a pure function of its arguments."""
        ...


class FixedLatency:
    """The same number of control steps for every request."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def draw(self, episode: EpisodeSpec, request_index: int) -> int:  # noqa: ARG002 - the seam's signature
        """The number given."""
        return self._steps


class EndlessLatency:
    """None that ever passes in virtual time: realtime looks at the answers themselves."""

    def draw(self, episode: EpisodeSpec, request_index: int) -> int:  # noqa: ARG002 - the seam's signature
        """More steps than any episode has."""
        return sys.maxsize


class DrawnLatency:
    """Independent draws from a distribution of milliseconds, given by its quantile function."""

    def __init__(self, quantile_ms: Callable[[float], float], control_hz: float) -> None:
        self._quantile_ms = quantile_ms
        self._control_hz = control_hz

    def draw(self, episode: EpisodeSpec, request_index: int) -> int:
        """The quantile at a uniform number in (0, 1) that is the request's own."""
        return self.at((request_seed(PURPOSE, episode, request_index) + 0.5) / 2.0**63)

    def at(self, share: float) -> int:
        """The quantile at a number in (0, 1), in control steps."""
        return steps_of_ms(self._quantile_ms(share), self._control_hz)


class ReplayedLatency:
    """Recorded milliseconds, in their order and around again, from a place that is the episode's own."""

    def __init__(self, values_ms: Sequence[float], control_hz: float) -> None:
        self._steps = [steps_of_ms(value, control_hz) for value in values_ms]

    def draw(self, episode: EpisodeSpec, request_index: int) -> int:
        """The value behind the one of the request before: what is slow for a while stays so."""
        first = request_seed(PURPOSE, episode, 0) % len(self._steps)
        return self._steps[(first + request_index) % len(self._steps)]


def make_latency(section: LatencySection, control_hz: float) -> LatencyModel:
    """The model that a section describes, in steps of an env of that rate."""
    if isinstance(section, StepsLatency):
        return FixedLatency(section.steps)
    if isinstance(section, RecordedLatency):
        return ReplayedLatency(section.values_ms, control_hz)
    return _drawn(section, control_hz)


def _drawn(section: UniformLatency | LognormalLatency, control_hz: float) -> DrawnLatency:
    quantile_ms = uniform_ms(section) if isinstance(section, UniformLatency) else lognormal_ms(section)
    return DrawnLatency(quantile_ms, control_hz)


def uniform_ms(section: UniformLatency) -> Callable[[float], float]:
    """The quantile function of a uniform latency, in milliseconds."""
    low, width = section.low_ms, section.high_ms - section.low_ms
    return lambda share: low + width * share


def lognormal_ms(section: LognormalLatency) -> Callable[[float], float]:
    """The quantile function of a lognormal latency, in milliseconds."""
    normal = NormalDist()
    sigma = math.log(section.p95_ms / section.median_ms) / normal.inv_cdf(0.95)
    # Rounded, so that the last bit of a machine's own exp cannot move a draw across a whole step.
    return lambda share: round(section.median_ms * math.exp(sigma * normal.inv_cdf(share)), 6)


def shortest_steps(section: LatencySection, control_hz: float) -> int:
    """The smallest latency that can be drawn, in control steps."""
    if isinstance(section, StepsLatency):
        return section.steps
    if isinstance(section, RecordedLatency):
        return steps_of_ms(min(section.values_ms), control_hz)
    return _drawn(section, control_hz).at(SMALLEST_SHARE)


def steps_of_ms(latency_ms: float, control_hz: float) -> int:
    """Control steps that a latency in milliseconds covers: ceil(ms * hz / 1000)."""
    return math.ceil(latency_ms * control_hz / 1000)

"""Latency in control steps, drawn per (episode, request index); pure, runs in each worker."""

from __future__ import annotations

import math
from typing import Protocol

from ray_eval.types import EpisodeSpec

CONTROL_HZ = 20
"""LIBERO's control rate. Source: LIBERO@8f1084e libero/libero/envs/env_wrapper.py."""


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


def steps_of_ms(latency_ms: float, control_hz: int = CONTROL_HZ) -> int:
    """Control steps that a latency in milliseconds covers: ceil(ms * hz / 1000)."""
    return math.ceil(latency_ms * control_hz / 1000)

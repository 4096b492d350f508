"""What a bench measured, beside what it is measured against; and how both are timed in turn."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, and the reference's figure from the same run."""

    subject: str
    """What it was measured on, for instance `libero_object 0`."""
    what: str
    """What was measured."""
    value: float
    """Its median over the repeats, or a rate or a mean over the whole."""
    unit: str
    """Unit of both figures."""
    repeats: int
    """How often each was measured."""
    reference: str = ""
    """What it is compared with; empty where there is nothing."""
    reference_value: float | None = None
    """The reference's median."""

    @property
    def ratio(self) -> float | None:
        """The figure divided by the reference's; None without one."""
        return self.value / self.reference_value if self.reference_value else None

    def to_json(self) -> dict[str, Any]:
        """The row and its ratio as JSON values."""
        return {**dataclasses.asdict(self), "ratio": self.ratio}


def median_ms(durations_s: list[float]) -> float:
    """The median in milliseconds."""
    return statistics.median(durations_s) * 1000


def timed(function: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def interleaved(measured: Mapping[str, Callable[[], float]], repeats: int, warmups: int = 1) -> dict[str, list[float]]:
    """Seconds of each, called in turn, so that what else the machine does falls on all alike.

    Args:
        measured: By name; each call gives its own duration.
        repeats: Durations kept of each.
        warmups: Calls of each before, not kept.
    """
    durations: dict[str, list[float]] = {name: [] for name in measured}
    for turn in range(warmups + repeats):
        for name, measure in measured.items():
            duration_s = measure()
            if turn >= warmups:
                durations[name].append(duration_s)
    return durations

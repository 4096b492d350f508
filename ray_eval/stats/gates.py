"""A demand on a success rate, answered by the exact one-sided binomial test: shown, refuted, or neither."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ray_eval.stats.intervals import LEVEL, lower_bound, upper_bound

GateVerdict = Literal["met", "missed", "cannot_tell"]
"""What the counts say of a demand."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """A demand `rate >= least` and what the counts say of it."""

    verdict: GateVerdict
    """`met`: a rate below is rejected; `missed`: a rate of at least so much is rejected."""
    successes: int
    """Successes."""
    n: int
    """Episodes that count."""
    least: float
    """Rate that is demanded."""
    lower: float
    """Exact one-sided lower bound of the rate."""
    upper: float
    """Exact one-sided upper bound of the rate."""
    level: float
    """Level of the lower bound."""
    upper_level: float
    """Level of the upper bound."""


def gate(successes: int, n: int, least: float, level: float = LEVEL, count: int = 1) -> GateResult:
    """Whether a rate of at least `least` is shown, by Clopper and Pearson's one-sided bounds.

    Met where the lower bound is at least `least`: the exact test of `rate < least` rejects at 1 - level. Missed where
    the upper bound is below it. Source: as `clopper_pearson`.

    Args:
        successes: successes.
        n: episodes that count.
        least: rate that is demanded.
        level: level of the lower bound.
        count: demands that are made at once; the upper bound's level is 1 - (1 - level) / count (Bonferroni), while the
            lower bounds need no such care, as all of them have to hold.
    """
    lower = lower_bound(successes, n, level) if n else 0.0
    upper_level = 1 - (1 - level) / count
    upper = upper_bound(successes, n, upper_level) if n else 1.0
    # A bound is found to about 1e-15.
    verdict: GateVerdict = "met" if lower >= least else "missed" if upper < least else "cannot_tell"
    return GateResult(verdict, successes, n, least, lower, upper, level, upper_level)


def episodes_for(rate: float, least: float, level: float = LEVEL, most: int = 1_000_000) -> int | None:
    """The fewest episodes that would show the demand at a success rate like the present one; None where none would."""
    if rate <= least:
        return None
    n = 1
    while n <= most:
        if lower_bound(int(rate * n), n, level) >= least:
            return _first(n // 2, n, rate, least, level)
        n *= 2
    return None


def _first(low: int, high: int, rate: float, least: float, level: float) -> int:
    low = max(1, low)
    while low < high:
        middle = (low + high) // 2
        if lower_bound(int(rate * middle), middle, level) >= least:
            high = middle
        else:
            low = middle + 1
    return low

"""The difference of two success rates on the same episodes, with its interval; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy.stats import binomtest

from ray_eval.report.metrics import CONFIDENCE
from ray_eval.types import EpisodeResult, Outcome


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Success rate of a second condition minus that of a first one, over the episodes that both ended."""

    both: int
    """Episodes that succeeded under both conditions."""
    only_first: int
    """Episodes that succeeded under the first alone."""
    only_second: int
    """Episodes that succeeded under the second alone."""
    neither: int
    """Episodes that failed under both."""

    @property
    def n(self) -> int:
        """Pairs."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def value(self) -> float | None:
        """The difference in [-1, 1]; None without a pair."""
        return (self.only_second - self.only_first) / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Its 95 % interval by Newcombe's hybrid score method for paired data; None without a pair.

        Source: R. G. Newcombe, Statistics in Medicine 17 (1998) 2635-2650, method 10.
        """
        if not self.n:
            return None
        n, difference = self.n, (self.only_second - self.only_first) / self.n
        second, first = (self.both + self.only_second) / n, (self.both + self.only_first) / n
        second_low, second_high = _wilson(self.both + self.only_second, n)
        first_low, first_high = _wilson(self.both + self.only_first, n)
        phi = self._correlation()
        below = _hybrid(second - second_low, first_high - first, phi)
        above = _hybrid(second_high - second, first - first_low, phi)
        return difference - below, difference + above

    def _correlation(self) -> float:
        """Newcombe's phi of the two outcomes, corrected for continuity where it is positive."""
        a, b, c, d = self.both, self.only_second, self.only_first, self.neither
        product = (a + b) * (c + d) * (a + c) * (b + d)
        if not product:
            return 0.0
        covariance = a * d - b * c
        corrected = max(covariance - self.n / 2, 0.0) if covariance > 0 else float(covariance)
        return corrected / math.sqrt(product)


def paired_difference(first: Mapping[str, EpisodeResult], second: Mapping[str, EpisodeResult]) -> PairedDifference:
    """Compares the episodes that are a success or a failure in both, by episode id."""
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for episode_id, result in first.items():
        other = second.get(episode_id)
        if other is not None and Outcome.ERROR not in (result.outcome, other.outcome):
            counts[result.outcome is Outcome.SUCCESS, other.outcome is Outcome.SUCCESS] += 1
    return PairedDifference(counts[True, True], counts[True, False], counts[False, True], counts[False, False])


def _wilson(successes: int, n: int) -> tuple[float, float]:
    found = binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def _hybrid(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0))

"""Two success rates on the same episodes: the exact test of whether they differ, and intervals of the difference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from ray_eval.stats.intervals import LEVEL, Interval, quantile, wilson


@dataclass(frozen=True, slots=True)
class PairedCounts:
    """A 2 x 2 table of pairs."""

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
    def discordant(self) -> int:
        """Pairs whose outcomes differ: all that a test of the difference learns from."""
        return self.only_first + self.only_second

    @property
    def first_successes(self) -> int:
        """Successes under the first condition."""
        return self.both + self.only_first

    @property
    def second_successes(self) -> int:
        """Successes under the second condition."""
        return self.both + self.only_second

    @property
    def difference(self) -> float | None:
        """Success rate of the second minus that of the first, in [-1, 1]; None without a pair."""
        return (self.only_second - self.only_first) / self.n if self.n else None


@dataclass(frozen=True, slots=True)
class TestResult:
    """What a test says."""

    p_value: float
    """Probability, were there no difference, of what was seen or something further from it."""
    name: str
    """Which test it is."""


def exact_mcnemar(counts: PairedCounts) -> TestResult:
    """McNemar's exact test, two-sided: min(1, 2 P(X <= min(b, c))) for X ~ Binomial(b + c, 1/2); 1 for no pair.

    Source: Q. McNemar, Psychometrika 12 (1947) 153-157; exact as in A. Agresti, Categorical Data Analysis, 10.1.1.
    Size at 0.05 by enumeration: .022 for 50 pairs of which 20 % differ, .040 for 500.
    """
    return TestResult(sign_p_value(counts.only_first, counts.only_second), "exact McNemar")


def sign_p_value(one: int, other: int) -> float:
    """Two-sided p-value of `one` against `other` tosses of a fair coin, in whole numbers until the last division."""
    n, low = one + other, min(one, other)
    below, weight = 0, 1
    for k in range(low + 1):
        below += weight
        weight = weight * (n - k) // (k + 1)
    return min(1.0, float(Fraction(2 * below, 2**n)))


def tango(counts: PairedCounts, level: float = LEVEL) -> Interval | None:
    """Tango's score interval of the difference of paired rates; None without a pair.

    The bounds are the differences d at which |b - c - n d| / sqrt(n (2 q + d (1 - d))) = z, b and c being the pairs
    that the second and the first alone won, and q the share of the latter that is likeliest where the difference is d:
    the larger root of 2n q^2 + (-b - c + (2n - b + c) d) q - c d (1 - d) = 0.

    Source: T. Tango, Statistics in Medicine 17 (1998) 891-908. Coverage at n = 50: .952-.956 where 10-30 % of the pairs
    differ, above .98 where fewer than 4 % do.
    """
    if not counts.n:
        return None
    from scipy.optimize import brentq

    z, middle = quantile(level), counts.difference or 0.0

    def below(d: float) -> float:
        return tango_score(counts, d) - z

    def above(d: float) -> float:
        return tango_score(counts, d) + z

    low = -1.0 if middle == -1.0 else float(brentq(below, -1.0, middle, xtol=1e-14))
    high = 1.0 if middle == 1.0 else float(brentq(above, middle, 1.0, xtol=1e-14))
    return Interval(low, high, "tango", level)


def tango_score(counts: PairedCounts, d: float) -> float:
    """Tango's statistic where the difference is `d`: positive where more was seen, infinite where that cannot be."""
    b, c, n = counts.only_second, counts.only_first, counts.n
    top = b - c - n * d
    middle = -b - c + (2 * n - b + c) * d
    root = math.sqrt(max(middle * middle + 8 * n * c * d * (1 - d), 0.0))
    q = (root - middle) / (4 * n)
    variance = n * (2 * q + d * (1 - d))
    if variance <= 1e-12 * n:
        return 0.0 if abs(top) <= 1e-12 * n else math.copysign(1e300, top)
    return top / math.sqrt(variance)


def newcombe_paired(counts: PairedCounts, level: float = LEVEL) -> Interval | None:
    """Newcombe's hybrid score interval of the difference of paired rates; None without a pair.

    Source: R. G. Newcombe, Statistics in Medicine 17 (1998) 2635-2650, method 10.
    """
    if not counts.n:
        return None
    n, difference = counts.n, counts.difference or 0.0
    second, first = counts.second_successes / n, counts.first_successes / n
    second_low, second_high = wilson(counts.second_successes, n, level)
    first_low, first_high = wilson(counts.first_successes, n, level)
    phi = _correlation(counts)
    low = difference - _hybrid(second - second_low, first_high - first, phi)
    return Interval(low, difference + _hybrid(second_high - second, first - first_low, phi), "newcombe", level)


def _correlation(counts: PairedCounts) -> float:
    """Newcombe's phi of the two outcomes, corrected for continuity where it is positive."""
    a, b, c, d = counts.both, counts.only_second, counts.only_first, counts.neither
    product = (a + b) * (c + d) * (a + c) * (b + d)
    if not product:
        return 0.0
    covariance = a * d - b * c
    corrected = max(covariance - counts.n / 2, 0.0) if covariance > 0 else float(covariance)
    return corrected / math.sqrt(product)


def _hybrid(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0))


def tango_coverage(n: int, p_second: float, p_first: float, level: float = LEVEL) -> float:
    """Probability that Tango's interval holds the difference, over every table of n pairs.

    Args:
        n: pairs.
        p_second: share of pairs that the second alone wins.
        p_first: share of pairs that the first alone wins.
        level: nominal coverage.
    """
    difference, total = p_second - p_first, []
    for b in range(n + 1):
        for c in range(n + 1 - b):
            found = tango(PairedCounts(n - b - c, c, b, 0), level)
            if found is not None and found.low <= difference <= found.high:
                total.append(_trinomial_weight(n, b, c, p_second, p_first))
    return math.fsum(total)


def _trinomial_weight(n: int, b: int, c: int, p_b: float, p_c: float) -> float:
    log = math.lgamma(n + 1) - math.lgamma(b + 1) - math.lgamma(c + 1) - math.lgamma(n - b - c + 1)
    parts = ((b, p_b), (c, p_c), (n - b - c, 1 - p_b - p_c))
    if any(count and share <= 0 for count, share in parts):
        return 0.0
    return math.exp(log + math.fsum(count * math.log(share) for count, share in parts if count))

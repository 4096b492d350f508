"""Two success rates of different episodes: Miettinen and Nurminen's interval of the difference, and its test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from ray_eval.stats.intervals import LEVEL, Interval, binomial_weight, quantile
from ray_eval.stats.paired import TestResult


@dataclass(frozen=True, slots=True)
class UnpairedCounts:
    """Two independent counts."""

    first_successes: int
    """Successes under the first condition."""
    first_n: int
    """Episodes under the first condition."""
    second_successes: int
    """Successes under the second condition."""
    second_n: int
    """Episodes under the second condition."""

    @property
    def difference(self) -> float | None:
        """Success rate of the second minus that of the first; None where one of them has no episode."""
        if not self.first_n or not self.second_n:
            return None
        return self.second_successes / self.second_n - self.first_successes / self.first_n


def miettinen_nurminen(counts: UnpairedCounts, level: float = LEVEL) -> Interval | None:
    """Miettinen and Nurminen's score interval of the difference of independent rates; None where there is none.

    The bounds are the differences d at which |p2 - p1 - d| / sqrt(V(d) N / (N - 1)) = z, V being the variance at the
    rates that are likeliest where they differ by d.

    Source: O. Miettinen, M. Nurminen, Statistics in Medicine 4 (1985) 213-226. Coverage at n = 50 each: .943 at
    (.5, .5), .952 at (.9, .9), .987 at (.98, .98).
    """
    middle = counts.difference
    if middle is None:
        return None
    from scipy.optimize import brentq

    z = quantile(level)

    def below(d: float) -> float:
        return score_at(counts, d) - z

    def above(d: float) -> float:
        return score_at(counts, d) + z

    low = -1.0 if middle <= -1.0 else float(brentq(below, -1.0, middle, xtol=1e-14))
    high = 1.0 if middle >= 1.0 else float(brentq(above, middle, 1.0, xtol=1e-14))
    return Interval(low, high, "miettinen_nurminen", level)


def score_test(counts: UnpairedCounts) -> TestResult:
    """The score test of equal rates, two-sided: Pearson's chi-square times (N - 1) / N.

    Source: as the interval, of which it is the test at a difference of 0; E. S. Pearson, Biometrika 34 (1947) 139-167.
    """
    p_value = 1.0 if counts.difference is None else 2 * NormalDist().cdf(-abs(score_at(counts, 0.0)))
    return TestResult(min(1.0, p_value), "score test")


def score_at(counts: UnpairedCounts, d: float) -> float:
    """The statistic where the difference is `d`; infinite where what was seen cannot be."""
    n1, n2 = counts.first_n, counts.second_n
    first = _likeliest_first(counts, d)
    second = min(max(first + d, 0.0), 1.0)
    total = n1 + n2
    variance = (first * (1 - first) / n1 + second * (1 - second) / n2) * total / (total - 1)
    top = (counts.difference or 0.0) - d
    if variance <= 1e-15:
        return 0.0 if abs(top) <= 1e-12 else math.copysign(1e300, top)
    return top / math.sqrt(variance)


def _likeliest_first(counts: UnpairedCounts, d: float) -> float:
    """The first rate of highest likelihood where the second is larger by d: the root of the cubic within the range."""
    x1, n1, x2, n2 = counts.first_successes, counts.first_n, counts.second_successes, counts.second_n
    total, successes = n1 + n2, x1 + x2
    a2 = (n2 + 2 * n1) * d - total - successes
    a1 = (n1 * d - total - 2 * x1) * d + successes
    a0 = x1 * d * (1 - d)
    b = a2 / (3 * total)
    q = b**3 - a1 * a2 / (6 * total * total) + a0 / (2 * total)
    p = math.copysign(math.sqrt(max(b * b - a1 / (3 * total), 0.0)), q)
    ratio = min(max(q / p**3, -1.0), 1.0) if p else 0.0
    root = 2 * p * math.cos((math.pi + math.acos(ratio)) / 3) - b
    return min(max(root, 0.0, -d), 1.0, 1.0 - d)


def unpaired_coverage(n1: int, p1: float, n2: int, p2: float, level: float = LEVEL) -> float:
    """Probability that the interval holds p2 - p1, over every pair of counts."""
    total = []
    for x1 in range(n1 + 1):
        for x2 in range(n2 + 1):
            found = miettinen_nurminen(UnpairedCounts(x1, n1, x2, n2), level)
            if found is not None and found.low <= p2 - p1 <= found.high:
                total.append(binomial_weight(x1, n1, p1) * binomial_weight(x2, n2, p2))
    return math.fsum(total)

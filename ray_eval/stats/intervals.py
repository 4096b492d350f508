"""Intervals of one success rate; five methods, of which the tables take the one whose coverage never disappoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

IntervalMethod = Literal["clopper_pearson", "mid_p", "jeffreys", "agresti_coull", "wilson"]
"""Names of the methods."""

DEFAULT_METHOD: IntervalMethod = "clopper_pearson"
"""Method of the tables: of the five the one whose coverage is nowhere below its level (docs/statistics.md)."""
LEVEL = 0.95
"""Level of every interval unless said."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A range that holds the unknown value with at least, or about, the probability of its level."""

    low: float
    """Lower bound."""
    high: float
    """Upper bound."""
    method: str
    """How it was made."""
    level: float = LEVEL
    """Nominal coverage."""

    @property
    def half_width(self) -> float:
        """Half the distance of the bounds."""
        return (self.high - self.low) / 2

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def quantile(level: float) -> float:
    """The normal deviate that leaves (1 - level) / 2 above it: 1.96 for 0.95."""
    return NormalDist().inv_cdf((1 + level) / 2)


def wilson(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n).

    Source: E. B. Wilson, JASA 22 (1927) 209-212. Coverage: from 0.895 at n = 50, p = 0.989.
    """
    z, p = quantile(level), successes / n
    centre, scale = p + z * z / (2 * n), 1 + z * z / n
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = (centre - half) / scale if successes else 0.0
    high = (centre + half) / scale if successes < n else 1.0
    return low, high


def agresti_coull(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Agresti and Coull's: Wald's interval after z^2/2 successes and z^2/2 failures more, cut to [0, 1].

    Source: A. Agresti, B. A. Coull, The American Statistician 52 (1998) 119-126. Coverage: from 0.924 at n = 10.
    """
    z = quantile(level)
    count = n + z * z
    p = (successes + z * z / 2) / count
    half = z * math.sqrt(p * (1 - p) / count)
    return max(p - half, 0.0), min(p + half, 1.0)


def clopper_pearson(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Clopper and Pearson's exact interval: the rates that neither one-sided binomial test rejects at (1 - level) / 2.

    Source: C. J. Clopper, E. S. Pearson, Biometrika 26 (1934) 404-413. Coverage: at least the level, always.
    """
    tail = (1 - level) / 2
    return lower_bound(successes, n, 1 - tail), upper_bound(successes, n, 1 - tail)


def lower_bound(successes: int, n: int, level: float = LEVEL) -> float:
    """The one-sided exact lower bound: the beta quantile at 1 - level of (k, n - k + 1); 0 without a success."""
    return _beta_quantile(1 - level, successes, n - successes + 1) if successes else 0.0


def upper_bound(successes: int, n: int, level: float = LEVEL) -> float:
    """The one-sided exact upper bound: the beta quantile at the level of (k + 1, n - k); 1 without a failure."""
    return _beta_quantile(level, successes + 1, n - successes) if successes < n else 1.0


def jeffreys(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Jeffreys' interval: equal tails of the Beta(k + 1/2, n - k + 1/2), to the end of the range at k = 0 and k = n.

    Source: L. D. Brown, T. T. Cai, A. DasGupta, Statistical Science 16 (2001) 101-133. Coverage: from 0.884 at n = 50.
    """
    tail, a, b = (1 - level) / 2, successes + 0.5, n - successes + 0.5
    low = _beta_quantile(tail, a, b) if successes else 0.0
    return low, _beta_quantile(1 - tail, a, b) if successes < n else 1.0


def mid_p(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The mid-P interval: Clopper and Pearson's with half the probability of what was seen in each tail.

    Source: H. O. Lancaster, JASA 56 (1961) 223-234. Coverage: from 0.925 at n = 50.
    """
    low = _mid_p_low(successes, n, (1 - level) / 2)
    return low, 1 - _mid_p_low(n - successes, n, (1 - level) / 2)


def _mid_p_low(successes: int, n: int, tail: float) -> float:
    if not successes:
        return 0.0
    from scipy.optimize import brentq
    from scipy.special import betainc

    def excess(p: float) -> float:
        # P(X >= k) is the incomplete beta; the average of it and P(X >= k + 1) has half of P(X = k).
        above = betainc(successes + 1, n - successes, p) if successes < n else 0.0
        return float((betainc(successes, n - successes + 1, p) + above) / 2 - tail)

    return float(brentq(excess, 0.0, 1.0, xtol=1e-14))


def _beta_quantile(share: float, a: float, b: float) -> float:
    # Loading scipy takes time, which a run has better uses for at its start.
    from scipy.special import betaincinv

    return float(betaincinv(a, b, share))


METHODS: Mapping[str, Callable[[int, int, float], tuple[float, float]]] = {
    "clopper_pearson": clopper_pearson,
    "mid_p": mid_p,
    "jeffreys": jeffreys,
    "agresti_coull": agresti_coull,
    "wilson": wilson,
}
"""Every method by its name."""
NAMES: Mapping[str, str] = {
    "clopper_pearson": "Clopper-Pearson",
    "mid_p": "mid-P",
    "jeffreys": "Jeffreys",
    "agresti_coull": "Agresti-Coull",
    "wilson": "Wilson",
}
"""What they are called in a sentence."""


def interval_of(
    successes: int, n: int, method: IntervalMethod = DEFAULT_METHOD, level: float = LEVEL
) -> Interval | None:
    """The interval of `successes` among `n`; None for n = 0, of which nothing is known."""
    if not n:
        return None
    low, high = METHODS[method](successes, n, level)
    return Interval(low, high, method, level)


def coverage(method: str, n: int, p: float, level: float = LEVEL) -> float:
    """Probability that a method's interval holds `p`: the sum of the binomial weights of every count for which it does.

    Enumerated over all n + 1 counts, nothing is sampled.
    """
    make = METHODS[method]
    bounds = (make(k, n, level) for k in range(n + 1))
    return math.fsum(binomial_weight(k, n, p) for k, (low, high) in enumerate(bounds) if low <= p <= high)


def binomial_weight(k: int, n: int, p: float) -> float:
    """Probability of k successes among n, each of probability p."""
    if p in (0.0, 1.0):
        return float(k == n * p)
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(log + k * math.log(p) + (n - k) * math.log1p(-p))

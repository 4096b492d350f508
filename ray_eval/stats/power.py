"""How many episodes show a difference: the power of the exact McNemar test, enumerated through the test itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ray_eval.stats.intervals import clopper_pearson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALPHA = 0.05
"""Level of every test unless said."""
MOST_PAIRS = 1_000_000
"""Pairs beyond which nobody is asked to go."""


@dataclass(frozen=True, slots=True)
class Pilot:
    """What is known or assumed before a comparison is made."""

    rate: float
    """Success rate."""
    discordant: float
    """Share of pairs whose outcomes differ."""
    n: int
    """Pairs that are planned; 0 where nobody said."""
    origin: str
    """Where these come from."""


def mcnemar_power(n: int, discordant: float, difference: float, alpha: float = ALPHA) -> float:
    """Probability that the exact McNemar test shows the second to be above the first.

    The sum, over the number m of discordant pairs, of Binomial(n, discordant)(m) times the probability that a Binomial
    (m, (1 + difference / discordant) / 2) is at least the least count that the test rejects at.

    Args:
        n: pairs.
        discordant: share of pairs whose outcomes differ.
        difference: true difference of the rates, at most the share above.
        alpha: level, two-sided.
    """
    import numpy as np
    from scipy.stats import binom

    if n < 1:
        return 0.0
    mean = n * discordant
    reach = 9 * math.sqrt(mean * (1 - discordant)) + 60
    m = np.arange(max(0, math.floor(mean - reach)), min(n, math.ceil(mean + reach)) + 1)
    share = min(1.0, (1 + difference / discordant) / 2) if discordant else 0.5
    weights = binom.pmf(m, n, discordant)
    # Where so little is left over, no test's answer is seen in the sum.
    seen = weights > 1e-14
    chances = binom.sf(least_winning(m[seen], alpha) - 1, m[seen], share)
    return float(min(1.0, np.sum(weights[seen] * chances)))


def least_winning(m: NDArray[np.int64], alpha: float = ALPHA) -> NDArray[np.int64]:
    """The least of `m` discordant pairs that must go one way for the test to reject; m + 1 where none suffices."""
    import numpy as np
    from scipy.stats import binom

    # The least k with P(X >= k) <= alpha / 2 for a fair coin; it is more than half of m as alpha is less than 1.
    least = binom.isf(alpha / 2, m, 0.5) + 1
    return np.asarray(np.minimum(np.maximum(least, 0), m + 1), dtype=np.int64)


def pairs_needed(discordant: float, difference: float, power: float = 0.8, alpha: float = ALPHA) -> int | None:
    """The number of pairs from which on the test shows the difference at least so often; None beyond MOST_PAIRS.

    The power of an exact test goes up and down by a little as n grows: this is the first n whose power, and that of
    each of the next n / 20 (100 at most), is enough.
    """
    if difference <= 0 or discordant < difference:
        return None
    low, high = 4, 8
    while mcnemar_power(high, discordant, difference, alpha) < power:
        if high == MOST_PAIRS:
            return None
        low, high = high, min(2 * high, MOST_PAIRS)
    while low < high:
        middle = (low + high) // 2
        if mcnemar_power(middle, discordant, difference, alpha) >= power:
            high = middle
        else:
            low = middle + 1
    return _settled(low, discordant, difference, power, alpha)


def _settled(n: int, discordant: float, difference: float, power: float, alpha: float) -> int:
    """The first n from `n` on after which the power does not fall below its mark for a while."""
    start, reach = n, n + 1
    while reach <= start + min(max(4, start // 20), 100):
        if mcnemar_power(reach, discordant, difference, alpha) < power:
            start = reach + 1
        reach += 1
    return start


def detectable_difference(n: int, discordant: float, power: float = 0.8, alpha: float = ALPHA) -> float | None:
    """The least difference that n pairs show so often, given the share of them that differ; None where none is.

    To a thousandth of a point.
    """
    if mcnemar_power(n, discordant, discordant, alpha) < power:
        return None
    low, high = 0.0, discordant
    while high - low > 1e-5:
        middle = (low + high) / 2
        if mcnemar_power(n, discordant, middle, alpha) >= power:
            high = middle
        else:
            low = middle
    return high


def independent_discordance(first: float, second: float) -> float:
    """Share of pairs that would differ, were the two outcomes of an episode independent: p (1 - q) + q (1 - p)."""
    return first * (1 - second) + second * (1 - first)


def worst_half_width(n: int, p: float, level: float = 0.95) -> float:
    """Half the width of the exact interval at the count nearest to a rate."""
    low, high = clopper_pearson(round(p * n), n, level)
    return math.fsum((high, -low)) / 2

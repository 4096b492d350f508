"""Several conditions on the same episodes: Cochran's Q, Holm's procedure, and who cannot be told from the best."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ray_eval.stats.paired import PairedCounts, exact_mcnemar


@dataclass(frozen=True, slots=True)
class CochranQ:
    """Cochran's test of whether several paired success rates are all the same."""

    statistic: float
    """Q; 0 where no episode's outcomes differ."""
    degrees_of_freedom: int
    """Conditions minus 1."""
    p_value: float
    """Probability of a Q as large, were all rates the same, by the chi-square distribution."""
    differing: int
    """Episodes that did not end alike under all conditions."""


def cochran_q(outcomes: Sequence[Sequence[bool]]) -> CochranQ:
    """Cochran's Q over episodes with an outcome per condition.

    Q = (k - 1) (k sum C_j^2 - T^2) / (k T - sum R_i^2): C_j successes of a condition, R_i of an episode, T of all.

    Args:
        outcomes: a row per episode, each with the same number k >= 2 of outcomes.

    Source: W. G. Cochran, Biometrika 37 (1950) 256-266.
    """
    k = len(outcomes[0]) if outcomes else 2
    rows = [sum(row) for row in outcomes]
    columns = [sum(row[j] for row in outcomes) for j in range(k)]
    total = sum(rows)
    below = k * total - sum(r * r for r in rows)
    differing = sum(0 < r < k for r in rows)
    if not below:
        return CochranQ(0.0, k - 1, 1.0, differing)
    from scipy.special import chdtrc

    statistic = (k - 1) * (k * sum(c * c for c in columns) - total * total) / below
    return CochranQ(statistic, k - 1, float(chdtrc(k - 1, statistic)), differing)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given: each is compared with the level itself, and no error more often than it.

    The i-th smallest of m times (m - i + 1), never below the one before it, cut at 1.

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


@dataclass(frozen=True, slots=True)
class PairwiseTest:
    """Two of several conditions compared."""

    first: str
    """Name of the one."""
    second: str
    """Name of the other."""
    counts: PairedCounts
    """Their pairs."""
    p_value: float
    """McNemar's."""
    adjusted_p_value: float
    """The same after Holm over all pairs of conditions."""


def pairwise(counts: Mapping[tuple[str, str], PairedCounts]) -> list[PairwiseTest]:
    """Every pair of conditions by the exact McNemar test, with Holm over them all."""
    p_values = [exact_mcnemar(table).p_value for table in counts.values()]
    return [
        PairwiseTest(first, second, table, p_value, adjusted)
        for ((first, second), table), p_value, adjusted in zip(counts.items(), p_values, holm(p_values), strict=True)
    ]


def not_told_from_best(names: Sequence[str], tests: Sequence[PairwiseTest], alpha: float) -> list[str]:
    """The conditions of which none is shown to be below another one, in the order given.

    With probability 1 - alpha at least, every condition with the highest rate is among them: Holm keeps the chance of
    any wrong rejection to alpha, and only a wrong one could leave such a condition out.
    """
    below = {
        test.second if test.counts.only_first > test.counts.only_second else test.first
        for test in tests
        if test.adjusted_p_value <= alpha
    }
    return [name for name in names if name not in below]


def pairs_of(names: Sequence[str]) -> list[tuple[str, str]]:
    """Every two of some names, in order."""
    return list(itertools.combinations(names, 2))

"""Tests that may be looked at after every episode: e-processes by betting, and the confidence sequences they give.

An e-process is the wealth of a gambler who bets on what comes next and starts with 1. Were the hypothesis true, the
wealth would be a supermartingale, so that it ever reaches 1 / alpha with probability alpha at most (Ville's
inequality): it may be looked at after every episode, and the test stops when it is there.

Sources: J. Ville, Etude critique de la notion de collectif (1939); H. Robbins, Annals of Mathematical Statistics 41
(1970) 1397-1409 (mixtures); G. Shafer, JRSS A 184 (2021) 407-431 (betting); A. Ramdas, P. Gruenwald, V. Vovk,
G. Shafer, Statistical Science 38 (2023) 576-601 (e-processes).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ray_eval.stats.intervals import LEVEL, Interval

DUEL_PRIOR = 2.0
"""Both parameters of the Beta distribution whose mixture bets on a duel's discordant pairs (docs/statistics.md)."""
RATE_PRIOR = 0.5
"""Both parameters of the Beta distribution whose mixture bets on a rate: Krichevsky and Trofimov's."""

Leader = Literal["first", "second"]
"""Which of two conditions is ahead."""


def log_e_value(one: int, other: int, p: float = 0.5, prior: float = DUEL_PRIOR) -> float:
    """Logarithm of a gambler's wealth after `one` and `other` outcomes of two kinds, against a probability `p`.

    Before each outcome the wealth is staked in the proportions of the posterior mean of a Beta(prior, prior), so that
    it is B(a + one, a + other) / B(a, a) / (p^one (1 - p)^other), whatever the order.
    """
    if (one and not p) or (other and p == 1):
        return math.inf
    against = (one * math.log(p) if one else 0.0) + (other * math.log1p(-p) if other else 0.0)
    return _log_beta(prior + one, prior + other) - _log_beta(prior, prior) - against


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


@dataclass(frozen=True, slots=True)
class DuelState:
    """A sequential comparison after some pairs in planned order."""

    pairs: int = 0
    """Pairs that were looked at."""
    only_first: int = 0
    """Pairs that the first alone won."""
    only_second: int = 0
    """Pairs that the second alone won."""
    largest_log_e: float = 0.0
    """Logarithm of the largest e-value so far."""

    def after(self, first: bool, second: bool) -> DuelState:
        """The state after one more pair."""
        b, c = self.only_first + (first and not second), self.only_second + (second and not first)
        return DuelState(self.pairs + 1, b, c, max(self.largest_log_e, log_e_value(b, c)))

    @property
    def leader(self) -> Leader | None:
        """Who has won more discordant pairs; None where nobody has."""
        if self.only_first == self.only_second:
            return None
        return "first" if self.only_first > self.only_second else "second"

    @property
    def log_e(self) -> float:
        """Logarithm of the present e-value against `each discordant pair may as well go either way`."""
        return log_e_value(self.only_first, self.only_second)

    @property
    def p_value(self) -> float:
        """Valid however often it is looked at: the inverse of the largest e-value, at most 1."""
        return min(1.0, math.exp(-self.largest_log_e))

    def is_decided(self, alpha: float) -> bool:
        """Whether the e-value has reached 1 / alpha."""
        return self.largest_log_e >= -math.log(alpha)

    def may_be_decided(self, pairs_left: int, alpha: float) -> bool:
        """Whether it still could be, if all pairs that are left went to one of them."""
        best = max(
            log_e_value(self.only_first + pairs_left, self.only_second),
            log_e_value(self.only_first, self.only_second + pairs_left),
        )
        return self.is_decided(alpha) or best >= -math.log(alpha)


@dataclass(frozen=True, slots=True)
class DuelOutcome:
    """Where a duel ends in its planned order."""

    state: DuelState
    """The state after the last pair that counts."""
    winner: Leader | None
    """Who is shown to be better; None where nobody is."""
    is_over: bool
    """Whether nothing that could still come would change the answer."""


def duel_outcome(pairs: Iterable[tuple[bool, bool]], planned: int, alpha: float) -> DuelOutcome:
    """Looks after every pair of a complete prefix of the planned order, and stops at the first look that decides.

    It ends undecided as soon as not even all the rest, won by one of them, would decide it.

    Args:
        pairs: outcomes of the prefix, the first's and the second's success.
        planned: pairs of the whole order.
        alpha: probability of naming a winner where there is none.
    """
    state = DuelState()
    for first, second in pairs:
        state = state.after(first, second)
        if state.is_decided(alpha):
            return DuelOutcome(state, state.leader, is_over=True)
        if not state.may_be_decided(planned - state.pairs, alpha):
            return DuelOutcome(state, None, is_over=True)
    return DuelOutcome(state, None, is_over=state.pairs >= planned)


def rate_sequence(successes: int, n: int, level: float = LEVEL, prior: float = RATE_PRIOR) -> Interval:
    """The confidence sequence of a rate after n episodes: the rates p whose e-value is still below 1 / (1 - level).

    All n together hold the true rate with the probability `level`, so that one may stop at any of them.

    Source: H. Robbins (1970); E. Kaufmann, W. Koolen, JMLR 22 (2021) 246, for exponential families.
    """
    if not n:
        return Interval(0.0, 1.0, "confidence sequence", level)
    from scipy.optimize import brentq

    mark, middle = -math.log(1 - level), successes / n

    def excess(p: float) -> float:
        return min(log_e_value(successes, n - successes, p, prior), 1e6) - mark

    low = 0.0 if not successes else float(brentq(excess, 0.0, middle, xtol=1e-14))
    high = 1.0 if successes == n else float(brentq(excess, middle, 1.0, xtol=1e-14))
    return Interval(low, high, "confidence sequence", level)


def first_narrow(outcomes: Iterable[bool], half_width: float, level: float = LEVEL) -> int | None:
    """After how many outcomes of a complete prefix the confidence sequence is first so narrow; None for never."""
    successes = 0
    for n, outcome in enumerate(outcomes, 1):
        successes += outcome
        if rate_sequence(successes, n, level).half_width <= half_width:
            return n
    return None

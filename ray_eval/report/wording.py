"""Every sentence about a comparison, a gate, a duel or a run's power; the word `better` needs a test behind it."""

from __future__ import annotations

from collections.abc import Sequence

from ray_eval.report.comparison import Group, PairComparison, SeveralComparison, Verdict
from ray_eval.report.question import Difference, Kind
from ray_eval.stats.gates import GateResult, episodes_for
from ray_eval.stats.intervals import NAMES, Interval, IntervalMethod, interval_of
from ray_eval.stats.power import MOST_PAIRS, Pilot, detectable_difference, mcnemar_power, pairs_needed, worst_half_width
from ray_eval.stats.sequential import DuelOutcome, rate_sequence

POWER = 0.8
"""Probability with which a difference is to be shown, where sentences speak of one."""
TARGET = 0.05
"""Difference that sentences speak of unless the user names another."""


def points(value: float, *, signed: bool = False) -> str:
    """A share in percentage points, to a tenth: `5`, `+12.5`."""
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    text = text.removesuffix(".0")
    return "0" if text in {"+0", "-0"} else text


def probability(value: float) -> str:
    """A p-value, or what it is below."""
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.2g}"


def _share(successes: int, n: int) -> str:
    return f"{successes}/{n} ({100 * successes / n:.1f} %)" if n else "0/0"


def interval_name(level: float) -> str:
    """What an interval is called that holds the truth with a probability: `95 % interval`."""
    return f"{100 * level:g} % interval"


def _range(interval: Interval | None) -> str:
    if interval is None:
        return "no interval"
    return (
        f"{interval_name(interval.level)} {points(interval.low, signed=True)} to {points(interval.high, signed=True)}"
    )


def many(count: int, singular: str) -> str:
    """A count with its noun: `1 pair`, `2 pairs`."""
    return f"{count} {singular}{'s'[: count != 1]}"


def verdict_sentence(found: PairComparison, target: float = TARGET) -> str:
    """What a comparison showed, and never more."""
    group = found.overall
    if not group.first_n or not group.second_n:
        return "cannot tell: no episode ended on both sides"
    words = {
        Verdict.BETTER: f"{found.second} is better than {found.first}: ",
        Verdict.WORSE: f"{found.second} is worse than {found.first}: ",
        Verdict.WITHIN_MARGIN: _within(found),
        Verdict.CANNOT_TELL: "cannot tell: ",
    }
    figures = f"{_share(group.second_successes, group.second_n)} against {_share(group.first_successes, group.first_n)}"
    evidence = f"{_evidence(found)}; {figures}, difference {_points_of(group)} points, {_range(group.interval)}"
    said = words[found.verdict] + evidence
    allowed = f"; allowed to differ: {', '.join(found.question.allowed)}" if found.question.allowed else ""
    others = [d.key for d in found.question.differences if d.kind is Kind.PAIRING and not found.question.is_paired]
    allowed += f"; not the same: {', '.join(others)}" if others else ""
    allowed += "; repeats of an init state are counted as independent" if found.has_repeats else ""
    rest = f"; {_more(found, target)}" if found.verdict is Verdict.CANNOT_TELL else ""
    return said + allowed + rest


def _points_of(group: Group) -> str:
    return points(group.difference or 0.0, signed=True)


def _within(found: PairComparison) -> str:
    margin = points(found.margin or 0.0)
    group = found.overall
    if group.adjusted_p_value <= found.alpha and (group.difference or 0.0) < 0:
        return f"{found.second} succeeds less often than {found.first}, by less than the margin of {margin} points: "
    return f"{found.second} is as good as {found.first} within {margin} points: "


def _evidence(found: PairComparison) -> str:
    """The pairs that differ and the test, or the test alone."""
    group = found.overall
    if group.discordant is None:
        return f"counts of other episodes, {group.test} {probability(group.p_value)}{_adjusted(group)}"
    if found.identical == group.first_n:
        which = f"all {group.first_n} trajectories" if group.first_n > 1 else "the only trajectory included,"
        return f"the two runs are identical, {which} to the bit"
    if not group.discordant:
        return f"no pair of {group.first_n} differs in its outcome"
    won = f"{group.only_second} for {found.second}, {group.only_first} for {found.first}"
    differ = "differs" if group.discordant == 1 else "differ"
    pairs = f"{many(group.discordant, 'pair')} of {group.first_n} {differ} ({won})"
    return f"{pairs}, {group.test} {probability(group.p_value)}{_adjusted(group)}"


def _adjusted(group: Group) -> str:
    """The p-value after Holm, where there were several comparisons."""
    return "" if group.adjusted_p_value == group.p_value else f", Holm {probability(group.adjusted_p_value)}"


def _more(found: PairComparison, target: float) -> str:
    """How many more episodes would show a difference of the size that matters."""
    group = found.overall
    if group.discordant is None:
        return "more episodes on both sides, or the same episodes in pairs, would tell"
    share = max(group.discordant / group.first_n, target)
    need = pairs_needed(share, target, POWER, found.alpha)
    told = f"a difference of {points(target)} points with probability {POWER}"
    where = f" where {points(share)} % of the pairs differ"
    if need is None:
        return f"it would take more than {MOST_PAIRS:,} episodes to show {told}{where}"
    if need <= group.first_n:
        return f"these {group.first_n} pairs would have shown {told}{where}"
    return f"{need - group.first_n} more episodes would show {told}{where}"


def difference_lines(differences: Sequence[Difference]) -> list[str]:
    """A line for each difference that is the question or a note, the longest values cut."""
    names = {
        Kind.QUESTION: "on purpose",
        Kind.NOTE: "note",
        Kind.PAIRING: "not the same",
        Kind.CONFOUNDER: "not the same",
    }
    remedies = [f"; {d.remedy}" if d.kind is Kind.NOTE and d.remedy else "" for d in differences]
    return [f"{names[d.kind]}: {_difference_text(d)}{r}" for d, r in zip(differences, remedies, strict=True)]


def _difference_text(difference: Difference, most: int = 60) -> str:
    first, second = (text if len(text) <= most else f"{text[: most - 3]}..." for text in _values(difference))
    return f"{difference.key}: {first} | {second}"


def _values(difference: Difference) -> tuple[str, str]:
    return difference.first, difference.second


def refusal_lines(first: str, second: str, refused: Sequence[Difference], *, is_paired: bool) -> list[str]:
    """Why two runs are not compared, and what to do."""
    lines = [f"not comparable: {first} and {second} differ in more than what is compared"]
    lines += [f"  {_difference_text(d)}{f'; {d.remedy}' if d.remedy else ''}" for d in refused]
    if not all(d.is_allowable for d in refused):
        return lines
    keys = " ".join(f"--allow {key}" for key in dict.fromkeys(d.key for d in refused))
    remedy = f"to compare all the same, and have it said: {keys}"
    if is_paired and all(d.kind is Kind.PAIRING for d in refused):
        remedy = f"their episodes are not the same: --unpaired compares the counts; or {remedy}"
    return [*lines, remedy]


def several_lines(found: SeveralComparison, alpha: float) -> list[str]:
    """What is shown of three runs or more."""
    q = found.q
    differ = "they are not all the same" if q.p_value <= alpha else "no difference among them is shown"
    lines = [f"Cochran's Q = {q.statistic:.2f} over {many(found.n, 'episode')}, {probability(q.p_value)}: {differ}"]
    for test in found.pairwise:
        difference = test.counts.difference or 0.0
        told = f"{points(difference, signed=True)} points, {many(test.counts.discordant, 'pair')} differ"
        lines.append(f"  {test.second} against {test.first}: {told}, Holm {probability(test.adjusted_p_value)}")
    if len(found.best) == len(found.names):
        return [*lines, "none of them can be told from the best"]
    return [*lines, f"cannot be told from the best: {', '.join(found.best)}"]


def gate_sentence(name: str, found: GateResult) -> str:
    """What the counts say of a demand, and by which test."""
    demand = f"{name} >= {found.least:g}"
    share = _share(found.successes, found.n)
    test = "exact one-sided binomial test"
    at_least, at_most = (f"{1 - level:.2g}" for level in (found.level, found.upper_level))
    if found.verdict == "met":
        return f"{demand}: met; {share}, at least {found.lower:.4f} ({test} at {at_least})"
    if found.verdict == "missed":
        return f"{demand}: missed; {share}, at most {found.upper:.4f} ({test} at {at_most})"
    bounds = f"{share}, at least {found.lower:.4f} and at most {found.upper:.4f} ({test}, {at_least} and {at_most})"
    need = episodes_for(found.successes / found.n, found.least, found.level) if found.n else None
    more = "" if need is None or need <= found.n else f"; {need} episodes at this rate would show it"
    return f"{demand}: cannot tell; {bounds}{more}"


def duel_sentence(found: DuelOutcome, first: str, second: str, planned: int, alpha: float) -> str:
    """What a duel showed, at which pair, and how sure that is."""
    state = found.state
    won = f"{state.only_second} won by {second} alone, {state.only_first} by {first} alone"
    pairs = f"{state.pairs} of {planned} pairs, {won}"
    wealth = f"e-value {_e_value(state.largest_log_e)}, p <= {max(state.p_value, 1e-12):.2g} at every look"
    if found.winner is not None:
        winner, loser = (first, second) if found.winner == "first" else (second, first)
        return (
            f"{winner} is better than {loser}: {pairs}; {wealth}, at most {alpha:g} of such duels name a winner wrongly"
        )
    reason = (
        "the planned order is at its end" if state.pairs >= planned else "not even all that is left could decide it"
    )
    if not found.is_over:
        reason = "not decided yet"
    return f"cannot tell: {pairs}; {wealth}; {reason}"


def _e_value(log_e: float) -> str:
    return f"{2.718281828459045**log_e:.3g}" if log_e < 600 else "above 1e260"


def until_sentence(rule: str, successes: int, n: int, planned: int, *, is_met: bool) -> str:
    """Where a run stopped, and the interval that is valid there."""
    found = rate_sequence(successes, n)
    interval = f"95 % confidence sequence {100 * found.low:.1f}-{100 * found.high:.1f} %, valid at every look"
    share = _share(successes, n)
    if is_met:
        return f"{rule} reached after {n} of {planned} episodes in planned order: {share}, {interval}"
    return f"{rule} not reached within {planned} planned episodes: {share}, {interval}"


def power_lines(pilot: Pilot, target: float, alpha: float) -> list[str]:
    """What a comparison on n pairs could show, and how many it would take."""
    n, discordant = pilot.n, pilot.discordant
    need = pairs_needed(discordant, target, POWER, alpha)
    lines = [f"{pilot.origin}: success {100 * pilot.rate:.1f} %, {points(discordant)} % of pairs differ"]
    told = f"a difference of {points(target)} points with probability {POWER}"
    can_be = target <= discordant
    if need is None:
        beyond = f"it takes more than {MOST_PAIRS:,} pairs to show {told}"
        lines.append(beyond if can_be else f"no number of pairs shows {told}: fewer than that differ")
    else:
        lines.append(f"{need} pairs show {told}")
    if n:
        least = detectable_difference(n, discordant, POWER, alpha)
        smallest = "none" if least is None else f"{points(least)} points"
        chance = f"{points(target)} points with probability {mcnemar_power(n, discordant, target, alpha):.2f}; "
        lines.append(f"{many(n, 'pair')}: {chance if can_be else ''}with {POWER}: {smallest}")
    return lines


def plan_lines(n: int) -> list[str]:
    """What a run of this size could show at all, for the dry run."""
    widths = ", ".join(f"+-{points(worst_half_width(n, p))} points at {100 * p:.0f} %" for p in (0.5, 0.9, 0.98))
    shown = []
    for share in (0.1, 0.3):
        least = detectable_difference(n, share)
        shown.append(
            f"{'none' if least is None else f'{points(least)} points'} if {points(share)} % of the pairs differ"
        )
    return [
        f"{many(n, 'episode')}: a rate is known to {widths} (exact 95 % interval)",
        f"smallest difference to another run on them that shows with probability {POWER}: {', '.join(shown)}",
    ]


def published_line(
    name: str, suite: str, published: tuple[int, int], ours: tuple[int, int], method: IntervalMethod
) -> str:
    """Whether a suite's interval covers the published rate."""
    rate = published[0] / published[1]
    found = interval_of(*ours, method)
    if found is None:
        return f"{suite}: no episode of ours ended"
    covers = "covers" if rate in found else "does not cover"
    ours_text = f"{_share(*ours)}, {NAMES[method]} {100 * found.low:.1f}-{100 * found.high:.1f} %"
    return f"{suite}: {ours_text}, {covers} the {100 * rate:.1f} % of {name}"

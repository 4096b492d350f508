"""Runs compared: pairs, tests and intervals by task, by suite and over all; pure functions of their results."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ray_eval.report.evidence import has_repeats
from ray_eval.report.paired import paired_counts
from ray_eval.report.question import Arm, Question
from ray_eval.stats.intervals import LEVEL, Interval
from ray_eval.stats.paired import PairedCounts, exact_mcnemar, tango
from ray_eval.stats.several import CochranQ, PairwiseTest, cochran_q, holm, not_told_from_best, pairs_of, pairwise
from ray_eval.stats.unpaired import UnpairedCounts, miettinen_nurminen, score_test
from ray_eval.types import EpisodeResult, Outcome


class Verdict(enum.StrEnum):
    """What a comparison of B with A shows."""

    BETTER = "better"
    """A test rejected, and B succeeds more often."""
    WORSE = "worse"
    """A test rejected, and B succeeds less often."""
    WITHIN_MARGIN = "within margin"
    """B is not worse by the margin or more: the interval's lower bound is above minus the margin."""
    CANNOT_TELL = "cannot tell"
    """None of these is shown."""


@dataclass(frozen=True, slots=True)
class Group:
    """Some episodes of two runs compared."""

    name: str
    """Task, suite, or `all`."""
    level: str
    """`task`, `suite` or `all`."""
    first_successes: int
    """Successes of the first."""
    first_n: int
    """Episodes of the first that count."""
    second_successes: int
    """Successes of the second."""
    second_n: int
    """Episodes of the second that count."""
    only_first: int | None
    """Pairs that the first alone won; None where episodes are not paired."""
    only_second: int | None
    """Pairs that the second alone won; None where episodes are not paired."""
    difference: float | None
    """Rate of the second minus that of the first."""
    interval: Interval | None
    """Interval of the difference."""
    p_value: float
    """Of the test that the rates are the same."""
    adjusted_p_value: float
    """The same after Holm over the groups of its level."""
    test: str
    """Which test it is."""

    @property
    def discordant(self) -> int | None:
        """Pairs whose outcomes differ."""
        return None if self.only_first is None or self.only_second is None else self.only_first + self.only_second


@dataclass(frozen=True, slots=True)
class Flip:
    """An episode that did not end alike."""

    episode_id: str
    """Which one."""
    task: str
    """Name of its task."""
    first: str
    """Outcome under the first."""
    second: str
    """Outcome under the second."""
    init_state_id: int
    """Its init state."""
    repeat: int
    """Which repeat of it."""


@dataclass(frozen=True, slots=True)
class PairComparison:
    """B compared with A."""

    first: str
    """Name of A."""
    second: str
    """Name of B."""
    question: Question
    """In what they differ."""
    groups: tuple[Group, ...]
    """By task, by suite, and over all, which comes last."""
    flips: tuple[Flip, ...]
    """Episodes that did not end alike, in plan order."""
    identical: int
    """Pairs with the same trajectory, to the bit."""
    verdict: Verdict
    """What is shown over all."""
    alpha: float
    """Level of the tests; intervals, that of the margin too, hold with 1 - alpha."""
    margin: float | None
    """How much worse B may be; None where nothing was said."""
    has_repeats: bool = False
    """Whether repeats of an init state are counted, as if they were independent."""

    @property
    def overall(self) -> Group:
        """All episodes together."""
        return self.groups[-1]


def adjusted_pairs(pairs: Sequence[PairComparison]) -> tuple[PairComparison, ...]:
    """Comparisons after Holm over them all; a verdict needs a test that rejects after it."""
    values = holm([pair.overall.p_value for pair in pairs])
    found = []
    for pair, value in zip(pairs, values, strict=True):
        overall = replace(pair.overall, adjusted_p_value=value)
        verdict = verdict_of(overall, pair.alpha, pair.margin)
        found.append(replace(pair, groups=(*pair.groups[:-1], overall), verdict=verdict))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class SeveralComparison:
    """Three runs or more, on the episodes that all of them ended."""

    names: tuple[str, ...]
    """Their names."""
    n: int
    """Episodes that all of them ended."""
    q: CochranQ
    """Cochran's test of whether they differ at all."""
    pairwise: tuple[PairwiseTest, ...]
    """Every two of them, with Holm."""
    best: tuple[str, ...]
    """Those that cannot be told from the best."""


Counter = Callable[[str, str, Mapping[str, EpisodeResult], Mapping[str, EpisodeResult]], Group]


def compare_pair(first: Arm, second: Arm, question: Question, alpha: float, margin: float | None) -> PairComparison:
    """B against A, on the grounds that the question says; n = 0 shows nothing."""
    one, other = first.ended, second.ended
    if question.is_paired or "episodes" in question.allowed:
        common = one.keys() & other.keys()
        one = {key: result for key, result in one.items() if key in common}
        other = {key: result for key, result in other.items() if key in common}
    count = functools.partial(_paired_group if question.is_paired else _unpaired_group, 1 - alpha)
    tasks = _adjusted(_grouped(one, other, count, "task", lambda r: f"{r.spec.suite}/{r.spec.task_id}"))
    suites = _adjusted(_grouped(one, other, count, "suite", lambda r: r.spec.suite))
    overall = count("all", "all", one, other)
    same = sum(bool(r.trajectory_sha256) and r.trajectory_sha256 == _hash(other, key) for key, r in one.items())
    flips = _flips(one, other) if question.is_paired else ()
    shown = verdict_of(overall, alpha, margin)
    groups = (*tasks, *(suites if len(suites) > 1 else ()), overall)
    identical = same if question.is_paired else 0
    repeats = has_repeats(first) or has_repeats(second)
    return PairComparison(first.name, second.name, question, groups, flips, identical, shown, alpha, margin, repeats)


def _hash(results: Mapping[str, EpisodeResult], key: str) -> str | None:
    return results[key].trajectory_sha256 if key in results else None


def verdict_of(group: Group, alpha: float, margin: float | None) -> Verdict:
    """What a group's test, and the margin if there is one, show of the second."""
    if margin is not None and group.interval is not None and group.interval.low > -margin:
        is_better = group.adjusted_p_value <= alpha and (group.difference or 0.0) > 0
        return Verdict.BETTER if is_better else Verdict.WITHIN_MARGIN
    if group.adjusted_p_value > alpha or not group.difference:
        return Verdict.CANNOT_TELL
    return Verdict.BETTER if group.difference > 0 else Verdict.WORSE


def _grouped(
    one: Mapping[str, EpisodeResult],
    other: Mapping[str, EpisodeResult],
    count: Counter,
    level: str,
    name_of: Callable[[EpisodeResult], str],
) -> list[Group]:
    names = dict.fromkeys(name_of(result) for result in (*one.values(), *other.values()))

    def of(results: Mapping[str, EpisodeResult], name: str) -> dict[str, EpisodeResult]:
        return {key: result for key, result in results.items() if name_of(result) == name}

    return [count(name, level, of(one, name), of(other, name)) for name in names]


def _adjusted(groups: Sequence[Group]) -> list[Group]:
    values = holm([group.p_value for group in groups])
    return [replace(group, adjusted_p_value=value) for group, value in zip(groups, values, strict=True)]


def _paired_group(
    confidence: float, name: str, level: str, one: Mapping[str, EpisodeResult], other: Mapping[str, EpisodeResult]
) -> Group:
    counts = paired_counts(one, other)
    test = exact_mcnemar(counts)
    return Group(
        name,
        level,
        counts.first_successes,
        counts.n,
        counts.second_successes,
        counts.n,
        counts.only_first,
        counts.only_second,
        counts.difference,
        tango(counts, confidence),
        test.p_value,
        test.p_value,
        test.name,
    )


def _unpaired_group(
    confidence: float, name: str, level: str, one: Mapping[str, EpisodeResult], other: Mapping[str, EpisodeResult]
) -> Group:
    counts = UnpairedCounts(_successes(one), len(one), _successes(other), len(other))
    return unpaired_group(name, level, counts, confidence)


def unpaired_group(name: str, level: str, counts: UnpairedCounts, confidence: float = LEVEL) -> Group:
    """Two independent counts compared, with an interval of the difference that holds it so often."""
    test = score_test(counts)
    return Group(
        name,
        level,
        counts.first_successes,
        counts.first_n,
        counts.second_successes,
        counts.second_n,
        None,
        None,
        counts.difference,
        miettinen_nurminen(counts, confidence),
        test.p_value,
        test.p_value,
        test.name,
    )


def _successes(results: Mapping[str, EpisodeResult]) -> int:
    return sum(result.outcome is Outcome.SUCCESS for result in results.values())


def _flips(one: Mapping[str, EpisodeResult], other: Mapping[str, EpisodeResult]) -> tuple[Flip, ...]:
    return tuple(
        Flip(
            key,
            result.task,
            str(result.outcome),
            str(other[key].outcome),
            result.spec.init_state_id,
            result.spec.repeat,
        )
        for key, result in one.items()
        if key in other and result.outcome is not other[key].outcome
    )


def compare_several(arms: Sequence[Arm], alpha: float) -> SeveralComparison:
    """Three runs or more at once, by the episodes that all of them ended."""
    ended = [arm.ended for arm in arms]
    ids = [key for key in ended[0] if all(key in results for results in ended)]
    rows = [[results[key].outcome is Outcome.SUCCESS for results in ended] for key in ids]
    names = [arm.name for arm in arms]
    columns = {name: [row[index] for row in rows] for index, name in enumerate(names)}
    counts = {pair: _counts(columns[pair[0]], columns[pair[1]]) for pair in pairs_of(names)}
    tests = tuple(pairwise(counts))
    best = tuple(not_told_from_best(names, tests, alpha))
    return SeveralComparison(tuple(names), len(ids), cochran_q(rows or [[False] * len(arms)]), tests, best)


def _counts(one: Sequence[bool], other: Sequence[bool]) -> PairedCounts:
    pairs = list(zip(one, other, strict=True))
    return PairedCounts(*(pairs.count(cell) for cell in ((True, True), (True, False), (False, True), (False, False))))

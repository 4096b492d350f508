"""A run beside a published row: which choices of the protocol differ, and the counts by suite; runs in the driver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ray_eval.config import load_config
from ray_eval.driver.compare import Asked, Refusal, check_allowed
from ray_eval.published import PublishedRow
from ray_eval.report.comparison import Group, PairComparison, unpaired_group, verdict_of
from ray_eval.report.comparison_output import Report
from ray_eval.report.evidence import has_repeats, once
from ray_eval.report.metrics import by_suite, rate_of
from ray_eval.report.question import Arm, Difference, Kind, Question, is_allowed, recorded_text, states
from ray_eval.report.wording import published_line, refusal_lines
from ray_eval.stats.intervals import DEFAULT_METHOD
from ray_eval.stats.several import holm
from ray_eval.stats.unpaired import UnpairedCounts

TASKS = 10
"""Tasks behind each rate of the table."""


def compare_published(arm: Arm, row: PublishedRow, asked: Asked, *, is_first: bool) -> Report | Refusal:
    """A run against a row, suite by suite, as counts of other episodes.

    Args:
        arm: the run.
        row: the row.
        asked: how it is to be compared.
        is_first: whether the row is A and the run B.
    """
    shared = [suite for suite in by_suite(arm.results.values()) if suite in row.rates]
    suites = [suite for suite in by_suite(arm.ended.values()) if suite in shared]
    names = (row.name, arm.name) if is_first else (arm.name, row.name)
    if shared and not suites:
        said = f"not comparable: none of the {len(arm.results)} episodes of {arm.name} ended; finish it by {arm.finish}"
        return Refusal((said,))
    if not suites:
        has = ", ".join(by_suite(arm.results.values())) or "no episode"
        said = f"not comparable: {arm.name} has {has}, {row.name} has {', '.join(row.rates)}; run one of its suites"
        return Refusal((said,))
    found = tuple(_differences(arm, row, suites))
    check_allowed(asked.allowed, found)
    question = Question(found, tuple(k for k in asked.allowed if any(is_allowed(d.key, [k]) for d in found)), False)
    if question.refused:
        return Refusal(tuple(refusal_lines(*names, question.refused, is_paired=False)))
    (counted,), said = once([arm])
    groups = _groups(counted, row, suites, 1 - asked.alpha, is_first=is_first)
    shown = verdict_of(groups[-1], asked.alpha, asked.margin)
    pair = PairComparison(*names, question, groups, (), 0, shown, asked.alpha, asked.margin, has_repeats(counted))
    remarks = (*_remarks(counted, row, suites), *([said] if said else []))
    return Report((pair,), None, remarks, asked.target)


def _differences(arm: Arm, row: PublishedRow, suites: Sequence[str]) -> list[Difference]:
    return [*protocol_differences(arm, row, suites), *_missing_tasks(arm, suites), *states(arm)]


def protocol_differences(arm: Arm, row: PublishedRow, suites: Sequence[str]) -> list[Difference]:
    """Choices of the protocol that differ; counts are compared all the same, and the result says so."""
    if row.protocol is None:
        return [Difference("protocol", recorded_text(arm.identity, "protocol.name"), "not known", Kind.NOTE)]
    theirs = load_config(None, ["policy=noop", f"suite=[{','.join(suites)}]", f"protocol={row.protocol}"]).identity()
    budgets = [f"protocol.max_steps.{suite}" for suite in suites]
    keys = [
        key
        for key in theirs
        if key.startswith("protocol.") and not key.startswith("protocol.max_steps.") and key != "protocol.name"
    ]
    return [
        Difference(key, recorded_text(arm.identity, key), recorded_text(theirs, key), Kind.PAIRING)
        for key in (*keys, *(key for key in budgets if key in theirs))
        if key in arm.identity and arm.identity[key] != theirs[key]
    ]


def _missing_tasks(arm: Arm, suites: Sequence[str]) -> list[Difference]:
    found = []
    for suite in suites:
        tasks = {result.spec.task_id for result in arm.results.values() if result.spec.suite == suite}
        if len(tasks) < TASKS:
            remedy = "run all tasks of the suite, or compare what there is by --allow tasks"
            found.append(Difference("tasks", f"{len(tasks)} of {suite}", str(TASKS), Kind.CONFOUNDER, remedy))
    return found


def _groups(
    arm: Arm, row: PublishedRow, suites: Sequence[str], confidence: float, *, is_first: bool
) -> tuple[Group, ...]:
    ended = by_suite(arm.ended.values())
    ours = {suite: (rate_of(ended[suite]).successes, len(ended[suite])) for suite in suites}
    theirs = {suite: row.counts(suite) for suite in suites}
    one, other = (theirs, ours) if is_first else (ours, theirs)
    counts = {suite: UnpairedCounts(*one[suite], *other[suite]) for suite in suites}
    groups = [unpaired_group(suite, "suite", counts[suite], confidence) for suite in suites]
    adjusted = holm([group.p_value for group in groups])
    tested = [replace(group, adjusted_p_value=value) for group, value in zip(groups, adjusted, strict=True)]
    sums = [sum(counts[suite][index] for suite in suites) for counts in (one, other) for index in (0, 1)]
    return (*tested, unpaired_group("all", "all", UnpairedCounts(*sums), confidence))


def _remarks(arm: Arm, row: PublishedRow, suites: Sequence[str]) -> list[str]:
    origin = f"{row.name}: {row.model} ({row.checkpoint}); {row.source}; read {row.read}"
    ended = by_suite(arm.ended.values())
    counts = {suite: (rate_of(ended[suite]).successes, len(ended[suite])) for suite in suites}
    return [origin, *(published_line(row.name, s, row.counts(s), counts[s], DEFAULT_METHOD) for s in suites)]

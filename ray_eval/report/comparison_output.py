"""A comparison as a table, JSON and CSV; pure functions of what was found."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ray_eval.report.comparison import Group, PairComparison, SeveralComparison
from ray_eval.report.metrics import rounded
from ray_eval.report.wording import TARGET, interval_name, points, several_lines, verdict_sentence

SCHEMA_VERSION = 1
"""Version of the layout of a comparison's JSON."""
_LEFT_OUT = {"differ"}
"""The sum of two others, for which a terminal has no room."""
_ONE_SIDE = {"A only", "B only"}
"""Columns for which a narrow terminal has no room either: their difference is among the others."""
_SPARE = 14
"""Columns of a name beside which they are still shown."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that one call of `compare` found."""

    pairs: tuple[PairComparison, ...]
    """Each of the others against the first."""
    several: SeveralComparison | None
    """All of them at once, where there are three or more."""
    remarks: tuple[str, ...] = ()
    """Lines about what the comparison is of."""
    target: float = TARGET
    """Difference that sentences speak of."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Folders of the runs by their names, as a shell takes them."""

    @property
    def sentences(self) -> list[str]:
        """What was shown, a line each."""
        lines = [verdict_sentence(pair, self.target) for pair in self.pairs]
        return lines if self.several is None else [*several_lines(self.several, self.pairs[0].alpha), *lines]


def group_columns(alpha: float) -> tuple[str, ...]:
    """Heads of a comparison's table."""
    interval = interval_name(1 - alpha)
    return ("group", "A", "B", "differ", "A only", "B only", "B - A", interval, "p", "Holm p")


def comparison_table(found: PairComparison, width: int) -> Table:
    """A row per task, per suite, and for all.

    Args:
        found: the comparison.
        width: characters of a line; what has no room in it is left out before a figure is cut.
    """
    title = Text(f"A = {found.first}, B = {found.second}")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    columns = group_columns(found.alpha)
    rows = [dict(zip(columns, group_cells(group), strict=True)) for group in found.groups]
    shown = [column for column in columns if column not in _LEFT_OUT]
    widest = {column: max(len(column), *(len(row[column]) for row in rows)) for column in shown}
    figures = sum(widest[column] + 1 for column in shown if column != "group")
    if figures + min(widest["group"], _SPARE) + 2 > width:
        shown = [column for column in shown if column not in _ONE_SIDE]
    for column in shown:
        # Where the terminal is narrow a name is cut, and never a figure.
        is_name = column == "group"
        table.add_column(
            column,
            justify="left" if is_name else "right",
            no_wrap=True,
            min_width=4 if is_name else widest[column],
        )
    level = found.groups[0].level
    for group, row in zip(found.groups, rows, strict=True):
        if group.level != level:
            table.add_section()
            level = group.level
        table.add_row(*(Text(row[column]) for column in shown))
    return table


def group_cells(group: Group) -> tuple[str, ...]:
    """A row of a comparison's table."""
    interval = group.interval
    bounds = "-" if interval is None else f"{points(interval.low, signed=True)} to {points(interval.high, signed=True)}"
    return (
        group.name,
        f"{group.first_successes}/{group.first_n}",
        f"{group.second_successes}/{group.second_n}",
        *("-" if value is None else str(value) for value in (group.discordant, group.only_first, group.only_second)),
        "-" if group.difference is None else points(group.difference, signed=True),
        bounds,
        _p(group.p_value),
        "-" if group.level == "all" else _p(group.adjusted_p_value),
    )


def _p(value: float) -> str:
    return "<.001" if value < 0.001 else f"{value:.3f}"


def flip_lines(found: PairComparison, most: int = 40) -> list[str]:
    """Episodes that did not end alike, by task."""
    tasks: dict[str, list[str]] = {}
    for flip in found.flips:
        # The id is suite/task/init state, and /repeat from the first repetition on.
        task = flip.episode_id.rsplit("/", 2 if flip.repeat else 1)[0]
        repeat = f" (repeat {flip.repeat})" if flip.repeat else ""
        tasks.setdefault(task, []).append(f"{flip.init_state_id}{repeat} {flip.first} -> {flip.second}")
    lines = [f"  {task}: {', '.join(told)}" for task, told in tasks.items()]
    return lines if len(lines) <= most else [*lines[:most], f"  and {len(lines) - most} tasks more"]


def report_values(report: Report) -> dict[str, Any]:
    """The report as JSON values."""
    return {
        "schema_version": SCHEMA_VERSION,
        "comparisons": [_pair_values(pair, report.target) for pair in report.pairs],
        "several": None if report.several is None else _several_values(report.several),
        "remarks": list(report.remarks),
        "sentences": report.sentences,
    }


def _pair_values(pair: PairComparison, target: float) -> dict[str, Any]:
    return {
        "first": pair.first,
        "second": pair.second,
        "verdict": str(pair.verdict),
        "sentence": verdict_sentence(pair, target),
        "is_paired": pair.question.is_paired,
        "alpha": pair.alpha,
        "margin": pair.margin,
        "allowed": list(pair.question.allowed),
        "differences": [dataclasses.asdict(difference) for difference in pair.question.differences],
        "identical_trajectories": pair.identical,
        "groups": [group_row(group) for group in pair.groups],
        "flipped": [dataclasses.asdict(flip) for flip in pair.flips],
    }


def _several_values(several: SeveralComparison) -> dict[str, Any]:
    return {
        "names": list(several.names),
        "n": several.n,
        "cochran_q": rounded(several.q.statistic),
        "degrees_of_freedom": several.q.degrees_of_freedom,
        "p_value": several.q.p_value,
        "pairwise": [
            {
                "first": test.first,
                "second": test.second,
                "only_first": test.counts.only_first,
                "only_second": test.counts.only_second,
                "p_value": test.p_value,
                "adjusted_p_value": test.adjusted_p_value,
            }
            for test in several.pairwise
        ],
        "not_told_from_best": list(several.best),
    }


def group_row(group: Group) -> dict[str, Any]:
    """A group as flat JSON values."""
    interval = group.interval
    values = dataclasses.asdict(group)
    del values["interval"]
    return {
        **values,
        "difference": rounded(group.difference),
        "interval_low": None if interval is None else rounded(interval.low),
        "interval_high": None if interval is None else rounded(interval.high),
        "interval_method": None if interval is None else interval.method,
    }


def json_text(report: Report) -> str:
    """The report as JSON, the same bytes for the same runs."""
    return json.dumps(report_values(report), indent=2, sort_keys=True, allow_nan=False) + "\n"


def groups_csv(report: Report) -> str:
    """A row per comparison and group."""
    rows = [
        {"first": pair.first, "second": pair.second, **group_row(group)}
        for pair in report.pairs
        for group in pair.groups
    ]
    # The arms' names are columns; a group's own are its name and its level.
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def written(report: Report, kinds: Sequence[str]) -> dict[str, str]:
    """Texts of the files that were asked for, by kind."""
    makers = {"json": json_text, "csv": groups_csv}
    return {kind: makers[kind](report) for kind in kinds}

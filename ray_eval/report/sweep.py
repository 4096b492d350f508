"""What is recorded and shown of a sweep: its summary, its table; pure functions of the points' results."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from ray_eval.report.metrics import Rate, Told, group_values, rate_of, rounded, without_controls
from ray_eval.report.paired import paired_counts, paired_interval
from ray_eval.report.progress import percent
from ray_eval.stats.intervals import DEFAULT_METHOD, IntervalMethod
from ray_eval.stats.paired import PairedCounts
from ray_eval.types import EpisodeResult

MARK = "*"
"""Stands behind the figures of a point that another machine would not repeat."""
SCHEMA_VERSION = 1
"""Version of the layout of a sweep's summary."""


@dataclass(frozen=True, slots=True)
class SweptPoint:
    """One point of a sweep and what came out of it so far."""

    values: Mapping[str, str]
    """Value of each swept key."""
    planned: int
    """Episodes of the point."""
    results: tuple[EpisodeResult, ...]
    """The results that count, in plan order."""
    identity_sha256: str | None = None
    """Identity of the point's run; None before it has begun."""
    machine_dependence: str | None = None
    """What its figures owe to the machine; None for the same figures on every machine."""
    interval: IntervalMethod = DEFAULT_METHOD
    """How its intervals are made."""
    perturbed: Told = field(default_factory=dict)
    """What of its tasks is perturbed; the controls beside them are in `results`, and in no figure of the point."""

    @property
    def is_complete(self) -> bool:
        """Whether every planned episode, controls included, is a success or a failure."""
        return rate_of(self.results).n == self.planned

    @property
    def about(self) -> list[EpisodeResult]:
        """Results that the point is about: all but controls."""
        return without_controls(self.results, self.perturbed)

    @property
    def is_starved(self) -> bool:
        """Whether the policy never acted: at no step of any episode was one of its actions there in time."""
        steps = sum(result.steps for result in self.results)
        return steps > 0 and sum(result.underrun_steps for result in self.results) == steps

    @property
    def rate(self) -> Rate:
        """Success rate."""
        return rate_of(self.about, self.interval)

    @property
    def by_id(self) -> dict[str, EpisodeResult]:
        """Results that it is about, by episode id."""
        return {result.spec.episode_id: result for result in self.about}


def differences(points: Sequence[SweptPoint]) -> list[PairedCounts]:
    """Every point against the first, over the episodes that both ended."""
    first = points[0].by_id
    return [paired_counts(first, point.by_id) for point in points]


def sweep_summary_text(axes: Mapping[str, Sequence[str]], points: Sequence[SweptPoint]) -> str:
    """`summary.json` of a sweep: the same bytes whenever the same episodes of every point ended."""
    summary = {
        "schema_version": SCHEMA_VERSION,
        "axes": {key: list(values) for key, values in axes.items()},
        "is_complete": all(point.is_complete for point in points),
        "interval": points[0].interval,
        "points": [
            {
                "values": dict(point.values),
                "identity_sha256": point.identity_sha256,
                "planned": point.planned,
                "is_starved": point.is_starved,
                "machine_dependence": point.machine_dependence,
                **group_values(point.about, point.interval),
                "difference_to_first": _difference_values(difference, point.interval),
            }
            for point, difference in _compared(points)
        ],
    }
    return json.dumps(summary, sort_keys=True, indent=2, allow_nan=False) + "\n"


def _difference_values(difference: PairedCounts, method: IntervalMethod) -> dict[str, Any]:
    interval = paired_interval(difference, method)
    return {
        "n": difference.n,
        "only_first": difference.only_first,
        "only_this": difference.only_second,
        "value": rounded(difference.difference),
        "interval_low": rounded(interval.low) if interval else None,
        "interval_high": rounded(interval.high) if interval else None,
    }


def sweep_csv_text(points: Sequence[SweptPoint]) -> str:
    """`points.csv`: one row per point."""
    rows = [_csv_row(point, difference) for point, difference in _compared(points)]
    buffer = io.StringIO()
    # Points by the clock, or with errors alone, have other figures than the rest.
    columns = list(dict.fromkeys(column for row in rows for column in row))
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _csv_row(point: SweptPoint, difference: PairedCounts) -> dict[str, Any]:
    values = group_values(point.about, point.interval)
    inside = values.pop("inside") or {}
    return {
        **point.values,
        "planned": point.planned,
        "is_starved": point.is_starved,
        "machine_dependence": point.machine_dependence,
        **values,
        **inside,
        **{f"difference_{key}": value for key, value in _difference_values(difference, point.interval).items()},
    }


def sweep_table(title: str, points: Sequence[SweptPoint], width: int) -> Table:
    """A row per point: its values, its rate, and its paired difference to the first point in percentage points.

    Args:
        title: what was evaluated.
        points: every point.
        width: characters of a line; figures that have no room in it are left out, the least important ones first.
    """
    # Two lines each, so that the cells decide the width.
    names = [re.sub(r"[._](?=[^._]+$)", "\n", key.removeprefix("execution.")) for key in points[0].values]
    rows = [_cells(point, difference, is_first=point is points[0]) for point, difference in _compared(points)]
    left_out: set[str] = set()
    caption = caption_of(points)
    for name in (None, *_LEAST_IMPORTANT_FIRST):
        left_out.add(name or "")
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.caption, table.caption_justify = caption, "left"
        for column in (*names, *(column for column in _COLUMNS if column not in left_out)):
            table.add_column(column, justify="right", no_wrap=True)
        for point, row in zip(points, rows, strict=True):
            cells = [cell for column, cell in zip(_COLUMNS, row, strict=True) if column not in left_out]
            table.add_row(*point.values.values(), *cells)
        if Measurement.get(_MEASURING, _MEASURING.options, table).maximum <= width:
            break
    return table


def caption_of(points: Sequence[SweptPoint]) -> str | None:
    """What the mark behind a count means; None where no point depends on the machine."""
    reasons = dict.fromkeys(point.machine_dependence for point in points if point.machine_dependence)
    return f"{MARK} depends on the machine: {'; '.join(reasons)}" if reasons else None


def _compared(points: Sequence[SweptPoint]) -> Iterator[tuple[SweptPoint, PairedCounts]]:
    """Every point with its difference to the first."""
    return zip(points, differences(points), strict=True)


def _cells(point: SweptPoint, difference: PairedCounts, *, is_first: bool) -> tuple[str, ...]:
    rate, values = point.rate, group_values(point.about)
    inside = values["inside"] or {}
    replan, jump_m, jump_rad = (inside.get(f"{key}") for key in _INSIDE)
    return (
        f"{rate.successes}/{rate.n}{MARK if point.machine_dependence else ''}",
        percent(rate.value),
        _range(rate.interval, signed=False),
        "-" if is_first else _difference_cell(difference, point.interval),
        "starved" if point.is_starved else percent(values["underrun_share"]),
        "-" if replan is None else f"{replan:.1f}",
        "-" if jump_m is None else f"{1000 * jump_m:.1f} {jump_rad:.3f}",
        str(rate.errors),
    )


def _difference_cell(difference: PairedCounts, method: IntervalMethod) -> str:
    interval = paired_interval(difference, method)
    if interval is None or difference.difference is None:
        return "-"
    return f"{100 * difference.difference:+.1f} {_range((interval.low, interval.high))}"


_COLUMNS = ("k/n", "rate", "95 % CI", "to first\n(95 % CI)", "under-\nrun", "replan\nsteps", "seam\nmm, rad", "errors")
_LEAST_IMPORTANT_FIRST = ("seam\nmm, rad", "replan\nsteps", "under-\nrun", "rate", "to first\n(95 % CI)")
_INSIDE = ("replan_interval_steps", "seam_jump_m_mean", "seam_jump_rad_mean")
_MEASURING = Console(width=10_000, file=io.StringIO())


def _range(interval: tuple[float, float] | None, *, signed: bool = True) -> str:
    if interval is None:
        return "-"
    low, high = (100 * bound for bound in interval)
    return f"({low:+.1f} to {high:+.1f})" if signed else f"{low:.1f}-{high:.1f} %"


def trials_table(trials: Sequence[Mapping[str, Any]], most_rows: int = 12) -> Table:
    """The best trials of a search, on the init states that it was made on."""
    table = Table(
        title=f"best of {len(trials)} trials, on the tuning init states", title_justify="left", box=box.SIMPLE
    )
    figures = ("rungs", "episodes", "success_rate", "mean_steps")
    keys = [key for key in trials[0] if key not in (*figures, "score")]
    for key in (*keys, *figures):
        table.add_column(
            re.sub(r"[._](?=[^._]+$)", "\n", key.removeprefix("execution.")), justify="right", no_wrap=True
        )
    for trial in trials[:most_rows]:
        rate, steps = percent(trial["success_rate"]), f"{trial['mean_steps']:.1f}"
        table.add_row(*(str(trial[key]) for key in (*keys, "rungs", "episodes")), rate, steps)
    return table

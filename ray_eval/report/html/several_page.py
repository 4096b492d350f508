"""The page of several runs: what `compare` says of them, in its own words, with rates and what is swept; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray_eval.report.comparison import Group, PairComparison
from ray_eval.report.comparison_output import Report, group_cells, group_columns
from ray_eval.report.html.charts import PERCENT, Axis, Figure, Series, difference_bar, line_chart
from ray_eval.report.html.pages import page
from ray_eval.report.html.run_page import rate_row
from ray_eval.report.html.shown import ShownRun
from ray_eval.report.metrics import rate_of
from ray_eval.report.progress import percent
from ray_eval.report.wording import difference_lines

MOST_FLIPS = 200
"""Episodes that flipped that a page lists for two runs."""


@dataclass(frozen=True, slots=True)
class SeveralRuns:
    """Runs that are shown together."""

    runs: Sequence[ShownRun] = ()
    """The runs."""
    axes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What they differ in on purpose: the value of each run, by key."""
    links: Sequence[str | None] = ()
    """Where each run's own page is, relative to this one."""
    commands: Sequence[tuple[str, str]] = ()
    """What to type to make the page again."""
    sentences: Sequence[str] = ()
    """What is shown of them by another way than `compare`'s: a duel's own."""


def several_page(title: str, found: Report | Sequence[str], shown: SeveralRuns) -> str:
    """The page of several runs.

    Args:
        title: what it is about.
        found: what `compare` found, or the lines that say why it does not compare.
        shown: the runs; none where there is nothing but the comparison.
    """
    report = found if isinstance(found, Report) else None
    pairs = [] if report is None else [_pair(pair, report) for pair in report.pairs]
    sections = [(f"pair-{index}", f"{pair['second']}") for index, pair in enumerate(pairs, 1)]
    return page(
        "several.html.j2",
        title=title,
        meta=f"{len(shown.runs)} runs" if shown.runs else "ray-eval compare",
        links=[("result", "What is shown"), *([("runs", "Runs")] if shown.runs else []), *sections],
        sentences=[*shown.sentences, *([] if report is None else report.sentences)],
        remarks=[] if report is None else report.remarks,
        refusal=[] if isinstance(found, Report) else list(found),
        runs=_rows(shown),
        axes=[key.removeprefix("execution.") for key in shown.axes],
        figures=[figure for figure in (rates_over(shown),) if figure is not None],
        pairs=pairs,
        again=shown.commands,
    )


def _rows(shown: SeveralRuns) -> list[Any]:
    links = list(shown.links) or [None] * len(shown.runs)
    return [
        rate_row(
            run.arm.name,
            rate_of(run.about, run.interval),
            values=tuple(values[index] for values in shown.axes.values()),
            link=link,
        )
        for index, (run, link) in enumerate(zip(shown.runs, links, strict=True))
    ]


def rates_over(shown: SeveralRuns) -> Figure | None:
    """Success rate against the one of the swept keys whose values are numbers, a line for each value of the others."""
    along = next((key for key, values in shown.axes.items() if all(_number(v) is not None for v in values)), None)
    if along is None or len(set(shown.axes[along])) < 2:
        return None
    others = [key for key in shown.axes if key != along]
    ticks = sorted({float(value) for value in shown.axes[along]})
    places = {value: index for index, value in enumerate(ticks)}
    groups: dict[str, list[tuple[float, Any]]] = {}
    for index, run in enumerate(shown.runs):
        name = ", ".join(shown.axes[key][index] for key in others)
        rate = rate_of(run.about, run.interval)
        if rate.n:
            groups.setdefault(name, []).append((float(places[float(shown.axes[along][index])]), rate))
    series = [_rate_series(name, sorted(found, key=lambda item: item[0])) for name, found in groups.items()]
    what = along.removeprefix("execution.").replace("_", " ").replace(".", " ")
    x = Axis(what, len(ticks) - 0.5, tuple((float(i), f"{value:g}") for i, value in enumerate(ticks)), low=-0.5)
    title = f"Success over {what}"
    svg = line_chart(title, "Success rate of each run with its interval", series, x, Axis("success rate", 1.0, PERCENT))
    rows = tuple(
        (*([name] if others else []), f"{ticks[int(place)]:g}", f"{rate.successes}/{rate.n}", percent(rate.value))
        for name, found in groups.items()
        for place, rate in sorted(found, key=lambda item: item[0])
    )
    caption = "Bars: 95 % intervals. Values stand side by side in their order, not at their distance."
    head = [", ".join(others)] if others else []
    return Figure("over", title, caption, svg, (*head, what, "succeeded", "rate"), rows)


def _rate_series(name: str, found: Sequence[tuple[float, Any]]) -> Series:
    points = tuple((place, rate.value) for place, rate in found)
    bars = tuple((place, *rate.interval) for place, rate in found)
    return Series(name, points, bars=bars, has_marks=True)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _pair(pair: PairComparison, report: Report) -> dict[str, Any]:
    place = report.places.get(pair.second, pair.second)
    flips = [
        (flip.episode_id, flip.first, flip.second, f"ray-eval episode {place} {flip.episode_id} --video B.mp4")
        for flip in pair.flips[:MOST_FLIPS]
    ]
    reach = max((abs(value) for group in pair.groups for value in _bounds(group)), default=0.0) or 1.0
    rows = [
        {
            "cells": group_cells(group),
            "is_sum": group.level != "task",
            "bar": difference_bar(group.difference, *_bounds(group), reach) if group.interval else "",
        }
        for group in pair.groups
    ]
    return {
        "first": pair.first,
        "second": pair.second,
        "columns": group_columns(pair.alpha),
        "rows": rows,
        "flips": flips,
        "more_flips": max(0, len(pair.flips) - MOST_FLIPS),
        "differences": difference_lines(pair.question.differences),
    }


def _bounds(group: Group) -> tuple[float, float]:
    return (group.interval.low, group.interval.high) if group.interval else (0.0, 0.0)

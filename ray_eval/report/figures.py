"""Figures of sweeps and of queues, as PNG and SVG, the same bytes for the same results; the only part that draws."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ray_eval.report.sweep import SweptPoint
from ray_eval.stats.intervals import NAMES
from ray_eval.types import EpisodeResult

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that the colour-blind tell apart. Source: Okabe and Ito, Color Universal Design (2008)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""One per series, for print without colour."""
DASHES = ("-", "--", ":", "-.")
"""Lines of the series behind the seventh, the fourteenth and so on, whose colours and markers come again."""
LEGEND_PT, HANDLE_PT, LETTER_PT = 350, 36, 5.2
"""Room for a legend's row, what an entry takes besides its name, and a letter of it, in points."""
STEP_MS = 50
"""Milliseconds of a control step at LIBERO's 20 Hz."""
LATENCY_KEYS = ("execution.latency.steps", "execution.latency.ms")
"""Keys that go to the horizontal axis whenever they are swept."""
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "ray-eval",
    "legend.frameon": False,
}
_INK, _GREY, _RULE = "#222222", "#8A8A8A", "#E3E3E3"


def draw_success(axes: Mapping[str, Sequence[str]], points: Sequence[SweptPoint], stem: Path, title: str) -> None:
    """Success rate against one swept key, a line for each combination of the others, with 95 % intervals.

    Args:
        axes: swept keys and their values.
        points: every point; one without results is left out.
        stem: where `.png` and `.svg` are put.
        title: what was evaluated.
    """
    along = horizontal_key(axes)
    others = [key for key in axes if key != along]
    names = list(itertools.product(*(axes[key] for key in others)))
    columns = legend_columns([", ".join(name) for name in names])
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.6, 3.5 + 0.19 * -(-len(names) // columns)), layout="constrained")
        plot = figure.add_subplot()
        places = _places(axes[along])
        for index, name in enumerate(names):
            series = [p for p in points if tuple(p.values[key] for key in others) == name and p.rate.n]
            _draw_series(plot, [(places[p.values[along]], p) for p in series], index, len(names), ", ".join(name))
        _finish_success(plot, along, places)
        if others:
            plot.legend(
                title=", ".join(_words(key) for key in others),
                ncols=columns,
                loc="lower left",
                bbox_to_anchor=(0.0, 1.0),
                borderaxespad=0.2,
                handlelength=1.8,
                alignment="left",
            )
        counts = sorted({point.rate.n for point in points if point.rate.n})
        many = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}" if counts else "n = 0"
        hollow = "; hollow: every action came too late" if any(point.is_starved for point in points) else ""
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, color=_INK)
        machine = "; depends on the machine" if any(point.machine_dependence for point in points) else ""
        note = f"{many} per point; bars: 95 % {NAMES[points[0].interval]} intervals{hollow}{machine}"
        figure.supxlabel(note, fontsize=7.5, color=_GREY)
        _save(figure, stem)


def legend_columns(names: Sequence[str]) -> int:
    """How many of the names stand side by side above the plot."""
    widest_pt = HANDLE_PT + LETTER_PT * max(map(len, names))
    return max(1, min(len(names), 4, int(LEGEND_PT / widest_pt)))


def horizontal_key(axes: Mapping[str, Sequence[str]]) -> str:
    """The key along the horizontal axis: a latency, else the first whose values are numbers, else the first."""
    numeric = [key for key, values in axes.items() if all(_number(value) is not None for value in values)]
    return next(itertools.chain((key for key in LATENCY_KEYS if key in axes), numeric, axes))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _places(values: Sequence[str]) -> dict[str, float]:
    """Where each value stands: one beside the other, in ascending order where they are numbers."""
    numbers = [_number(value) for value in values]
    ordered = sorted(values, key=float) if None not in numbers else list(values)
    return {value: float(index) for index, value in enumerate(ordered)}


def _draw_series(plot: Any, series: list[tuple[float, SweptPoint]], index: int, count: int, name: str) -> None:
    # Side by side, so that no interval hides another one.
    shift = min(0.09, 0.7 / count) * (index - (count - 1) / 2)
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    series = sorted(series, key=lambda item: item[0])
    x = [place + shift for place, _ in series]
    y = [100 * (point.rate.value or 0.0) for _, point in series]
    look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 5, "clip_on": False}
    dashes = DASHES[index // len(COLOURS) % len(DASHES)]
    plot.plot(x, y, linewidth=1.5, linestyle=dashes, label=name, zorder=3, **look)
    for place, value, (_, point) in zip(x, y, series, strict=True):
        low, high = point.rate.interval or (0.0, 0.0)
        plot.plot([place, place], [100 * low, 100 * high], color=colour, linewidth=1.1, alpha=0.55, zorder=2)
        if point.is_starved:
            plot.plot([place], [value], markerfacecolor="white", zorder=4, **look)


def _finish_success(plot: Any, along: str, places: Mapping[str, float]) -> None:
    plot.set_ylim(-2, 102)
    plot.set_yticks(range(0, 101, 20))
    plot.set_ylabel("success rate (%)")
    plot.set_xlim(-0.4, len(places) - 0.6)
    plot.set_xticks(list(places.values()), [_tick(along, value) for value in places])
    plot.set_xlabel("inference latency (control steps, ms)" if along == LATENCY_KEYS[0] else _words(along))
    plot.grid(axis="y", color=_RULE, linewidth=0.8)
    plot.set_axisbelow(True)
    plot.tick_params(length=3, width=0.8)


def _tick(along: str, value: str) -> str:
    if along != LATENCY_KEYS[0]:
        return value
    return f"{value}\n{STEP_MS * int(value)} ms"


def _words(key: str) -> str:
    return key.removeprefix("execution.").replace("_", " ").replace(".", " ")


def draw_queue_lengths(points: Sequence[SweptPoint], stem: Path) -> None:
    """Actions queued at every step, a panel for each point: every episode in grey, their mean in colour.

    Panels stand in rows of points that differ in the last swept key alone.
    """
    told = [point for point in points if any(result.inside for result in point.results)]
    if not told:
        return
    columns = len({tuple(point.values.items())[-1:] for point in told}) if told[0].values else 1
    rows = -(-len(told) // columns)
    with mpl.rc_context({**_STYLE, "font.size": 7}):
        size = (4.2, 2.6) if len(told) == 1 else (0.7 + 1.7 * columns, 0.5 + 1.25 * rows)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for plot, point in itertools.zip_longest(grid.flat, told):
            if point is None:
                plot.set_axis_off()
            else:
                _draw_queue(plot, point)
        figure.supxlabel("control step", fontsize=8)
        figure.supylabel("actions queued", fontsize=8)
        _save(figure, stem)


def _draw_queue(plot: Any, point: SweptPoint) -> None:
    lengths = [result.inside.queue_lengths for result in point.results if result.inside is not None]
    for line in lengths:
        plot.plot(line, color="#BBBBBB", linewidth=0.4, alpha=0.5)
    plot.plot(mean_lengths(point.results), color=COLOURS[0], linewidth=1.1)
    plot.set_ylim(bottom=0)
    title = "\n".join(f"{_words(key)} {value}" for key, value in point.values.items())
    plot.set_title(title, fontsize=6.5, loc="left", pad=2)


def mean_lengths(results: Sequence[EpisodeResult]) -> list[float]:
    """Mean queue length at each step over the episodes that are still going on."""
    lengths = [result.inside.queue_lengths for result in results if result.inside is not None]
    longest = max((len(line) for line in lengths), default=0)
    return [float(np.mean([line[step] for line in lengths if step < len(line)])) for step in range(longest)]


def _save(figure: Figure, stem: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(stem.with_suffix(".png"), dpi=300, metadata={"Software": None})
    figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})

"""Plots as inline SVG that follow the page's colours, each with its figures as a table; pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 480, 280
"""Size of a plot in its own units, which are pixels on a wide screen and three quarters of one on a phone."""
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 12, 44
"""Margins that hold the ticks and the axes' names."""
SERIES = 6
"""Looks of a series; the seventh looks like the first."""
_MARKS = ("circle", "square", "diamond")


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot, and the same figures as a table."""

    name: str
    """Its id in the page."""
    title: str
    """What it shows."""
    caption: str
    """How it is to be read, in a sentence or two."""
    svg: Markup
    """The plot."""
    columns: tuple[str, ...]
    """Heads of the table."""
    rows: tuple[tuple[str, ...], ...]
    """Rows of the table."""
    is_wide: bool = False
    """Whether it takes the page's whole width."""


@dataclass(frozen=True, slots=True)
class Series:
    """A line of a plot."""

    name: str
    """What it is called in the legend; empty for one alone."""
    points: tuple[tuple[float, float], ...]
    """(x, y), in order."""
    band: tuple[tuple[float, float, float], ...] = ()
    """(x, low, high): a shaded range."""
    bars: tuple[tuple[float, float, float], ...] = ()
    """(x, low, high): an interval at each point."""
    is_step: bool = False
    """Whether a value holds until the next one."""
    has_marks: bool = False
    """Whether each point is marked."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of a plot."""

    name: str
    """What it shows, with its unit."""
    high: float
    """Largest value; the smallest is 0."""
    ticks: tuple[tuple[float, str], ...] = ()
    """Places and texts; none takes round numbers."""
    low: float = 0.0
    """Smallest value."""

    def shown_ticks(self) -> Sequence[tuple[float, str]]:
        """The ticks."""
        return self.ticks or [(value, f"{value:g}") for value in round_ticks(self.high)]


def round_ticks(high: float, most: int = 6) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from 0 to at most `high`."""
    if high <= 0:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(high / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if high / (power * factor) <= most)
    return [index * step for index in range(int(high / step + 1e-9) + 1)]


PERCENT = tuple((share / 100, f"{share} %") for share in range(0, 101, 20))
"""Ticks of a share in [0, 1]."""


def line_chart(title: str, description: str, series: Sequence[Series], x: Axis, y: Axis) -> Markup:
    """Lines over two axes.

    Args:
        title: what a reader is told instead of the picture, first.
        description: and then: what there is to be seen.
        series: the lines.
        x: horizontal axis.
        y: vertical axis.
    """
    across, up = _scale(x, LEFT, WIDTH - RIGHT), _scale(y, HEIGHT - BOTTOM, TOP)
    drawn = Markup("").join(_series(each, index % SERIES, across, up) for index, each in enumerate(series))
    names = [each.name for each in series if each.name]
    legend = _legend(names) if len(series) > 1 else Markup("")
    height = HEIGHT + (20 * -(-len(names) // 2) if legend else 0)
    return _svg(title, description, WIDTH, height, _axes(x, y, across, up) + drawn + legend)


def _scale(axis: Axis, low: float, high: float) -> Callable[[float], float]:
    span = (axis.high - axis.low) or 1.0
    return lambda value: low + (high - low) * (value - axis.low) / span


def _svg(title: str, description: str, width: float, height: float, inside: Markup) -> Markup:
    # An image with a name: what is in it is not read out piece by piece, as its table says it better.
    head = Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">').format(
        width, height, f"{title}. {description}"
    )
    return head + inside + Markup("</svg>")


def _axes(x: Axis, y: Axis, across: Callable[[float], float], up: Callable[[float], float]) -> Markup:
    bottom = HEIGHT - BOTTOM
    parts = [
        Markup(
            '<path class="grid" d="M{} {:.1f}H{}"/><text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>'
        ).format(LEFT, up(value), WIDTH - RIGHT, LEFT - 6, up(value) + 4, text)
        for value, text in y.shown_ticks()
    ]
    parts += [
        Markup('<path class="axis" d="M{0:.1f} {1}v4"/>').format(across(value), bottom)
        + Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            across(value), bottom + 17, text
        )
        for value, text in x.shown_ticks()
    ]
    parts.append(Markup('<path class="axis" d="M{} {}H{}"/>').format(LEFT, bottom, WIDTH - RIGHT))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(_text("name", middle, HEIGHT - 8, x.name, "middle"))
    half = (TOP + bottom) / 2
    parts.append(
        Markup('<text class="name" transform="translate(12 {:.1f}) rotate(-90)" text-anchor="middle">{}</text>').format(
            half, y.name
        )
    )
    return Markup("").join(parts)


def _text(kind: str, x: float, y: float, text: str, anchor: str = "start") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(kind, x, y, anchor, text)


def _series(series: Series, look: int, across: Callable[[float], float], up: Callable[[float], float]) -> Markup:
    parts = []
    if series.band:
        above = [f"{across(x):.1f} {up(high):.1f}" for x, _, high in series.band]
        below = [f"{across(x):.1f} {up(low):.1f}" for x, low, _ in reversed(series.band)]
        parts.append(Markup('<path class="band s{}" d="M{}Z"/>').format(look, "L".join([*above, *below])))
    places = [(across(x), up(y)) for x, y in series.points]
    if places:
        parts.append(Markup('<path class="line s{}" d="{}"/>').format(look, _path(places, is_step=series.is_step)))
    parts += [
        Markup('<path class="bar s{}" d="M{:.1f} {:.1f}V{:.1f}"/>').format(look, across(x), up(low), up(high))
        for x, low, high in series.bars
    ]
    if series.has_marks:
        parts += [_mark(look, x, y) for x, y in places]
    return Markup("").join(parts)


def _path(places: Sequence[tuple[float, float]], *, is_step: bool) -> str:
    (x, y), *rest = places
    parts = [f"M{x:.1f} {y:.1f}"]
    parts += [f"H{x:.1f}V{y:.1f}" if is_step else f"L{x:.1f} {y:.1f}" for x, y in rest]
    return "".join(parts)


def _mark(look: int, x: float, y: float) -> Markup:
    shape = _MARKS[look % len(_MARKS)]
    if shape == "circle":
        return Markup('<circle class="mark s{}" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(look, x, y)
    turn = Markup(' transform="rotate(45 {:.1f} {:.1f})"').format(x, y) if shape == "diamond" else Markup("")
    return Markup('<rect class="mark s{}" x="{:.1f}" y="{:.1f}" width="7" height="7"{}/>').format(
        look, x - 3.5, y - 3.5, turn
    )


def _legend(names: Sequence[str]) -> Markup:
    parts = []
    for index, name in enumerate(names):
        x, y = LEFT + (index % 2) * (WIDTH - LEFT) / 2, HEIGHT + 12 + 20 * (index // 2)
        parts.append(Markup('<path class="line s{}" d="M{:.1f} {:.1f}h22"/>').format(index % SERIES, x, y - 4))
        parts.append(_text("tick", x + 28, y, name if len(name) <= 28 else f"{name[:27]}…"))
    return Markup("").join(parts)


def column_chart(title: str, description: str, columns: Sequence[tuple[str, float]], x: str, y: str) -> Markup:
    """A column for each of some names, in order."""
    high = max((value for _, value in columns), default=0.0) or 1.0
    wide = (WIDTH - LEFT - RIGHT) / max(1, len(columns))
    every = -(-len(columns) // 12)
    ticks = tuple((index + 0.5, name) for index, (name, _) in enumerate(columns) if index % every == 0)
    along, tall = Axis(x, float(len(columns) or 1), ticks), Axis(y, high)
    across, up = _scale(along, LEFT, WIDTH - RIGHT), _scale(tall, HEIGHT - BOTTOM, TOP)
    drawn = [
        Markup('<rect class="column" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
            across(index) + wide * 0.15, up(value), wide * 0.7, up(0) - up(value)
        )
        for index, (_, value) in enumerate(columns)
    ]
    return _svg(title, description, WIDTH, HEIGHT, _axes(along, tall, across, up) + Markup("").join(drawn))


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took a while."""

    start_s: float
    """Begin, seconds from the chart's left."""
    end_s: float
    """End."""
    look: str
    """`success`, `failure` or `error`."""


def timeline(title: str, description: str, rows: Sequence[tuple[str, Sequence[Span]]], length_s: float) -> Markup:
    """A row for each name with what it did when."""
    width, row, left = 960, 22, 110
    unit, factor = ("min", 60.0) if length_s > 600 else ("s", 1.0)
    axis = Axis(unit, length_s / factor or 1.0)
    across = _scale(axis, left, width - RIGHT)
    bottom = row * len(rows) + 6
    parts = []
    for value, text in axis.shown_ticks():
        parts.append(Markup('<path class="grid" d="M{:.1f} 0V{}"/>').format(across(value), bottom))
        parts.append(_text("tick", across(value), bottom + 16, text, "middle"))
    for index, (name, spans) in enumerate(rows):
        parts.append(_text("tick", left - 8, row * index + 17, name, "end"))
        parts += [
            Markup('<rect class="span {}" x="{:.1f}" y="{}" width="{:.2f}" height="16"/>').format(
                span.look,
                across(span.start_s / factor),
                row * index + 4,
                max(0.6, across(span.end_s / factor) - across(span.start_s / factor)),
            )
            for span in spans
        ]
    parts.append(
        _text("name", (left + width) / 2, bottom + 34, f"time since the first episode began ({unit})", "middle")
    )
    return _svg(title, description, width, bottom + 42, Markup("").join(parts))


def rate_bar(value: float | None, low: float, high: float) -> Markup:
    """A rate in [0, 1] as a bar with its interval; said in words beside it, so that no reader needs it."""
    if value is None:
        return Markup("")
    return Markup(
        '<svg class="inline" viewBox="0 0 120 16" aria-hidden="true"><rect class="rail" width="120" height="16"/>'
        '<rect class="column" y="3" width="{:.1f}" height="10"/><path class="whisker" d="M{:.1f} 8H{:.1f}'
        'M{:.1f} 4v8M{:.1f} 4v8"/></svg>'
    ).format(120 * value, 120 * low, 120 * high, max(0.8, 120 * low), min(119.2, 120 * high))


def difference_bar(value: float | None, low: float, high: float, reach: float) -> Markup:
    """A difference of rates with its interval about 0, which is in the middle; `reach` is what fits on each side."""
    if value is None:
        return Markup("")
    place = [60 + 58 * max(-1.0, min(1.0, each / reach)) for each in (low, value, high)]
    return Markup(
        '<svg class="inline" viewBox="0 0 120 16" aria-hidden="true"><path class="axis" d="M60 0V16"/>'
        '<path class="whisker" d="M{0:.1f} 8H{2:.1f}M{0:.1f} 4v8M{2:.1f} 4v8"/>'
        '<circle class="mark s0" cx="{1:.1f}" cy="8" r="4"/></svg>'
    ).format(*place)

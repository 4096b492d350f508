"""The plots of a run's report, each with its table, made of the results that count; pure."""

from __future__ import annotations

import datetime as dt
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ray_eval.report.html.charts import PERCENT, Axis, Figure, Series, Span, column_chart, line_chart, timeline
from ray_eval.report.html.shown import ShownRun
from ray_eval.report.metrics import by_suite, inside_values
from ray_eval.types import EpisodeResult, Outcome

MOST_POINTS = 240
"""Points of a line; a longer one is thinned out."""
TABLE_ROWS = 12
"""Steps of a plot over steps that its table names."""
PAUSE_S = 120.0
"""From here on a time in which no worker was busy is left out of a timeline."""
MOST_SPANS = 1500
"""Episodes that a timeline shows one by one; of more, neighbours of one outcome are drawn as one."""


def run_figures(run: ShownRun) -> list[Figure]:
    """Every figure that there is something to show in."""
    counted = [result for result in run.results if result.outcome is not Outcome.ERROR]
    served = [each["policy"] for each in run.served if each.get("policy", {}).get("batches")]
    makers = (
        steps_to_success(counted),
        progress_curves(run),
        queue_lengths(counted) if run.mode != "sync" else None,
        answer_times(run),
        batch_sizes(served) if served else None,
        worker_timeline(run),
    )
    return [figure for figure in makers if figure is not None]


def steps_to_success(counted: Sequence[EpisodeResult]) -> Figure | None:
    """Share of episodes that had succeeded by a step: whether more steps would help."""
    if not any(result.outcome is Outcome.SUCCESS for result in counted):
        return None
    groups = by_suite(counted)
    budget = max(result.spec.max_steps for result in counted)
    series, rows = [], []
    for suite, group in groups.items():
        steps = sorted(result.steps for result in group if result.outcome is Outcome.SUCCESS)
        end = max(result.spec.max_steps for result in group)
        reached = [(float(step), (index + 1) / len(group)) for index, step in enumerate(steps)]
        last = reached[-1][1] if reached else 0.0
        series.append(Series(suite, ((0.0, 0.0), *thinned(reached), (float(end), last)), is_step=True))
        rows.append((suite, *(_quantile(steps, share) for share in (0.0, 0.5, 0.9, 1.0)), str(end)))
    title = "Steps to success"
    said = f"Share of episodes that had succeeded by each control step, to the budget of {budget}"
    svg = line_chart(
        title, said, series, Axis("control steps", budget), Axis("share of episodes succeeded", 1.0, PERCENT)
    )
    caption = "A curve that still rises at its end would gain from a longer budget; a flat one would not."
    columns = ("suite", "fastest", "median", "90 %", "slowest", "budget")
    return Figure("steps", title, caption, svg, columns, tuple(rows))


def _quantile(ordered: Sequence[int], share: float) -> str:
    return str(ordered[max(0, math.ceil(share * len(ordered)) - 1)]) if ordered else "-"


def thinned(points: Sequence[tuple[float, ...]], most: int = MOST_POINTS) -> tuple[Any, ...]:
    """So many of the points at most, the first and the last among them."""
    if len(points) <= most:
        return tuple(points)
    picked = sorted({round(index * (len(points) - 1) / (most - 1)) for index in range(most)})
    return tuple(points[index] for index in picked)


def progress_curves(run: ShownRun) -> Figure | None:
    """Mean share of the task that was done by each step, of successes and of failures."""
    series, columns = [], {}
    for outcome, name in ((Outcome.SUCCESS, "successes"), (Outcome.FAILURE, "failures")):
        lines = [run.finding(result.spec.episode_id).progress for result in run.results if result.outcome is outcome]
        lines = [line for line in lines if line]
        if lines:
            # What ended stays as far as it came.
            longest = max(map(len, lines))
            means = [statistics.fmean(line[min(step, len(line) - 1)] for line in lines) for step in range(longest)]
            series.append(Series(f"{name} (n = {len(lines)})", thinned(list(_numbered(means)))))
            columns[name] = means
    if not series:
        return None
    longest = max(map(len, columns.values()))
    title = "Progress"
    said = "Mean share of the task that was done by each control step"
    svg = line_chart(title, said, series, Axis("control steps", longest - 1), Axis("share of the task", 1.0, PERCENT))
    steps = _told_steps(longest)
    rows = tuple(
        (str(step), *(f"{100 * line[min(step, len(line) - 1)]:.0f} %" for line in columns.values())) for step in steps
    )
    caption = "An episode that has ended stays as far as it came."
    return Figure("progress", title, caption, svg, ("step", *columns), rows)


def _numbered(values: Sequence[float]) -> list[tuple[float, float]]:
    return [(float(index), value) for index, value in enumerate(values)]


def _told_steps(count: int) -> list[int]:
    return sorted({round(index * (count - 1) / (TABLE_ROWS - 1)) for index in range(TABLE_ROWS)})


def queue_lengths(counted: Sequence[EpisodeResult]) -> Figure | None:
    """Actions queued at every step: mean, and the range of the middle 80 % of episodes."""
    lengths = [result.inside.queue_lengths for result in counted if result.inside and result.inside.queue_lengths]
    if not lengths:
        return None
    rows = []
    for step in range(max(map(len, lengths))):
        here = sorted(line[step] for line in lengths if step < len(line))
        cut = len(here) // 10
        rows.append((float(step), statistics.fmean(here), float(here[cut]), float(here[-1 - cut]), len(here)))
    kept = thinned(rows)
    high = max(row[3] for row in rows) or 1.0
    line = Series("", tuple((row[0], row[1]) for row in kept), band=tuple((row[0], row[2], row[3]) for row in kept))
    title, said = "Chunk queue", "Actions queued when each control step's action was taken, mean over episodes"
    svg = line_chart(title, said, [line], Axis("control steps", rows[-1][0] or 1.0), Axis("actions queued", high))
    told = tuple(
        (f"{row[0]:.0f}", f"{row[1]:.1f}", f"{row[2]:.0f} to {row[3]:.0f}", str(row[4]))
        for row in (rows[step] for step in _told_steps(len(rows)))
    )
    caption = "Line: mean of the episodes that still go on. Shade: the middle 80 % of them. At 0 the robot has no plan."
    return Figure("queue", title, caption, svg, ("step", "mean", "middle 80 %", "episodes"), told)


def answer_times(run: ShownRun) -> Figure | None:
    """Median time from asking the policy to its answer, by the clock, of each episode."""
    times = sorted(
        float(record["infer_ms_p50"]) for record in run.records.values() if record.get("infer_ms_p50") is not None
    )
    if len(times) < 2:
        return None
    points = [(value, (index + 1) / len(times)) for index, value in enumerate(times)]
    title, said = "Answer time", "Share of episodes whose median round trip to the policy was at most so long"
    series = [Series("", ((0.0, 0.0), *thinned(points)), is_step=True)]
    svg = line_chart(
        title, said, series, Axis("ms by the clock", times[-1] or 1.0), Axis("share of episodes", 1.0, PERCENT)
    )
    names = ("fastest", "median", "90 %", "slowest")
    places = (0.0, 0.5, 0.9, 1.0)
    values = (times[max(0, math.ceil(share * len(times)) - 1)] for share in places)
    row = tuple(f"{value:.1f} ms" for value in values)
    caption = "It is of the machine and changes no result, unless the run is by the clock."
    return Figure("answers", title, caption, svg, names, (row,))


def batch_sizes(served: Sequence[Mapping[str, Any]]) -> Figure:
    """How many forwards there were of each batch size."""
    sizes: Counter[int] = Counter()
    for each in served:
        sizes.update({int(size): count for size, count in each["batch_sizes"].items()})
    columns = [(str(size), float(sizes[size])) for size in range(1, max(sizes) + 1)]
    title = "Batch sizes"
    svg = column_chart(
        title, "Forwards of the policy by how many requests each answered", columns, "requests", "forwards"
    )
    total = sizes.total()
    rows = tuple((str(size), str(count), f"{100 * count / total:.1f} %") for size, count in sorted(sizes.items()))
    caption = "Requests that one forward answered. Larger batches use a device better, where there are workers enough."
    return Figure("batches", title, caption, svg, ("requests", "forwards", "share"), rows)


def worker_timeline(run: ShownRun) -> Figure | None:
    """What each worker ran when."""
    spans: dict[str, list[Span]] = {}
    begins = {key: _seconds(record.get("started_at")) for key, record in run.records.items()}
    known = {key: begin for key, begin in begins.items() if begin is not None}
    if not known:
        return None
    for key, span in _without_pauses({key: _span(run.records[key], begin) for key, begin in known.items()}).items():
        spans.setdefault(str(run.records[key]["worker"]), []).append(span)
    length = max(span.end_s for found in spans.values() for span in found)
    if length <= 0:
        return None
    rows = [
        (name.split(maxsplit=1)[0], sorted(spans[name], key=lambda span: span.start_s))
        for name in sorted(spans, key=_order)
    ]
    is_merged = len(known) > MOST_SPANS
    drawn = [(name, _merged(found, length / 500) if is_merged else found) for name, found in rows]
    title, said = "Workers", "What each worker was busy with, over time"
    svg = timeline(title, said, drawn, length)
    told = tuple(
        (
            name,
            str(len(found)),
            f"{sum(span.end_s - span.start_s for span in found):.0f} s",
            f"{100 * min(1.0, sum(span.end_s - span.start_s for span in found) / length):.0f} %",
        )
        for name, found in rows
    )
    caption = (
        "Each box is an episode: filled a success, hollow a failure, dark an error. Between them, scenes are built."
    )
    columns = ("worker", "episodes", "busy", "share of the time")
    return Figure("workers", title, caption, svg, columns, told, is_wide=True)


def _span(record: Mapping[str, Any], begin_s: float) -> Span:
    return Span(begin_s, begin_s + float(record["wall_s"]), str(record["outcome"]))


def _without_pauses(spans: Mapping[str, Span]) -> dict[str, Span]:
    """Spans that begin at 0, without the times between two sessions in which nobody worked."""
    moved, shift, busy_until = {}, None, 0.0
    for key, span in sorted(spans.items(), key=lambda item: item[1].start_s):
        if shift is None:
            shift = -span.start_s
        elif span.start_s > busy_until + PAUSE_S:
            shift -= span.start_s - busy_until
        busy_until = max(busy_until, span.end_s)
        moved[key] = Span(span.start_s + shift, span.end_s + shift, span.look)
    return moved


def _order(name: str) -> tuple[int, str]:
    digits = "".join(character for character in name.split(maxsplit=1)[0] if character.isdigit())
    return (int(digits) if digits else 0, name)


def _seconds(text: Any) -> float | None:
    try:
        return dt.datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None


def _merged(spans: Sequence[Span], gap_s: float) -> list[Span]:
    merged: list[Span] = []
    for span in spans:
        if merged and merged[-1].look == span.look and span.start_s - merged[-1].end_s < gap_s:
            merged[-1] = Span(merged[-1].start_s, max(span.end_s, merged[-1].end_s), span.look)
        else:
            merged.append(span)
    return merged


def timing_rows(run: ShownRun) -> list[tuple[str, str]]:
    """What the chunk queue and the policy's device did, as names and figures."""
    counted = [result for result in run.results if result.outcome is not Outcome.ERROR]
    steps = sum(result.steps for result in counted)
    rows: list[tuple[str, str]] = []
    if run.mode != "sync" and steps:
        rows.append(("virtual latency", latency_words(run.arm.identity)))
        under = sum(result.underrun_steps for result in counted)
        rows.append(("steps without an action", f"{under} of {steps} ({100 * under / steps:.1f} %)"))
        rows.append(("actions that came too late", str(sum(result.stale_actions for result in counted))))
        inside = inside_values(counted) or {}
        named = (("replan_interval_steps", "steps between requests"), ("queue_length_mean", "actions queued, mean"))
        rows += [(name, f"{inside[key]:.1f}") for key, name in named if inside.get(key) is not None]
        if inside.get("seam_jump_m_mean") is not None:
            rows.append(("jump where chunks meet, mean", f"{1000 * inside['seam_jump_m_mean']:.1f} mm"))
    return [*rows, *_time_rows(counted), *_served_rows(run.served)]


def _time_rows(counted: Sequence[EpisodeResult]) -> list[tuple[str, str]]:
    """Where the workers' time went, of episodes that tell."""
    told = [(result.timing, result.wall_s) for result in counted if result.timing is not None]
    total = sum(wall_s for _, wall_s in told)
    if not total:
        return []
    parts = {
        "resets": sum(timing.reset_s for timing, _ in told),
        "control steps": sum(timing.step_s for timing, _ in told),
        "observations": sum(timing.observe_s for timing, _ in told),
    }
    parts["the rest, above all waiting for the policy"] = total - sum(parts.values())
    words = ", ".join(f"{name} {100 * max(0.0, seconds) / total:.0f} %" for name, seconds in parts.items())
    return [("workers' time within episodes", f"{words}, of {total:.0f} s")]


def latency_words(identity: Mapping[str, Any]) -> str:
    """The latency of inference as configured: `8 steps`, `190 ms`."""
    prefix = "execution.latency."
    found = {
        key.removeprefix(prefix): value
        for key, value in identity.items()
        if key.startswith(prefix) and value not in (None, False)
    }
    calibrated = identity.get("environment.calibrated_latency_ms")
    if calibrated is not None:
        return f"{calibrated:g} ms, as calibrated"
    words = [f"{value} {key}" if key in ("steps", "ms") else f"{key} {value}" for key, value in found.items()]
    return ", ".join(words) or ("by the clock" if identity.get("execution.mode") == "realtime" else "none")


def _served_rows(served: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    figures = [each["policy"] for each in served if each.get("policy", {}).get("batches")]
    if not figures:
        return []
    batches, requests = (sum(each[key] for each in figures) for key in ("batches", "requests"))
    forward_ms, wait_ms, idle_ms = (
        sum(each[key] for each in figures) for key in ("forward_ms", "queue_wait_ms", "idle_while_queued_ms")
    )
    elapsed_ms = 1000 * sum(float(each["seconds"]) * each.get("replicas", 1) for each in served)
    rows = [
        (
            "forwards of the policy",
            f"{batches}, of {requests / batches:.1f} requests each, {forward_ms / batches:.1f} ms each",
        ),
        ("wait of a request for its forward", f"{wait_ms / requests:.1f} ms, mean"),
        ("device idle although a request waited", f"{100 * idle_ms / max(1e-9, idle_ms + forward_ms):.1f} %"),
    ]
    if elapsed_ms > 0:
        rows.insert(2, ("device at work", f"{100 * min(1.0, forward_ms / elapsed_ms):.1f} % of the run"))
    return rows

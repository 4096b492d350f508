"""The page of one run; pure but for the videos and pictures that it takes in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ray_eval.report.axes import AxisRow, axis_rows
from ray_eval.report.html.charts import rate_bar
from ray_eval.report.html.failures import failures_of
from ray_eval.report.html.figures_of_runs import run_figures, timing_rows
from ray_eval.report.html.media import Embedder
from ray_eval.report.html.pages import page
from ray_eval.report.html.shown import ShownRun
from ray_eval.report.html.words import meaning, notices, range_text
from ray_eval.report.metrics import Rate, by_suite, by_task, rate_of
from ray_eval.report.progress import percent

MOST_EPISODES = 2000
"""Episodes that are listed one by one."""
LINKS = (
    ("result", "Result"),
    ("failures", "What went wrong"),
    ("tasks", "Tasks"),
    ("happened", "What happened"),
    ("protocol", "Protocol"),
    ("origin", "Where it is from"),
    ("again", "Run it again"),
)


@dataclass(frozen=True, slots=True)
class RateRow:
    """A rate as a row of a table."""

    name: str
    """What it is of."""
    counts: str
    """`47/50`."""
    rate: str
    """`94.0 %`."""
    bar: Markup
    """The same with its interval, as a picture."""
    range: str
    """Its interval."""
    steps: str
    """Mean control steps."""
    errors: str
    """Errors beside it."""
    is_sum: bool = False
    """Whether it is of several tasks."""
    values: tuple[str, ...] = ()
    """Values of what is swept."""
    link: str | None = None
    """Page of its run."""


def rate_row(name: str, rate: Rate, **more: Any) -> RateRow:
    """The row of a rate."""
    steps = "-" if rate.mean_steps is None else f"{rate.mean_steps:.1f}"
    bar = rate_bar(rate.value, *(rate.interval or (0.0, 0.0)))
    counts = f"{rate.successes}/{rate.n}"
    return RateRow(name, counts, percent(rate.value), bar, range_text(rate), steps, str(rate.errors), **more)


def run_page(run: ShownRun, place: Path) -> str:
    """The page of a run.

    Args:
        run: the run.
        place: where the page is to be; media that it has no room for are linked from there.
    """
    rate = rate_of(run.about, run.interval)
    embedder = Embedder(place)
    failures = failures_of(run, embedder)
    return page(
        "run.html.j2",
        title=f"{run.config['policy']['type']} on {', '.join(run.suites)}",
        meta=_meta(run),
        links=LINKS,
        rate_text=percent(rate.value),
        counts=f"{rate.successes} of {rate.n} episodes succeeded",
        range=range_text(rate) if rate.n else "",
        meaning=meaning(rate),
        notices=notices(run),
        failures=failures,
        show_more=[(what, run.commands[key]) for key, what in _MORE if key in run.commands and failures.groups],
        tasks=task_rows(run),
        sheets=_sheets(run, embedder),
        timing=timing_rows(run),
        figures=run_figures(run),
        episodes=_episodes(run),
        protocol=_protocol(run),
        published=run.published,
        origin=_origin(run),
        identity=sorted((key, _shown(value)) for key, value in run.arm.identity.items()),
        again=[(what, run.commands[key]) for key, what in _AGAIN if key in run.commands],
    )


_AGAIN = (
    ("again", "run the same again"),
    ("resume", "go on with this run"),
    ("report", "make this page again"),
)


_MORE = (
    ("classes", "tell the failures apart by what the simulator's state says, here from then on"),
    ("videos", "make videos of every failure, here from then on"),
)


def _meta(run: ShownRun) -> str:
    begun = str(run.sessions[0].get("started_at", "")) if run.sessions else ""
    protocol = run.arm.identity.get("protocol.name", "custom")
    parts = (run.arm.name, f"protocol {protocol}", run.mode, begun.replace("T", " ").replace("+00:00", " UTC"))
    return " · ".join(part for part in parts if part)


def task_rows(run: ShownRun) -> list[RateRow]:
    """A row per task, per suite, per axis and level of what is perturbed, and for all suites where they are several."""
    rows = []
    suites = by_suite(run.results)
    for suite, group in suites.items():
        for (_, task_id), results in by_task(group).items():
            words = run.task_words(suite, task_id, next((result.task for result in results if result.task), ""))
            rows.append(rate_row(f"{task_id} {words}", rate_of(results, run.interval)))
        rows.append(rate_row(suite, rate_of(group, run.interval), is_sum=True))
    for axis, levels in axis_rows(run.results, run.perturbed, run.interval).items():
        rows += [rate_row(_axis(axis, row), row.rate, is_sum=row.level is None) for row in levels]
    if len(suites) > 1:
        rows.append(rate_row("all", rate_of(run.about, run.interval), is_sum=True))
    return rows


def _axis(axis: str, row: AxisRow) -> str:
    """An axis or level in words, with the rate of the unperturbed episodes beside it."""
    name = f"axis {axis}" if row.level is None else f"axis {axis}, level {row.level}"
    return f"{name} (unperturbed {percent(row.control_rate)})" if row.pairs.n else name


def _sheets(run: ShownRun, embedder: Embedder) -> list[tuple[str, Any]]:
    found = [(run.task_words(*task), embedder.medium(path)) for task, path in run.sheets.items()]
    return [(name, medium) for name, medium in found if medium is not None]


def _episodes(run: ShownRun) -> list[tuple[str, ...]]:
    if len(run.results) > MOST_EPISODES:
        return []
    return [
        (key, str(result.outcome), str(result.steps), f"{result.wall_s:.1f}", *_tried(run.records.get(key, {})))
        for key, result in run.arm.results.items()
    ]


def _tried(record: Mapping[str, Any]) -> tuple[str, str]:
    return str(record.get("attempt", "-")), str(record.get("worker", "-"))


def _protocol(run: ShownRun) -> list[tuple[str, str]]:
    """Choices that change the number, as configured."""
    identity = run.arm.identity
    keys = [key for key in identity if key.startswith(("protocol.", "execution."))]
    budgets = tuple(f"protocol.max_steps.{suite}" for suite in (*run.suites, "default"))
    others = [key for key in keys if key.startswith("protocol.max_steps.") and key not in budgets]
    rows = [(key, _shown(identity[key])) for key in keys if identity[key] is not None and key not in others]
    return [("suites", ", ".join(run.suites)), *rows]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _origin(run: ShownRun) -> list[tuple[str, str]]:
    latest = run.sessions[-1] if run.sessions else {}
    policy = latest.get("policy", {})
    versions = {**latest.get("versions", {}), "ray": latest.get("ray")}
    places = ", ".join(sorted({str(host) for session in run.sessions for host in session.get("hosts", ())}))
    rows = (
        ("identity", str(run.header.get("identity_sha256", ""))),
        ("commit", latest.get("commit")),
        ("versions", _versions(versions)),
        ("policy's versions", _versions(policy.get("versions", {}))),
        ("hosts", places),
        ("system", latest.get("system")),
        ("GPUs", ", ".join(policy.get("gpus", ()))),
        ("renderer", run.arm.identity.get("environment.renderer")),
        ("sessions", _times([session.get("started_at") for session in run.sessions])),
        ("folder", str(run.path)),
    )
    return [(name, str(value)) for name, value in rows if value]


def _versions(versions: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()) if version)


def _times(times: Sequence[Any]) -> str:
    return ", ".join(str(time) for time in times if time)

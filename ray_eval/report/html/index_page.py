"""The index over all runs of a folder; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ray_eval.report.html.pages import page
from ray_eval.report.html.shown import ShownRun
from ray_eval.report.html.words import range_text
from ray_eval.report.metrics import rate_of
from ray_eval.report.progress import percent

COLUMNS = ("run", "succeeded", "rate", "95 % interval", "errors", "policy", "suites", "protocol", "mode", "begun")
"""The rate in front: on a phone the first columns are seen."""


@dataclass(frozen=True, slots=True)
class IndexRow:
    """A run in the index."""

    name: str
    """Its folder, relative to the index."""
    link: str | None
    """Its page, relative to the index."""
    cells: tuple[str, ...]
    """What is said of it, as in `COLUMNS` behind the first."""


def index_row(run: ShownRun, name: str, link: str | None) -> IndexRow:
    """A run in the index."""
    rate = rate_of(run.about, run.interval)
    begun = str(run.sessions[0].get("started_at", "")) if run.sessions else ""
    planned = run.arm.planned
    counts = f"{rate.successes}/{rate.n}" + (f" of {planned}" if planned not in (None, rate.n) else "")
    return IndexRow(
        name,
        link,
        (
            counts,
            percent(rate.value),
            range_text(rate),
            str(rate.errors),
            str(run.config["policy"]["type"]),
            ", ".join(run.suites),
            str(run.arm.identity.get("protocol.name", "")),
            run.mode,
            begun[:16].replace("T", " "),
        ),
    )


def index_page(folder: str, rows: Sequence[IndexRow], unread: Sequence[str]) -> str:
    """The index.

    Args:
        folder: the folder that it is of, for a person.
        rows: its runs.
        unread: why some could not be read, a line each.
    """
    return page(
        "index.html.j2",
        title=f"Runs in {folder}",
        meta=f"{len(rows)} runs",
        columns=COLUMNS,
        rows=rows,
        unread=unread,
    )

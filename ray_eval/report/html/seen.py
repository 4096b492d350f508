"""What replays left in a run's folder: videos, last frames, contact sheets and findings, as a report takes them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray_eval.report.findings import Finding, read_findings
from ray_eval.report.html.shown import Seen
from ray_eval.report.looking import picture_path, sheet_path, video_path
from ray_eval.types import EpisodeResult


def seen_in(
    folder: Path, results: Sequence[EpisodeResult], records: Mapping[str, Mapping[str, Any]]
) -> dict[str, Seen]:
    """What was seen of episodes; nothing of those that no replay has looked at.

    Raises:
        LedgerError: a finding is damaged.
    """
    findings = read_findings(folder, records)
    found = {}
    for result in results:
        key = result.spec.episode_id
        seen = _seen(video_path(folder, result.spec), picture_path(folder, result.spec), findings.get(key))
        if seen != Seen():
            found[key] = seen
    return found


def _seen(video: Path, picture: Path, finding: Finding | None) -> Seen:
    files = (video if video.is_file() else None, picture if picture.is_file() else None)
    if finding is None:
        return Seen(*files)
    name = None if finding.failure_class is None else finding.failure_class.replace("_", " ")
    return Seen(*files, name, finding.why, finding.progress, tuple(_facts(finding)))


_FIGURES: Mapping[str, tuple[str, str]] = {
    "path_m": ("way of the hand", "{:.2f} m"),
    "jerk_m_s3": ("jerk of the hand", "{:.0f} m/s\N{SUPERSCRIPT THREE}"),
    "grip_n_max": ("largest contact force", "{:.0f} N"),
    "joint_limit_share": ("a joint at its limit", "{:.1%} of the steps"),
    "saturated_share": ("command at its bound", "{:.1%} of the steps"),
}
"""How a figure of docs/failures.md is called, and how it is written."""


def _facts(finding: Finding) -> list[tuple[str, str]]:
    """What was measured, as names and figures."""
    rows = [(f"{thing}, furthest", stage) for thing, stage in finding.stages.items()]
    rows += [
        (condition, f"held at {100 * sum(steps) / len(steps):.0f} % of the steps")
        for condition, steps in zip(finding.goal, finding.held, strict=True)
        if steps
    ]
    return [*rows, *(_figure(key, value) for key, value in finding.figures.items() if value)]


def _figure(key: str, value: Any) -> tuple[str, str]:
    name, form = _FIGURES.get(key, (key.replace("_", " "), "{}"))
    if isinstance(value, list | tuple):
        return name, ", ".join(map(str, value))
    return name, form.format(value).replace("%", " %")


def sheets_in(folder: Path, results: Sequence[EpisodeResult]) -> dict[tuple[str, int], Path]:
    """Contact sheets by task."""
    tasks = dict.fromkeys((result.spec.suite, result.spec.task_id) for result in results)
    paths = {task: sheet_path(folder, *task) for task in tasks}
    return {task: path for task, path in paths.items() if path.is_file()}

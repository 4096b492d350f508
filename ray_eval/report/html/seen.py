"""What replays left in a run's folder: videos, last frames, contact sheets and findings, as a report takes them in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray_eval.report.html.shown import Seen
from ray_eval.report.looking import picture_path, sheet_path, video_path
from ray_eval.types import EpisodeResult

FINDINGS_NAME = "findings.jsonl"
"""File of what replays found in the simulator's state; the last line of an episode counts."""


def seen_in(folder: Path, results: Sequence[EpisodeResult]) -> dict[str, Seen]:
    """What was seen of episodes; nothing of those that no replay has looked at."""
    findings = _findings(folder / FINDINGS_NAME)
    found = {}
    for result in results:
        values = findings.get(result.spec.episode_id, {})
        if values.get("trajectory_sha256") != result.trajectory_sha256:
            values = {}
        seen = Seen(
            _there(video_path(folder, result.spec)),
            _there(picture_path(folder, result.spec)),
            _text(values.get("failure_class")),
            _text(values.get("why")) or "",
            _numbers(values.get("progress")),
        )
        if seen != Seen():
            found[result.spec.episode_id] = seen
    return found


def sheets_in(folder: Path, results: Sequence[EpisodeResult]) -> dict[tuple[str, int], Path]:
    """Contact sheets by task."""
    tasks = dict.fromkeys((result.spec.suite, result.spec.task_id) for result in results)
    paths = {task: sheet_path(folder, *task) for task in tasks}
    return {task: path for task, path in paths.items() if path.is_file()}


def _there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _text(value: Any) -> str | None:
    return value.replace("_", " ") if isinstance(value, str) else None


def _numbers(values: Any) -> tuple[float, ...]:
    is_list = isinstance(values, list) and all(isinstance(value, int | float) for value in values)
    return tuple(min(1.0, max(0.0, float(value))) for value in values) if is_list else ()


def _findings(path: Path) -> dict[str, Mapping[str, Any]]:
    """The last line of each episode; a line that is no finding is passed over."""
    found: dict[str, Mapping[str, Any]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    for line in lines:
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict) and isinstance(values.get("episode_id"), str):
            found[values["episode_id"]] = values
    return found

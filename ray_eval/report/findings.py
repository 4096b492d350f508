"""What was found of a run's episodes by looking at them again: `findings.jsonl`, the last line of an episode counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ray_eval.errors import LedgerError
from ray_eval.messages import parsed_json
from ray_eval.report.actions import whole_bytes, whole_lines
from ray_eval.report.ledger import LedgerWriter

FINDINGS_NAME: Final = "findings.jsonl"
"""File name of the findings in a run's folder."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen of one episode; docs/failures.md defines it."""

    episode_id: str
    """The episode."""
    failure_class: str | None
    """Class of its failure; None for a success."""
    why: str
    """What was seen, in one sentence; empty for a success."""
    stages: Mapping[str, str]
    """The furthest stage of each object or part of the goal: untouched, reached, grasped, lifted, near or placed."""
    goal: tuple[str, ...]
    """The goal's conditions in the words of the task's file."""
    held: tuple[tuple[int, ...], ...]
    """Of each condition, 0 or 1 per step, the start included."""
    progress: tuple[float, ...]
    """0 to 1 per step, the start included."""
    figures: Mapping[str, Any]
    """Path, jerk, contact force, objects knocked over, shares of steps at a limit."""

    def is_like(self, found: Mapping[str, Any]) -> bool:
        """Whether another look found the same."""
        return _finding({"episode_id": self.episode_id, **found}) == self


class FindingsWriter:
    """The one writer of a run's findings."""

    def __init__(self, folder: Path) -> None:
        """Opens the folder's file.

        Raises:
            LedgerError: it cannot be opened.
        """
        self._writer = LedgerWriter(folder, whole_bytes(folder / FINDINGS_NAME), FINDINGS_NAME)

    def append(self, episode_id: str, trajectory_sha256: str, finding: Mapping[str, Any]) -> None:
        """Writes what was found of an episode.

        Raises:
            LedgerError: the disk is full or gone.
        """
        self._writer.append({"episode_id": episode_id, "trajectory_sha256": trajectory_sha256, **finding})

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


def read_findings(folder: Path, records: Mapping[str, Mapping[str, Any]]) -> dict[str, Finding]:
    """What was found, by episode id; what was found of another trajectory is left out.

    Args:
        folder: the run's.
        records: the ledger's, of the episodes that are asked for.

    Raises:
        LedgerError: a line is damaged.
    """
    found: dict[str, Finding] = {}
    for number, line in enumerate(whole_lines(folder / FINDINGS_NAME), 1):
        try:
            values = parsed_json(line)
            record = records.get(values["episode_id"])
            if record is not None and record["trajectory_sha256"] == values["trajectory_sha256"]:
                found[values["episode_id"]] = _finding(values)
        except (ValueError, KeyError, TypeError) as error:
            said = f"expected a finding, got {type(error).__name__}: {error}"
            raise LedgerError(
                f"{folder / FINDINGS_NAME}, line {number}: {said}; delete the file and make it again"
            ) from error
    return found


def _finding(values: Mapping[str, Any]) -> Finding:
    return Finding(
        episode_id=values["episode_id"],
        failure_class=values["failure_class"],
        why=values["why"],
        stages=values["stages"],
        goal=tuple(values["goal"]),
        held=tuple(tuple(each) for each in values["held"]),
        progress=tuple(values["progress"]),
        figures=values["figures"],
    )

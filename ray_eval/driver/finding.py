"""What is found of a run's episodes while they are run again, kept in its folder; runs in the driver."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ray_eval.driver.recording import Recorded, Recording
from ray_eval.driver.replay import MakersOf, Replayed, replay_run
from ray_eval.report.findings import FindingsWriter, read_findings
from ray_eval.watch.findings import FindingsMaker

FINDING = "finding"
"""Name of the maker of findings."""


class Findings:
    """A run's findings: each is written as it comes, unless it is there already or nobody may write there."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._known = read_findings(recording.path, recording.records)
        self._writer: FindingsWriter | None = None
        self._is_writable = os.access(recording.path, os.W_OK)

    def keep(self, replayed: Replayed) -> None:
        """Writes what was found of an episode, if anything was."""
        found: Mapping[str, Any] | None = replayed.made.get(FINDING)
        episode_id = replayed.episode_id
        if found is None or not self._is_writable or _is_same(self._known.get(episode_id), found):
            return
        self._writer = self._writer or FindingsWriter(self._recording.path)
        self._writer.append(episode_id, self._recording.records[episode_id]["trajectory_sha256"], found)

    def close(self) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()


def _is_same(known: Any, found: Mapping[str, Any]) -> bool:
    return known is not None and known.is_like(found)


def finding_maker(recording: Recording) -> FindingsMaker:
    """What judges an episode of a run."""
    spec = recording.env_spec
    return FindingsMaker(spec.action, spec.control_hz)


def find(
    path: Path, ids: Sequence[str] | None = None, *, overrides: Sequence[str] = (), console: Console | None = None
) -> Iterator[Replayed]:
    """Runs episodes of a run again, keeps what is found of them, and gives each as soon as it is over.

    Args:
        path: the run's folder.
        ids: the episodes; None takes all that succeeded or failed.
        overrides: operational `key=value` texts, such as workers=4.
        console: takes what is said meanwhile.

    Raises:
        ConfigError: an episode is not the run's.
        LedgerError: the folder holds no run, or a file of it is damaged.
        SetupError: the machine cannot run it.
    """
    recording = Recording(path, overrides)
    with contextlib.closing(Findings(recording)) as findings:
        for replayed in replay_run(path, ids, finding_makers(recording), overrides=overrides, console=console):
            findings.keep(replayed)
            yield replayed


def finding_makers(recording: Recording) -> MakersOf:
    """The judge of each episode."""

    def makers(_recorded: Recorded) -> dict[str, FindingsMaker]:
        return {FINDING: finding_maker(recording)}

    return makers

"""The actions that a run's episodes executed: `actions.jsonl` beside the ledger, one line per final attempt.

A line is on disk before the ledger's line that says so, and counts where it has that line's `actions_sha256`; so one
that was written just before a crash, and its like from after the resume, do no harm. A torn last line is cut off.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ray_eval.errors import LedgerError
from ray_eval.messages import parsed_json
from ray_eval.report.ledger import LedgerWriter, Mirror
from ray_eval.types import RecordedActions

ACTIONS_NAME: Final = "actions.jsonl"
"""File name of the actions in a run's folder."""
_BLOCK_BYTES: Final = 2**20


class ActionsWriter:
    """The one writer of a run's actions; an existing file is gone on with behind its last whole line."""

    def __init__(self, folder: Path, mirror: Mirror | None = None) -> None:
        """Opens the folder's file; what is written goes to the mirror as well.

        Raises:
            LedgerError: it cannot be opened.
        """
        self._writer = LedgerWriter(folder, whole_bytes(folder / ACTIONS_NAME), ACTIONS_NAME, mirror)

    def append(self, *episodes: tuple[str, RecordedActions]) -> None:
        """Writes the actions of episodes, by their ids, and waits until they are on disk.

        Raises:
            LedgerError: the disk is full or gone.
        """
        self._writer.append(*(actions_record(episode_id, actions) for episode_id, actions in episodes))

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


def actions_record(episode_id: str, actions: RecordedActions) -> dict[str, Any]:
    """The line of an episode's actions: their zlib bytes (little-endian float64, row by row) in base64."""
    return {
        "episode_id": episode_id,
        "steps": actions.steps,
        "dim": actions.dim,
        "actions_sha256": actions.sha256,
        "actions": base64.b64encode(actions.packed).decode(),
    }


def read_actions(folder: Path, records: Mapping[str, Mapping[str, Any]]) -> dict[str, RecordedActions]:
    """What episodes executed, by episode id; those without actions are left out.

    Args:
        folder: the run's.
        records: the ledger's, of the episodes that are asked for.

    Raises:
        LedgerError: a line of one of them is damaged.
    """
    found: dict[str, RecordedActions] = {}
    for number, line in enumerate(whole_lines(folder / ACTIONS_NAME), 1):
        where = f"{folder / ACTIONS_NAME}, line {number}"
        try:
            values = parsed_json(line)
            record = records.get(values["episode_id"])
            if record is None or values["actions_sha256"] != record["actions_sha256"]:
                continue
            found[values["episode_id"]] = _checked(values)
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            said = f"expected an episode's actions, got damaged ones ({type(error).__name__}: {error})"
            raise LedgerError(f"{where}: {said}; delete that line, and its episode is one without actions") from error
    return found


def _checked(values: Mapping[str, Any]) -> RecordedActions:
    packed = base64.b64decode(values["actions"], validate=True)
    actions = RecordedActions(int(values["steps"]), int(values["dim"]), str(values["actions_sha256"]), packed)
    actions.array()
    return actions


def whole_lines(path: Path) -> Iterator[bytes]:
    """Lines up to the last whole one; none where there is no file."""
    try:
        with path.open("rb") as file:
            yield from (line for line in file if line.endswith(b"\n"))
    except FileNotFoundError:
        return
    except OSError as error:
        raise LedgerError(f"{path}: expected a file that can be read, got {error.strerror}") from error


def whole_bytes(path: Path) -> int:
    """Length of a file up to the end of its last whole line, looked for from the end."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            while end > 0:
                start = max(0, end - _BLOCK_BYTES)
                file.seek(start)
                place = file.read(end - start).rfind(b"\n")
                if place >= 0:
                    return start + place + 1
                end = start
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise LedgerError(f"{path}: expected a file that can be read, got {error.strerror}") from error
    return 0

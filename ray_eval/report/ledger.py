"""The append-only ledger of a run: one writer (the driver), one JSON object a line, fsynced before it counts.

Line 1 is the header; a line of kind `session` stands before what a resume adds, one of kind `served` at a session's end
says what the policy actors counted. A `success` or `failure` is final; an
`error` is what a resume runs again; of two records of the same rank the first wins. A torn last line is cut off when
the ledger is opened again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_eval.errors import LedgerError
from ray_eval.messages import parsed_json
from ray_eval.types import Disturbed, EpisodeResult, EpisodeSpec, Inside, Outcome, Pacing, Timing

SCHEMA_VERSION = 1
"""Version of the ledger's layout; a ledger of another version is refused."""

LEDGER_NAME = "episodes.jsonl"
"""File name of the ledger in a run's folder."""

_DAMAGED = "take the file from a copy, or run it again"
_WHOLE_NUMBERS = ("task_id", "init_state_id", "max_steps", "repeat", "steps")
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""What fsync of a folder answers on file systems that have none: SMB, some FUSE ones."""
_OUTCOMES = tuple(str(outcome) for outcome in Outcome)
_COUNTS = (
    "steps",
    "reward_sum",
    "requests",
    "renders",
    "underrun_steps",
    "waited_steps",
    "stale_actions",
    "aggregated_actions",
    "actions_sha256",
    "trajectory_sha256",
    "final_state_sha256",
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Where and when an attempt was made; volatile, no part of a summary."""

    number: int
    """1-based try of the episode."""
    worker: str
    """Name of the worker."""
    started_at: str
    """ISO 8601, UTC."""


def episode_record(
    result: EpisodeResult, attempt: Attempt, kind: str = "episode", *, has_actions: bool = False
) -> dict[str, Any]:
    """The ledger line of an attempt's result, which says whether its actions are kept beside the ledger."""
    spec = result.spec
    return {
        "kind": kind,
        "episode_id": spec.episode_id,
        "suite": spec.suite,
        "task_id": spec.task_id,
        "task": result.task,
        "init_state_id": spec.init_state_id,
        "repeat": spec.repeat,
        "env_seed": spec.env_seed,
        "seed": spec.seed,
        "max_steps": spec.max_steps,
        "attempt": attempt.number,
        "outcome": str(result.outcome),
        **{name: getattr(result, name) for name in _COUNTS},
        "has_actions": has_actions,
        "inside": None if result.inside is None else dataclasses.asdict(result.inside),
        "disturbed": None if result.disturbed is None else [dataclasses.asdict(each) for each in result.disturbed],
        "pacing": None if result.pacing is None else dataclasses.asdict(result.pacing),
        "infer_ms_p50": round(statistics.median(result.infer_ms), 3) if result.infer_ms else None,
        "wall_s": round(result.wall_s, 3),
        "timing": None if result.timing is None else _rounded(dataclasses.asdict(result.timing)),
        "worker": attempt.worker,
        "started_at": attempt.started_at,
        "canary": result.canary,
        "error": result.error,
        "traceback": result.traceback,
    }


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {key: round(value, 3) for key, value in seconds.items()}


def result_of(record: Mapping[str, Any]) -> EpisodeResult:
    """The result that a ledger line tells of.

    Raises:
        LedgerError: the line lacks something, or has a value of another kind.
    """
    try:
        return _result_of(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        lacks = f"one without {error}" if isinstance(error, KeyError) else str(error)
        where = f"episode {record.get('episode_id')}"
        raise LedgerError(f"{where}: expected the record of an episode, got {lacks}; {_DAMAGED}") from error


def _result_of(record: Mapping[str, Any]) -> EpisodeResult:
    wrong = [name for name in _WHOLE_NUMBERS if not isinstance(record[name], int)]
    if wrong:
        raise ValueError(f"{wrong[0]} {record[wrong[0]]!r}, which is no whole number")
    spec = EpisodeSpec(
        suite=record["suite"],
        task_id=record["task_id"],
        init_state_id=record["init_state_id"],
        env_seed=record["env_seed"],
        max_steps=record["max_steps"],
        seed=record["seed"],
        repeat=record["repeat"],
    )
    return EpisodeResult(
        spec=spec,
        outcome=Outcome(record["outcome"]),
        task=record["task"],
        **{name: record[name] for name in _COUNTS},
        inside=_inside_of(record.get("inside")),
        disturbed=_disturbed_of(record.get("disturbed")),
        pacing=Pacing(**record["pacing"]) if record.get("pacing") else None,
        wall_s=record["wall_s"],
        timing=Timing(**record["timing"]) if record.get("timing") else None,
        canary=record["canary"],
        error=record["error"],
        traceback=record["traceback"],
    )


def _inside_of(values: Mapping[str, Any] | None) -> Inside | None:
    return None if values is None else Inside(**{**values, "queue_lengths": tuple(values["queue_lengths"])})


def _disturbed_of(values: Sequence[Mapping[str, Any]] | None) -> tuple[Disturbed, ...] | None:
    return None if values is None else tuple(Disturbed(**each) for each in values)


@dataclass(frozen=True, slots=True)
class LedgerContent:
    """What a ledger says."""

    header: dict[str, Any]
    """Line 1."""
    episodes: dict[str, dict[str, Any]]
    """The record that counts, by episode id."""
    sessions: tuple[dict[str, Any], ...]
    """Provenance of each process that ran some of it: the header's, and one for each resume."""
    whole_bytes: int
    """Length of the file up to the end of its last whole line."""
    served: tuple[dict[str, Any], ...] = ()
    """What the policy actors counted, one for each session that got to its end or was stopped by a signal."""


def has_header(folder: Path) -> bool:
    """Whether a whole first line was ever written; without one nothing was finished."""
    path = folder / LEDGER_NAME
    return path.is_file() and b"\n" in path.read_bytes()


def read_ledger(folder: Path) -> LedgerContent:
    """The ledger of a run's folder, without its torn last line if it has one.

    Raises:
        LedgerError: there is none, it has no header, or a line other than the last is broken.
    """
    path = folder / LEDGER_NAME
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LedgerError(
            f"{folder}: expected a run's folder with {LEDGER_NAME}, got {error.strerror}; check the path"
        ) from error
    whole_bytes = content.rfind(b"\n") + 1
    records = [_parsed(line, number, path) for number, line in enumerate(content[:whole_bytes].splitlines(), 1)]
    if not records or records[0].get("kind") != "header":
        raise LedgerError(f"{path}: expected a header in line 1, got none; nothing was finished, start a new run")
    if records[0].get("schema_version") != SCHEMA_VERSION:
        got = records[0].get("schema_version")
        raise LedgerError(f"{path}: expected schema version {SCHEMA_VERSION}, got {got}; use the version that wrote it")
    episodes = _winning(records, path)
    sessions = [record.get("provenance", {}) for record in records if record.get("kind") in ("header", "session")]
    served = [record for record in records if record.get("kind") == "served"]
    return LedgerContent(records[0], episodes, tuple(sessions), whole_bytes, tuple(served))


def _parsed(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        record = parsed_json(line, parse_constant=_no_number)
    except ValueError as error:
        raise LedgerError(f"{path}, line {number}: expected a JSON object, got {line[:80]!r} ({error})") from error
    if not isinstance(record, dict):
        raise LedgerError(f"{path}, line {number}: expected a JSON object, got {line[:80]!r}")
    return record


def _no_number(name: str) -> float:
    """NaN and the infinities, which JSON has not and a ledger is never given."""
    raise ValueError(f"{name} is no JSON")


def _winning(records: Sequence[dict[str, Any]], path: Path) -> dict[str, dict[str, Any]]:
    """By episode: the first final record, or the first error where none is final."""
    winning: dict[str, dict[str, Any]] = {}
    for number, record in enumerate(records, 1):
        if record.get("kind") != "episode":
            continue
        if not isinstance(record.get("episode_id"), str) or record.get("outcome") not in _OUTCOMES:
            got = f"id {record.get('episode_id')!r} and outcome {record.get('outcome')!r}"
            raise LedgerError(
                f"{path}, line {number}: expected an episode's id and one of {', '.join(_OUTCOMES)}, got {got}; "
                f"{_DAMAGED}"
            )
        keep_winner(winning, record)
    return winning


def keep_winner(records: dict[str, dict[str, Any]], record: Mapping[str, Any]) -> str:
    """Puts an episode's record among the others, unless one of the same or a higher rank is there; the episode's id."""
    episode_id = str(record["episode_id"])
    held = records.get(episode_id)
    if held is None or (held["outcome"] == Outcome.ERROR and record["outcome"] != Outcome.ERROR):
        records[episode_id] = dict(record)
    return episode_id


Mirror = Callable[[bytes], None]
"""Writes whole lines at the end of a file that is kept elsewhere."""


class LedgerWriter:
    """The one writer of a ledger, or of another file of lines; `append` returns when the line is on disk."""

    def __init__(
        self, folder: Path, keep_bytes: int = 0, name: str = LEDGER_NAME, mirror: Mirror | None = None
    ) -> None:
        """Opens the folder's file of that name, cut to its first `keep_bytes`.

        Args:
            folder: the folder.
            keep_bytes: length to keep.
            name: the file's.
            mirror: writes the same lines elsewhere, durable on return; a line counts once it is there as well.

        Raises:
            LedgerError: it cannot be opened.
        """
        self._path, self._mirror = folder / name, mirror
        with _reported(self._path):
            # Unbuffered: what a failed write left behind must not reach the file later.
            self._file = self._path.open("ab", buffering=0)
            self._file.truncate(keep_bytes)
            self._length_bytes = keep_bytes
            _sync_folder(folder)

    def append(self, *records: Mapping[str, Any]) -> None:
        """Writes a line for each and waits until all are on disk.

        Raises:
            LedgerError: the disk is full or gone; the ledger still ends with a whole line.
        """
        lines = b"".join(json.dumps(record, allow_nan=False).encode() + b"\n" for record in records)
        with _reported(self._path):
            try:
                self._write_whole(lines)
                os.fsync(self._file.fileno())
                if self._mirror is not None:
                    self._mirror(lines)
            except (OSError, LedgerError):
                with contextlib.suppress(OSError):
                    self._file.truncate(self._length_bytes)
                raise
        self._length_bytes += len(lines)

    def _write_whole(self, lines: bytes) -> None:
        if self._file.write(lines) != len(lines):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


@contextlib.contextmanager
def _reported(path: Path, retry: str = "resume the run") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "mend that"
        raise LedgerError(f"{path}: expected to write, got {error.strerror}; {remedy} and {retry}") from error


def write_atomically(path: Path, text: str, retry: str = "resume the run") -> None:
    """Writes a file so that a reader finds the old text or the new one, whole, whatever happens.

    Args:
        path: the file.
        text: its content.
        retry: what to do once the reason of a failure is mended.

    Raises:
        LedgerError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    with _reported(path, retry):
        try:
            # What has no UTF-8, such as half a character in a file's name that an error tells of, is written escaped.
            with partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        sync_names(descriptor)
    finally:
        os.close(descriptor)


def sync_names(descriptor: int, fsync: Callable[[int], None] = os.fsync) -> None:
    """Waits until a folder's names are on disk, where its file system knows how to do that; some do not.

    Args:
        descriptor: of the folder.
        fsync: the system's.

    Raises:
        OSError: the disk is full or gone.
    """
    try:
        fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise

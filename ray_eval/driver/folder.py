"""The folder of a run: its configuration, ledger, summary and table; the driver is its one writer."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_eval.config import EvalConfig, to_yaml
from ray_eval.driver.anywhere import CONFIG_NAME, RemoteFolder, remote_folder
from ray_eval.driver.canaries import IDENTITY_PREFIX
from ray_eval.driver.identity_keys import IDENTITY_VERSION, is_older_than, recorded_version
from ray_eval.driver.located import known_by_digest, without_places
from ray_eval.driver.locks import Lock
from ray_eval.errors import ConfigError, LedgerError
from ray_eval.messages import quoted
from ray_eval.report.actions import ACTIONS_NAME, ActionsWriter
from ray_eval.report.axes import axes_values
from ray_eval.report.ledger import (
    LEDGER_NAME,
    SCHEMA_VERSION,
    LedgerContent,
    LedgerWriter,
    Mirror,
    has_header,
    keep_winner,
    read_ledger,
    result_of,
    write_atomically,
)
from ray_eval.report.metrics import PERTURBED_KEY, csv_text, summary_text, version_changes
from ray_eval.scratch import scratch_folder
from ray_eval.sections import shown
from ray_eval.stats.intervals import DEFAULT_METHOD, IntervalMethod
from ray_eval.types import EpisodeResult, EpisodeSpec, Outcome, RecordedActions

_CANARY_KEYS = f"environment.{IDENTITY_PREFIX}"
ENVIRONMENT_PREFIX = "environment."
"""Begins the keys of an identity that the configuration does not know: versions, renderer, checkpoint."""

MOST_TOLD = 3
"""Keys that differ which a refusal names."""
LOCK_NAME = ".lock"
"""File name of the lock that a run holds on its folder."""


def utc_now() -> str:
    """The present time in ISO 8601, UTC, whole seconds."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def make_header(
    config: EvalConfig,
    environment: Mapping[str, Any],
    provenance: Mapping[str, Any],
    *,
    is_starved: bool = False,
) -> dict[str, Any]:
    """The ledger's first line.

    Args:
        config: the resolved configuration.
        environment: what else changes results: versions, renderer, checkpoint.
        provenance: what is good to know and changes nothing.
        is_starved: whether every action arrives too late, so that the policy never acts.
    """
    about = {f"{ENVIRONMENT_PREFIX}{key}": value for key, value in environment.items()}
    identity = without_places({**config.identity(), **about})
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return {
        "kind": "header",
        "schema_version": SCHEMA_VERSION,
        "identity_version": IDENTITY_VERSION,
        "identity_sha256": hashlib.sha256(canonical.encode()).hexdigest(),
        "identity": identity,
        "config": config.resolved(),
        "is_starved": is_starved,
        "provenance": dict(provenance),
    }


@dataclass(frozen=True, slots=True)
class Entry:
    """What is written down of an attempt."""

    record: Mapping[str, Any]
    """Its line of the ledger."""
    actions: RecordedActions | None = None
    """What it executed, where that is kept."""


class RunFolder:
    """A run's folder, held by this process alone from construction to `close`."""

    def __init__(
        self, path: Path, *, is_resume: bool, remote: RemoteFolder | None = None, config: EvalConfig | None = None
    ) -> None:
        """Makes the folder, or takes up an existing one.

        Args:
            path: the folder.
            is_resume: whether a run is gone on with.
            remote: the place in a store that the folder is a copy of, if it is one.
            config: what a new run is to be of, which a run that is there already is compared with.

        Raises:
            ConfigError: it exists and this is no resume, or the other way round.
            LedgerError: another process holds it, or its ledger cannot be read.
        """
        self.path, self._remote = path, remote
        _check_existence(path, config, is_resume=is_resume)
        _make_folder(path)
        self._lock = _locked(path, may_be_read_only=is_resume and has_header(path))
        self._found: LedgerContent | None = read_ledger(path) if is_resume and has_header(path) else None
        self._writer: LedgerWriter | None = None
        self._actions: ActionsWriter | None = None
        self._records: dict[str, dict[str, Any]] = dict(self._found.episodes) if self._found else {}
        self._sessions = list(self._found.sessions) if self._found else []
        self._session: dict[str, Any] | None = None
        self._finished = {key: record for key, record in self._records.items() if _is_final(record)}

    @property
    def place(self) -> Path | str:
        """Where the run is: its folder, or the address in a store."""
        return self.path if self._remote is None else self._remote.url

    @property
    def is_read_only(self) -> bool:
        """Whether this user cannot write there; what is finished can be looked at all the same."""
        return self._lock is None

    @property
    def recorded_header(self) -> dict[str, Any] | None:
        """The header of the run that is resumed; None for a new one."""
        return self._found.header if self._found else None

    @property
    def finished(self) -> Mapping[str, dict[str, Any]]:
        """Records of the episodes that need not run again, by episode id."""
        return self._finished

    @property
    def version_changes(self) -> list[str]:
        """What the run's sessions, the present one included, were not all run under, a line each."""
        return version_changes([*self._sessions, *([self._session["provenance"]] if self._session else [])])

    def check_config(self, config: EvalConfig) -> None:
        """Passes when the run that is resumed was of this configuration, as far as that says what comes out.

        Raises:
            ConfigError: it was another one; the message names the keys that differ.
        """
        if self._found is not None:
            header = self._found.header
            moved = known_by_digest(header["identity"])
            version = recorded_version(header)
            check_identity(_configured(header), config.identity(), self.path, version=version, moved=moved)

    def open_ledger(self, config: EvalConfig, header: Mapping[str, Any]) -> None:
        """Writes the configuration and the header, or checks a resumed run's against them.

        Raises:
            ConfigError: the resumed run has another identity; the message names the keys that differ.
        """
        if self.is_read_only:
            raise LedgerError(
                f"{self.path}: expected a folder that this user can write, got one that can only be read, with "
                f"{len(self._finished)} finished episodes; have its owner go on with it, or copy it and resume the copy"
            )
        if self._found is not None:
            allow_mixed = config.limits.allow_mixed
            recorded, version = self._found.header["identity"], recorded_version(self._found.header)
            check_identity(recorded, header["identity"], self.path, allow_mixed=allow_mixed, version=version)
            self._writer = LedgerWriter(self.path, keep_bytes=self._found.whole_bytes, mirror=self._mirror(LEDGER_NAME))
            self._session = {"kind": "session", "provenance": header["provenance"]}
            return
        # Without a header there is nothing to resume, and the folder goes again.
        self.write_whole(CONFIG_NAME, to_yaml(config.resolved()), retry="start the run again")
        self._writer = LedgerWriter(self.path, mirror=self._mirror(LEDGER_NAME))
        self._writer.append(header)
        self._sessions.append(header["provenance"])

    def append(self, *entries: Entry) -> None:
        """Writes lines; those of episodes count from its return on."""
        self.write(*entries)
        self.count(*entries)

    def write(self, *entries: Entry) -> None:
        """Writes lines, durable on return; what an episode executed is there before the line that says so.

        It may be called by another thread than the rest, always the same.
        """
        if self._writer is None:
            raise LedgerError(f"{self.path}: expected an open ledger, got a record before the header")
        kept = [(entry.record["episode_id"], entry.actions) for entry in entries if entry.actions is not None]
        if kept:
            self._actions = self._actions or ActionsWriter(self.path, self._mirror(ACTIONS_NAME))
            self._actions.append(*kept)
        records = [entry.record for entry in entries]
        if self._session is not None:
            # Only now: a session in which nothing was run changed nothing.
            self._writer.append(self._session, *records)
            self._sessions.append(self._session["provenance"])
            self._session = None
        else:
            self._writer.append(*records)

    def count(self, *entries: Entry) -> None:
        """Counts the episodes of lines that are written."""
        for record in (entry.record for entry in entries):
            if record["kind"] == "episode":
                key = keep_winner(self._records, record)
                if _is_final(self._records[key]):
                    self._finished[key] = self._records[key]

    def append_at_end(self, record: Mapping[str, Any]) -> None:
        """Writes one line about the session, if it wrote any."""
        if self._writer is not None and self._session is None:
            self._writer.append(record)

    def results(self) -> dict[str, EpisodeResult]:
        """The results that count, by episode id."""
        return {key: result_of(record) for key, record in self._records.items()}

    def outcome_of(self, episode_id: str) -> Outcome | None:
        """Outcome of an episode's record that counts; None where it has none."""
        record = self._records.get(episode_id)
        return None if record is None else Outcome(record["outcome"])

    def write_summary(
        self,
        header: Mapping[str, Any],
        plan: Sequence[EpisodeSpec],
        interval: IntervalMethod = DEFAULT_METHOD,
        stopped_by: str | None = None,
    ) -> None:
        """Writes `summary.json` and `episodes.csv` from what the ledger holds, where anything can be written."""
        if self.is_read_only:
            return
        results = self.results()
        ordered = [results[spec.episode_id] for spec in plan if spec.episode_id in results]
        axes = axes_values(ordered, header["identity"].get(PERTURBED_KEY, {}), interval)
        text = summary_text(header, plan, results, self._sessions, interval, stopped_by=stopped_by, axes=axes)
        self.write_whole("summary.json", text)
        self.write_whole("episodes.csv", csv_text(plan, self._records))

    def write_whole(self, name: str, text: str, retry: str = "resume the run") -> None:
        """Writes a file of the folder so that a reader finds the old text or the new one.

        Raises:
            LedgerError: it cannot be written.
        """
        write_atomically(self.path / name, text, retry)
        if self._remote is not None:
            self._remote.put(self.path / name)

    def _mirror(self, name: str) -> Mirror | None:
        return None if self._remote is None else self._remote.writer(name)

    def close(self) -> None:
        """Closes the ledger and lets go of the folder; an empty folder that we made is removed."""
        if self._writer is not None:
            self._writer.close()
        if self._actions is not None:
            self._actions.close()
        if self._lock is not None:
            self._lock.release()
        if self._writer is None and self._found is None:
            self._remove_if_empty()

    def _remove_if_empty(self) -> None:
        (self.path / LOCK_NAME).unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()


@contextlib.contextmanager
def opened_folder(place: Path | str, config: EvalConfig, *, is_resume: bool) -> Iterator[RunFolder]:
    """A run's folder for the length of a run: on this machine, or in a store by its address.

    Args:
        place: the folder, or the address.
        config: what is run.
        is_resume: whether a run is gone on with.

    Raises:
        ConfigError: it exists and this is no resume, or the other way round; there is no store of that kind.
        LedgerError: another process holds it, or it cannot be read or written.
        SetupError: the store's package is not installed.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(place, Path):
            yield stack.enter_context(contextlib.closing(RunFolder(place, is_resume=is_resume, config=config)))
            return
        scratch = stack.enter_context(scratch_folder())
        remote = stack.enter_context(remote_folder(place, scratch / "run", is_resume=is_resume))
        folder = RunFolder(remote.copy, is_resume=is_resume, remote=remote)
        yield stack.enter_context(contextlib.closing(folder))


def _is_final(record: Mapping[str, Any]) -> bool:
    return bool(record["outcome"] != Outcome.ERROR)


def check_identity(
    recorded: Mapping[str, Any],
    present: Mapping[str, Any],
    path: Path,
    *,
    allow_mixed: bool = False,
    version: int = IDENTITY_VERSION,
    moved: Iterable[str] = (),
) -> None:
    """Compares the identity of a recorded run with that of the one that would go on with it.

    What a ledger of an earlier `version` could not say (see `identity_keys`) is no difference.

    Args:
        recorded: the run's.
        present: what it would be now.
        path: the run's folder.
        allow_mixed: whether canaries may differ.
        version: of the recorded ledger's identity.
        moved: keys that may differ, besides those whose content the recorded identity has by its digest.

    Raises:
        ConfigError: they differ; the message names the keys that do.
    """
    canaries = tuple(key for key in recorded.keys() | present.keys() if key.startswith(_CANARY_KEYS))
    free = {*(canaries if allow_mixed else ()), *moved, *known_by_digest(recorded)}
    differing = [key for key in _differing(recorded, present, version) if key not in free]
    if differing:
        remedy = "resume with its values"
        if set(differing) <= set(canaries):
            remedy = "this machine computes other bits: resume on one like the first, or set limits.allow_mixed=true"
        if any(key.startswith("environment.policy") for key in differing):
            remedy = "the policy is no longer the one that the run began with: bring that back, or start a new run"
        told = _differences(recorded, present, differing)
        raise ConfigError(f"{path}: expected the run's own identity, got another; {remedy}: {told}")


def _differing(recorded: Mapping[str, Any], present: Mapping[str, Any], version: int) -> list[str]:
    """Keys of two identities whose values differ, but for what a ledger of an earlier version could not say."""
    keys = sorted(recorded.keys() | present.keys())
    silent = {key for key in keys if key not in recorded and is_older_than(version, key, present[key])}
    return [key for key in keys if key not in silent and _as_text(recorded, key) != _as_text(present, key)]


def _differences(recorded: Mapping[str, Any], present: Mapping[str, Any], keys: Sequence[str]) -> str:
    """The values of keys that differ, the first few of them."""
    told = [f"{key}: {shown(recorded.get(key), 60)} there, {shown(present.get(key), 60)} now" for key in keys]
    return "; ".join([*told[:MOST_TOLD], *([f"and {len(told) - MOST_TOLD} more"] if len(told) > MOST_TOLD else [])])


def _configured(header: Mapping[str, Any]) -> dict[str, Any]:
    """What a recorded identity has of its configuration."""
    return {key: value for key, value in header["identity"].items() if not key.startswith(ENVIRONMENT_PREFIX)}


def _as_text(identity: Mapping[str, Any], key: str) -> str | None:
    """An identity's value as JSON, in which true is not 1; of a key of an earlier version, that of null."""
    if key not in identity and key.startswith("policy.kwargs."):
        return None
    return json.dumps(identity.get(key), sort_keys=True)


def _check_existence(path: Path, config: EvalConfig | None, *, is_resume: bool) -> None:
    if is_resume and not (_is_there(path) and path.is_dir()):
        raise ConfigError(f"{path}: expected a run's folder to resume, found none; check the path")
    if not is_resume and _is_taken(path):
        raise ConfigError(f"{path}: expected no such folder, found {_found_there(path, config)}")


def _found_there(path: Path, config: EvalConfig | None) -> str:
    """What is in a new run's way, and what to do."""
    if not (path / CONFIG_NAME).is_file():
        return "something that is no run; choose another --out"
    if config is not None and has_header(path):
        header, present = read_ledger(path).header, config.identity()
        recorded = _configured(header)
        differing = _differing(recorded, present, recorded_version(header))
        if differing:
            told = _differences(recorded, present, differing)
            return f"a run of another configuration ({told}); choose another --out, or go on with that run by --resume"
    return f"a run; go on with it by --resume {quoted(path)}, or choose another --out"


def _is_taken(path: Path) -> bool:
    """Whether something is there besides the lock of a run that was ended before it began."""
    return _is_there(path) and (not path.is_dir() or any(found.name != LOCK_NAME for found in path.iterdir()))


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise ConfigError(
            f"{shown(str(path))}: expected a path that a folder can have, got {error.strerror}"
        ) from error


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: expected a folder that can be made, got {error.strerror}") from error


def _locked(path: Path, *, may_be_read_only: bool) -> Lock | None:
    """The folder's lock; None for one that may be read only and is."""
    try:
        return Lock(path / LOCK_NAME)
    except OSError as error:
        if may_be_read_only and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return None
        raise ConfigError(
            f"{path}: expected a folder that this user can write, got {error.strerror}; choose another --out, or have "
            "its owner let you write there"
        ) from error

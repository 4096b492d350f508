"""Where in a run's folder the things to look at are, and which episodes are chosen; pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ray_eval.errors import ConfigError, did_you_mean
from ray_eval.types import EpisodeSpec, Outcome

VIDEOS: Final = "videos"
"""Folder, in a run's, of films and stills."""
FAILURES, SUCCESSES, FLIPPED, ALL = "failures", "successes", "flipped", "all"
"""Words that choose episodes by their outcome."""
_FIRST = re.compile(r"first:([1-9][0-9]{0,5})")
CHOICES: Final = f"{FAILURES}, {SUCCESSES}, {FLIPPED}, {ALL}, first:N or episode ids"
"""What can be chosen, in words."""


def video_path(folder: Path, spec: EpisodeSpec) -> Path:
    """The film of an episode, whether it is there or not."""
    return _stem(folder, spec).with_suffix(".mp4")


def picture_path(folder: Path, spec: EpisodeSpec) -> Path:
    """The last frame of an episode, whether it is there or not."""
    return _stem(folder, spec).with_suffix(".jpg")


def sheet_path(folder: Path, suite: str, task_id: int) -> Path:
    """The contact sheet of a task, whether it is there or not."""
    return folder / VIDEOS / suite / str(task_id) / "contact.jpg"


def pair_path(folder: Path, spec: EpisodeSpec, other: Path) -> Path:
    """The film of an episode beside another run's of the same episode."""
    return _stem(folder, spec).with_name(f"{_name(spec)}-beside-{other.name}.mp4")


def _stem(folder: Path, spec: EpisodeSpec) -> Path:
    return folder / VIDEOS / spec.suite / str(spec.task_id) / _name(spec)


def _name(spec: EpisodeSpec) -> str:
    return f"{spec.init_state_id}-{spec.repeat}" if spec.repeat else str(spec.init_state_id)


def chosen(
    records: Mapping[str, Mapping[str, Any]],
    words: Sequence[str],
    other: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[str]:
    """The episodes that words choose, in order: those of an outcome, of which `first:N` keeps N of each task, and ids.

    Args:
        records: the run's ledger records in plan order.
        words: `failures`, `successes`, `flipped`, `all`, `first:N`, or ids.
        other: the records of the run beside it.

    Raises:
        ConfigError: a word is none of these, or `flipped` is asked of one run.
    """
    outcomes = [word for word in words if word in (FAILURES, SUCCESSES, FLIPPED, ALL)]
    limits = [int(word.removeprefix("first:")) for word in words if _FIRST.fullmatch(word)]
    ids = [word for word in words if word not in outcomes and not _FIRST.fullmatch(word)]
    for each in ids:
        if each not in records:
            known = [*records, FAILURES, SUCCESSES, FLIPPED, ALL]
            raise ConfigError(
                f"--which {each}: expected {CHOICES} of the run, got {each!r}.{did_you_mean(each, known)}"
            )
    if FLIPPED in outcomes and other is None:
        raise ConfigError("--which flipped: expected two runs, got one; write ray-eval video RUN OTHER --which flipped")
    ended = {key: record for key, record in records.items() if record["outcome"] != Outcome.ERROR}
    wanted = outcomes or ([ALL] if limits else [])
    found = [key for key, record in ended.items() if any(_is(word, key, record, other) for word in wanted)]
    if limits:
        seen: Counter[tuple[str, int]] = Counter()
        tasks = [(records[key]["suite"], records[key]["task_id"]) for key in found]
        places = [seen.update([task]) or seen[task] for task in tasks]
        found = [key for key, place in zip(found, places, strict=True) if place <= min(limits)]
    return list(dict.fromkeys([*found, *ids]))


def _is(word: str, key: str, record: Mapping[str, Any], other: Mapping[str, Mapping[str, Any]] | None) -> bool:
    if word == FLIPPED:
        beside = (other or {}).get(key)
        is_ended = beside is not None and beside["outcome"] != Outcome.ERROR
        return beside is not None and is_ended and bool(beside["outcome"] != record["outcome"])
    wanted = {FAILURES: Outcome.FAILURE, SUCCESSES: Outcome.SUCCESS}.get(word)
    return wanted is None or record["outcome"] == wanted

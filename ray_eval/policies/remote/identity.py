"""What a server says of itself, as a text that stays the same as long as the same policy is behind it.

Dropped is what belongs to a process and not to a policy: what two connections to one server are told differently, keys
that speak of a process or a moment, and the keys that the user names (`policy.ignore_metadata`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from ray_eval.messages import parsed_json

_OF_A_PROCESS = frozenset(
    (
        *("time", "timestamp", "now", "date", "started", "start", "boot", "launched", "uptime", "since", "elapsed"),
        *("timing", "pid", "hostname", "session", "uuid", "connection", "connections", "request", "requests"),
    )
)
"""Words in a key that speak of the process, or of a moment in its life."""
_OF_A_POLICY = frozenset(
    ("checkpoint", "ckpt", "model", "weights", "train", "training", "trained", "saved", "revision", "commit", "step")
)
"""Words that make such a key speak of the policy all the same: `train_time`, `checkpoint_date`."""
_LARGE = 1000
"""Numbers from which on an array is told by its digest."""

Path = tuple[str, ...]
"""Keys from the outermost mapping to a value."""


def plain(value: Any) -> Any:
    """The value in JSON's types, the keys of mappings as texts; arrays as lists, or by their digest where large."""
    if isinstance(value, Mapping):
        return {_text(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray):
        if value.size < _LARGE:
            return plain(value.tolist())
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"{value.dtype} {list(value.shape)} SHA-256 {digest}"
    value = value.item() if isinstance(value, np.generic) else value
    is_plain = value is None or isinstance(value, (str, int, float, bool))
    return value if is_plain else _text(value)


def told(value: Any, dropped: Collection[Path] = (), ignored: Collection[str] = ()) -> str:
    """The value as JSON with sorted keys, without what is dropped.

    Args:
        value: What a server says of itself, as `plain` leaves it.
        dropped: Ways to values that differ between connections.
        ignored: Keys, wherever they are, that say nothing of the policy.
    """
    return json.dumps(_kept(value, (), set(dropped), set(ignored)), sort_keys=True)


def unsteady(first: Any, second: Any) -> set[Path]:
    """Where one server told two connections something different of itself."""
    ones, others = dict(_leaves(first, ())), dict(_leaves(second, ()))
    return {path for path in ones.keys() | others.keys() if ones.get(path) != others.get(path)}


def difference(expected: str, got: str) -> tuple[str, str, str] | None:
    """The first key under which two such texts differ, with dots between the keys, and what each has there, as JSON."""
    ones, others = (dict(_leaves(_loaded(text), ())) for text in (expected, got))
    path = min(filter(None, unsteady(_loaded(expected), _loaded(got))), default=())
    return (".".join(path), ones.get(path, "nothing"), others.get(path, "nothing")) if path else None


def _loaded(text: str) -> Any:
    try:
        return parsed_json(text)
    except ValueError:
        return text


def _kept(value: Any, path: Path, dropped: Collection[Path], ignored: Collection[str]) -> Any:
    if isinstance(value, list):
        ways = [(*path, str(index)) for index in range(len(value))]
        return [_kept(each, way, dropped, ignored) for way, each in zip(ways, value, strict=True) if way not in dropped]
    if not isinstance(value, dict):
        return value
    return {
        key: _kept(each, (*path, key), dropped, ignored)
        for key, each in value.items()
        if (*path, key) not in dropped and key not in ignored and not _is_of_a_process(key)
    }


def _is_of_a_process(key: str) -> bool:
    words = set(re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", key).lower()))
    return bool(words & _OF_A_PROCESS) and not words & _OF_A_POLICY


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _leaves(each, (*path, key))
    elif isinstance(value, list) and value:
        for index, each in enumerate(value):
            yield from _leaves(each, (*path, str(index)))
    else:
        yield path, json.dumps(value, default=str)


def _text(key: Any) -> str:
    return key.decode("utf-8", errors="backslashreplace") if isinstance(key, bytes) else str(key)

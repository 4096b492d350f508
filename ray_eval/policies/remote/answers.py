"""The actions in a server's answer: where they are in it, their shape, and what a server says instead of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ray_eval.errors import EpisodeError
from ray_eval.policies.remote.pool import BadAnswerError
from ray_eval.types import Array

ACTION_KEYS = ("actions", "action")
"""What servers call their answer, where `policy.rename.action` names nothing else."""
LONGEST_CHUNK = 1000
"""Most rows, and most columns, of an answer."""
_DEPTH = 3
"""How many envelopes may be around an answer."""
_TEXT_LIMIT = 200


def actions_in(answer: Any, name: str | None, address: str) -> Any:
    """What a mapping calls its actions: at the top, or within other mappings where that is not to be mistaken.

    Args:
        answer: What the server sent.
        name: The key, with dots for one within another (`data.actions`); None takes `actions` or `action`.
        address: Of the server.

    Raises:
        EpisodeError: the server says that it failed.
        BadAnswerError: there are no actions in it, or several.
    """
    where = f"policy server at {address}"
    if not isinstance(answer, Mapping):
        raise BadAnswerError(f"{where}: expected a mapping with actions, got {type(answer).__name__}")
    for key in (name,) if name else ACTION_KEYS:
        found = list(_within(answer, key, _DEPTH))
        if len(found) == 1:
            return found[0]
        if found:
            raise BadAnswerError(
                f"{where}: expected {key!r} once, got it {len(found)} times; write the whole way to it, for instance "
                f"policy.rename.action=data.{key}"
            )
    failure = failure_in(answer)
    if failure is not None:
        raise EpisodeError(f"{where}: expected actions, got the error {failure}")
    got = sorted(_paths(answer, _DEPTH))
    wanted = repr(name) if name else " or ".join(map(repr, ACTION_KEYS))
    raise BadAnswerError(f"{where}: expected {wanted}, got {got[:20]}; write policy.rename.action=NAME")


def failure_in(answer: Mapping[Any, Any]) -> str | None:
    """What a server says went wrong, in any of the ways in which servers say it; None where it says nothing."""
    for key in ("error", b"error", "error_str"):
        said = answer.get(key)
        if said:
            text = said.get("message", said) if isinstance(said, Mapping) else said
            return last_line(text.decode(errors="replace") if isinstance(text, bytes) else str(text))
    return None


def last_line(text: str) -> str:
    """The last line of a traceback that says something, cut to a length for a person."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "an empty text")[:_TEXT_LIMIT]


def actions_of(actions: Any, shape: tuple[int, int] | None, address: str) -> Array:
    """The server's actions as (H, A) float32.

    One row may come without its leading axis, and the whole with batch axes of length 1 before it.

    Raises:
        BadAnswerError: they are no finite numbers of that shape, or more than an answer may have.
    """
    where = f"policy server at {address}"
    try:
        array = np.atleast_2d(np.asarray(actions, dtype=np.float32))
    except (TypeError, ValueError) as error:
        raise BadAnswerError(f"{where}: expected actions, got {type(actions).__name__} ({error})") from error
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or (shape is not None and array.shape != shape):
        expected = shape or "(chunk_len, action_dim)"
        raise BadAnswerError(f"{where}: expected actions of shape {expected}, got {np.shape(actions)}")
    if not 1 <= min(array.shape) <= max(array.shape) <= LONGEST_CHUNK:
        raise BadAnswerError(
            f"{where}: expected 1 to {LONGEST_CHUNK} actions of 1 to {LONGEST_CHUNK} numbers, got {np.shape(actions)}"
        )
    if not np.isfinite(array).all():
        raise BadAnswerError(f"{where}: expected finite actions, got NaN or infinity")
    return np.ascontiguousarray(array)


def joined(parts: Sequence[Any], names: Sequence[str], address: str) -> Array:
    """Parts of an action, each (..., H, D) or (H,), side by side as (H, A).

    Raises:
        BadAnswerError: they are no numbers, or not equally many rows.
    """
    try:
        columns = [_column(part) for part in parts]
        return np.concatenate(columns, axis=-1)
    except (TypeError, ValueError) as error:
        shapes = {name: np.shape(part) for name, part in zip(names, parts, strict=True)}
        raise BadAnswerError(
            f"policy server at {address}: expected parts of one action chunk, got the shapes {shapes}"
        ) from error


def _column(part: Any) -> Array:
    array = np.asarray(part, dtype=np.float32)
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    return array[:, None] if array.ndim == 1 else array


def _within(mapping: Mapping[Any, Any], key: str, depth: int) -> Iterator[Any]:
    """Whatever has that key, or that dotted way, in a mapping or in the mappings within it; the outermost alone."""
    named = {_text(each): value for each, value in mapping.items()}
    if key in named:
        yield named[key]
        return
    first, _, rest = key.partition(".")
    if rest and isinstance(named.get(first), Mapping):
        yield from _within(named[first], rest, depth - 1)
        return
    if depth > 0:
        for value in named.values():
            if isinstance(value, Mapping):
                yield from _within(value, key, depth - 1)


def _paths(mapping: Mapping[Any, Any], depth: int) -> Iterator[str]:
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value and depth > 0:
            yield from (f"{_text(key)}.{path}" for path in _paths(value, depth - 1))
        else:
            yield _text(key)


def _text(key: Any) -> str:
    return key.decode(errors="replace") if isinstance(key, bytes) else str(key)

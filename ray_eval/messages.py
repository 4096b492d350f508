"""How other people's texts are read, and put into a message: arrays by their shape, in one line; pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from typing import Any

MOST_CHARACTERS = 500
"""Longest message."""
LONGEST_NUMBERS = 100
"""Characters of bracketed numbers that are still shown as they stand."""

MOST_AXES = 16
"""Nested brackets of an array; deeper ones are no array's."""

_CUT = " [...] "
_CUT_WORD_BEHIND, _CUT_WORD_IN_FRONT = re.compile(r"\s\S{0,30}$"), re.compile(r"^\S{0,30}\s")
_NUMBERS = re.compile(r"[-+.,;\s\d()\[\]]|nan|inf|e(?=[-+\d])|j|True|False")
_WRAPPER = re.compile(r"(?:array|tensor|Array|Parameter containing:\s*tensor)\(\s*$")
_TAIL = re.compile(r"\s*(?:,\s*[a-z_]+=(?:\([^()]*\)|<[^<>]*>|[^,()]+))*\s*\)")
_SHAPE = re.compile(r"shape=(\([^()]*\))")


def one_line(text: str, most_characters: int = MOST_CHARACTERS) -> str:
    """The text without line breaks; of a long one the middle is left out: where is in front, the remedy behind."""
    line = " ".join(text.split())
    if len(line) <= most_characters:
        return line
    kept = most_characters - len(_CUT)
    front, behind = line[: kept - kept // 2], line[len(line) - kept // 2 :]
    return f"{_CUT_WORD_BEHIND.sub('', front)}{_CUT}{_CUT_WORD_IN_FRONT.sub('', behind)}"


def parsed_json(text: str | bytes, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """The value of a text of JSON that anybody may have written.

    Args:
        text: it.
        parse_constant: makes the value of NaN and the infinities.

    Raises:
        ValueError: it is none, or nested deeper than can be read.
    """
    try:
        return json.loads(text, parse_constant=parse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def quoted(path: object) -> str:
    """A path as a shell takes it."""
    return shlex.quote(str(path))


def array_named(value: object) -> str | None:
    """An array, of NumPy, torch or another library, by its dtype and shape; None of anything else."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if dtype is None or not isinstance(shape, tuple) or isinstance(value, type):
        return None
    return f"{type(value).__name__} {str(dtype).removeprefix('torch.')} of shape {tuple(shape)}"


def without_arrays(text: str) -> str:
    """A text in which every long array that was printed into it is named by its shape instead."""
    told, at = [], 0
    while (start := text.find("[", at)) >= 0:
        end = _end_of_numbers(text, start)
        if end - start <= LONGEST_NUMBERS:
            told.append(text[at : start + 1])
            at = start + 1
            continue
        head, numbers = text[at:start], text[start:end]
        wrapper, tail = _WRAPPER.search(head), _TAIL.match(text, end)
        told.append((head[: wrapper.start()] if wrapper else head) + _named(numbers, tail.group() if tail else ""))
        at = tail.end() if wrapper and tail else end
    return "".join([*told, text[at:]])


def _end_of_numbers(text: str, start: int) -> int:
    """Behind the bracket that closes the one at `start`; `start` itself where it holds more than numbers."""
    depth, at = 0, start
    while at < len(text):
        depth += (text[at] == "[") - (text[at] == "]")
        if depth == 0:
            return at + 1
        if depth > MOST_AXES:
            return start
        found = _NUMBERS.match(text, at)
        if found is None:
            return start
        at = found.end()
    return start


def _named(numbers: str, tail: str) -> str:
    said = _SHAPE.search(tail)
    shape = said.group(1) if said else _shape_of(numbers)
    return f"array of shape {shape}" if shape else "array of many numbers"


def _shape_of(numbers: str) -> str | None:
    """The shape that nested brackets have; None where parts were left out, as NumPy does with large arrays."""
    if "..." in numbers:
        return None
    open_lists: list[list[Any]] = [[]]
    for mark in re.findall(r"[\[\]]|[^\s,\[\]]+", numbers):
        if mark == "[":
            open_lists.append([])
        else:
            inner = open_lists.pop() if mark == "]" else mark
            open_lists[-1].append(inner)
    sizes, here = [], open_lists[0][0]
    while isinstance(here, list):
        sizes.append(len(here))
        here = here[0] if here else None
    return str(tuple(sizes))

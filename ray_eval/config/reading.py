"""Reading of values by the type of the field they go to: pure, the same for YAML, the command line and Python values.

A `str` takes its text as it stands, an `int` refuses `012` and `1e3`, a list needs its brackets, and null is spelt
null; nothing depends on what a YAML parser takes a text for.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from ray_eval.config.schema import POLICY_TYPES, MaxSteps
from ray_eval.errors import ConfigError, did_you_mean
from ray_eval.sections import PolicySection

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|-?\.[0-9]+")
_NULLS = ("null", "", "~", None)


def read_section(schema: type, values: Any, where: str) -> Any:
    """An instance of a dataclass from a mapping of its fields.

    Raises:
        ConfigError: an unknown key, a missing one, or a value that its field's type cannot take.
    """
    if isinstance(values, schema):
        return values
    fields = {item.name: item for item in dataclasses.fields(schema)}
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected a mapping with some of {', '.join(fields)}, got {values!r}")
    for key in values:
        if key not in fields:
            known = ", ".join(fields)
            raise ConfigError(f"{_join(where, key)}: expected one of {known}; no such key.{did_you_mean(key, fields)}")
    hints = _hints(schema)
    return schema(**{key: read(hints[key], value, _join(where, key)) for key, value in values.items()})


def read(expected: Any, value: Any, where: str) -> Any:  # noqa: PLR0911 - one line per kind of type
    """A value, given as text or typed already, as the expected type.

    Raises:
        ConfigError: the value is not of that type; the message says what to write.
    """
    if expected == PolicySection:
        return _read_policy(value, where)
    origin = typing.get_origin(expected)
    if origin in (typing.Union, types.UnionType):
        return _read_union(typing.get_args(expected), value, where)
    if origin is Literal:
        return _read_choice(typing.get_args(expected), value, where)
    if origin is tuple:
        return _read_list(typing.get_args(expected)[0], value, where)
    if expected is MaxSteps:
        return _read_max_steps(value, where)
    if dataclasses.is_dataclass(expected):
        return read_section(typing.cast("type", expected), value, where)
    return _SCALARS[expected](value, where)


def split_list(text: str, where: str) -> list[str]:
    """Items of a bracketed list of plain words.

    Raises:
        ConfigError: the brackets are missing.
    """
    if not (text.startswith("[") and text.endswith("]")):
        raise ConfigError(f"{where}: expected a list in brackets, got {text!r}; write {where}=[{text}]")
    return [item.strip().strip("'\"") for item in text[1:-1].split(",") if item.strip()]


@functools.cache
def _hints(schema: type) -> dict[str, Any]:
    return typing.get_type_hints(schema)


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def _read_policy(value: Any, where: str) -> PolicySection:
    if isinstance(value, tuple(POLICY_TYPES.values())):
        return typing.cast("PolicySection", value)
    if not isinstance(value, Mapping) or "type" not in value:
        raise ConfigError(f"{where}: expected a preset's name or a mapping with `type`, got {value!r}")
    kind = _read_choice(tuple(POLICY_TYPES), value["type"], f"{where}.type")
    settings = {key: inner for key, inner in value.items() if key != "type"}
    return typing.cast("PolicySection", read_section(POLICY_TYPES[kind], settings, where))


def _read_union(members: tuple[Any, ...], value: Any, where: str) -> Any:
    if type(None) in members and value in _NULLS:
        return None
    concrete = [member for member in members if member is not type(None)]
    errors = []
    for member in concrete:
        try:
            return read(member, value, where)
        except ConfigError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    expected = " or ".join(_described(member) for member in concrete)
    raise ConfigError(f"{where}: expected {expected}, got {value!r}")


def _described(member: Any) -> str:
    if typing.get_origin(member) is Literal:
        return " or ".join(typing.get_args(member))
    return {int: "an integer", float: "a number", str: "a text", bool: "true or false"}.get(member, str(member))


def _read_choice(choices: tuple[str, ...], value: Any, where: str) -> str:
    if value in choices:
        return str(value)
    raise ConfigError(f"{where}: expected one of {', '.join(choices)}, got {value!r}.{did_you_mean(value, choices)}")


def _read_list(member: Any, value: Any, where: str) -> tuple[Any, ...]:
    items = split_list(value, where) if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise ConfigError(f"{where}: expected a list in brackets, got {items!r}; write {where}=[{items}]")
    return tuple(read(member, item, where) for item in items)


def _read_max_steps(value: Any, where: str) -> MaxSteps:
    if isinstance(value, Mapping):
        return MaxSteps({str(suite): _read_int(steps, _join(where, suite)) for suite, steps in value.items()})
    return MaxSteps(default=_read_int(value, where))


def _read_int(value: Any, where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    raise ConfigError(f"{where}: expected an integer without leading zeros, got {value!r}")


def _read_float(value: Any, where: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    raise ConfigError(f"{where}: expected a number, got {value!r}")


def _read_bool(value: Any, where: str) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise ConfigError(f"{where}: expected true or false, got {value!r}")


def _read_text(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    raise ConfigError(f"{where}: expected a text, got {value!r}")


_SCALARS: Mapping[Any, Any] = {int: _read_int, float: _read_float, bool: _read_bool, str: _read_text}

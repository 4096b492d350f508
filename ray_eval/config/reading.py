"""Reading of values by the type of the field they go to: pure, the same for YAML, the command line and Python values.

A `str` takes its text as it stands, an `int` refuses `012` and `1e3`, a list needs its brackets, and null is spelt
null; nothing depends on what a YAML parser takes a text for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ray_eval.config.schema import MaxSteps, flattened
from ray_eval.errors import ConfigError, did_you_mean
from ray_eval.sections import POLICY_TYPES, Kwargs, Names, PolicySection, shown

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|-?\.[0-9]+")
UNSET = ("null", "", "~", None)
"""What stands for no value at all."""
_INTEGER_LIMIT = 2**63
_MOST_DIGITS = 20


def read_section(schema: type, values: Any, where: str) -> Any:
    """An instance of a dataclass from a mapping of its fields.

    Raises:
        ConfigError: an unknown key, a missing one, or a value that its field's type cannot take.
    """
    if isinstance(values, schema):
        return values
    fields = {item.name: item for item in dataclasses.fields(schema)}
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected a mapping with some of {', '.join(fields)}, got {shown(values)}")
    check_keys(schema, values, where)
    missing = [name for name, item in fields.items() if name not in values and _is_required(item)]
    if missing:
        raise ConfigError(
            f"{_join(where, missing[0])}: expected a value, got none; write {_join(where, missing[0])}=..."
        )
    hints = _hints(schema)
    return schema(**{key: read(hints[key], value, _join(where, key)) for key, value in values.items()})


def check_keys(schema: type, keys: Iterable[str], where: str) -> None:
    """Passes when a dataclass has a field for each key.

    Raises:
        ConfigError: it has none for one of them.
    """
    fields = [item.name for item in dataclasses.fields(schema)]
    for key in keys:
        if key not in fields:
            hint = did_you_mean(key, fields)
            raise ConfigError(f"{_join(where, key)}: expected one of {', '.join(fields)}; no such key.{hint}")


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
    if expected is Kwargs:
        return _read_kwargs(value, where)
    if expected is Names:
        return _read_names(value, where)
    if dataclasses.is_dataclass(expected):
        return read_section(typing.cast("type", expected), value, where)
    return _SCALARS[expected](value, where)


def split_list(text: str, where: str) -> list[str]:
    """Items of a bracketed list of plain words.

    Raises:
        ConfigError: the brackets are missing.
    """
    if not (text.startswith("[") and text.endswith("]")):
        raise ConfigError(f"{where}: expected a list in brackets, got {shown(text)}; write {where}=[{_cut(text)}]")
    return [item.strip().strip("'\"") for item in text[1:-1].split(",") if item.strip()]


def checked_text(text: str, where: str) -> str:
    """The text, if it can be written as UTF-8 and has no NUL, as a file, a message and a path all want.

    Raises:
        ConfigError: it cannot, for instance because the terminal sends another encoding.
    """
    if not isinstance(text, str):
        raise ConfigError(f"{where}: expected a text, got {shown(text)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{where}: expected a text in UTF-8, got {shown(text)}") from None
    if "\0" in text:
        raise ConfigError(f"{where}: expected a text without NUL, got {shown(text)}")
    return text


def _cut(text: str, most_characters: int = 60) -> str:
    return text if len(text) <= most_characters else "..."


def _is_required(item: dataclasses.Field[Any]) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


@functools.cache
def _hints(schema: type) -> dict[str, Any]:
    return typing.get_type_hints(schema)


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def _read_policy(value: Any, where: str) -> PolicySection:
    if isinstance(value, tuple(POLICY_TYPES.values())):
        return typing.cast("PolicySection", value)
    if not isinstance(value, Mapping) or "type" not in value:
        raise ConfigError(f"{where}: expected a preset's name or a mapping with `type`, got {shown(value)}")
    kind = _read_choice(tuple(POLICY_TYPES), value["type"], f"{where}.type")
    settings = {key: inner for key, inner in value.items() if key != "type"}
    return typing.cast("PolicySection", read_section(POLICY_TYPES[kind], settings, where))


def _read_union(members: tuple[Any, ...], value: Any, where: str) -> Any:
    if type(None) in members and (value is None or (isinstance(value, str) and value in UNSET)):
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
    raise ConfigError(f"{where}: expected {expected}, got {shown(value)}")


def _described(member: Any) -> str:
    if typing.get_origin(member) is Literal:
        return " or ".join(typing.get_args(member))
    return {int: "an integer", float: "a number", str: "a text", bool: "true or false"}.get(member, str(member))


def _read_choice(choices: tuple[str, ...], value: Any, where: str) -> str:
    if isinstance(value, str) and value in choices:
        return str(value)
    hint = did_you_mean(value, choices) if isinstance(value, str) else ""
    raise ConfigError(f"{where}: expected one of {', '.join(choices)}, got {shown(value)}.{hint}")


def _read_list(member: Any, value: Any, where: str) -> tuple[Any, ...]:
    items = split_list(value, where) if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise ConfigError(f"{where}: expected a list in brackets, got {shown(items)}; write for instance {where}=[0]")
    return tuple(read(member, item, where) for item in items)


def _read_max_steps(value: Any, where: str) -> MaxSteps:
    if isinstance(value, Mapping):
        return MaxSteps({str(suite): _read_int(steps, _join(where, suite)) for suite, steps in value.items()})
    return MaxSteps(default=_read_int(value, where))


def _read_kwargs(value: Any, where: str) -> Kwargs:
    """Arguments as they were given: what a text among them means is the function's own to say."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a mapping of arguments, got {shown(value)}; write {where}.NAME=VALUE")
    return Kwargs({str(key): _read_json(inner, _join(where, key)) for key, inner in value.items()})


def _read_json(value: Any, where: str) -> Any:
    """A value of JSON's types, as a configuration file and a ledger can hold it."""
    if isinstance(value, Mapping):
        return {str(key): _read_json(inner, _join(where, key)) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_read_json(inner, where) for inner in value]
    if isinstance(value, str):
        return checked_text(value, where)
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ConfigError(
        f"{where}: expected a text, a finite number, true, false, null, or a list or mapping of such, "
        f"got {shown(value)}"
    )


def _read_names(value: Any, where: str) -> Names:
    """Names by dotted names, which a file or the command line may have taken for nested keys."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a mapping of names, got {shown(value)}; write {where}.OURS=THEIRS")
    return Names({key: _read_text(name, _join(where, key)) for key, name in flattened(value)})


_WHERE_NUMBERS_ARE = {"tasks": "; type: ray-eval list tasks SUITE, which has the tasks' numbers"}
"""By key, what a value that is no number is answered with."""


def _read_int(value: Any, where: str) -> int:
    is_text = isinstance(value, str) and _INTEGER.fullmatch(value) is not None and len(value) <= _MOST_DIGITS
    if (isinstance(value, int) and not isinstance(value, bool)) or is_text:
        number = int(value)
        if -_INTEGER_LIMIT <= number < _INTEGER_LIMIT:
            return number
    hint = _WHERE_NUMBERS_ARE.get(where, "")
    raise ConfigError(
        f"{where}: expected an integer of at most 64 bits without leading zeros, got {shown(value)}{hint}"
    )


def _read_float(value: Any, where: str) -> float:
    is_text = isinstance(value, str) and _NUMBER.fullmatch(value) is not None
    if (isinstance(value, (int, float)) and not isinstance(value, bool)) or is_text:
        with contextlib.suppress(OverflowError):
            number = float(value)
            if math.isfinite(number):
                return number
    raise ConfigError(f"{where}: expected a finite number, got {shown(value)}")


def _read_bool(value: Any, where: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in ("true", "false"):
        return value == "true"
    raise ConfigError(f"{where}: expected true or false, got {shown(value)}")


def _read_text(value: Any, where: str) -> str:
    if isinstance(value, str):
        return checked_text(value, where)
    raise ConfigError(f"{where}: expected a text, got {shown(value)}")


_SCALARS: Mapping[Any, Any] = {int: _read_int, float: _read_float, bool: _read_bool, str: _read_text}

"""Every key of a configuration with its default and what it says, read from the schema's own source."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import re
import textwrap
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ray_eval.config.presets import preset_names
from ray_eval.config.schema import OPERATIONAL_POLICY_KEYS, EvalConfig
from ray_eval.config.simulators import PROTOCOL_KEYS
from ray_eval.envs.registry import simulator_names, simulator_type
from ray_eval.errors import ConfigError, SetupError, did_you_mean
from ray_eval.sections import POLICY_TYPES


@dataclass(frozen=True, slots=True)
class Key:
    """One key that may be written."""

    name: str
    """Dotted name."""
    default: str
    """What it is unless said, as it would be written; `required` where it has to be said."""
    text: str
    """What it says."""
    changes_results: bool
    """Whether it is part of a run's identity."""
    owner: str = ""
    """The policy type or the simulator that has it, as `policy=lerobot`; empty where every run has it."""


def keys(prefix: str = "") -> list[Key]:
    """The keys that begin so, or all; `policy=lerobot` and `simulator=metaworld` give those of one type.

    Raises:
        ConfigError: there are none.
    """
    everything = list(_all_keys())
    found = [key for key in everything if _is_meant(key, prefix)]
    if not found:
        known = sorted({part for key in everything for part in (*_beginnings(key.name), key.owner) if part})
        raise ConfigError(f"keys: expected the beginning of a key, got {prefix!r}.{did_you_mean(prefix, known)}")
    return found


def _beginnings(name: str) -> Iterator[str]:
    """The key, and the sections that it is in."""
    return itertools.accumulate(name.split("."), "{}.{}".format)


def _is_meant(key: Key, prefix: str) -> bool:
    return prefix in ("", key.owner) or key.name == prefix or key.name.startswith(f"{prefix.removesuffix('.')}.")


def _all_keys() -> Iterator[Key]:
    yield from _keys_of(EvalConfig, "")
    for kind, section in POLICY_TYPES.items():
        name = f"policy={kind}" if kind in preset_names("policies") else f"policy.type={kind}"
        for key in _keys_of(section, "policy."):
            yield dataclasses.replace(key, owner=name, changes_results=key.name not in OPERATIONAL_POLICY_KEYS)
    for name in simulator_names():
        try:
            settings = simulator_type(name).settings_type
        except SetupError:
            continue
        for key in _keys_of(settings, "simulator."):
            if key.name.removeprefix("simulator.") not in PROTOCOL_KEYS:
                yield dataclasses.replace(key, owner=f"simulator={name}")


def _keys_of(schema: type, prefix: str, *, changes: bool = True) -> Iterator[Key]:
    """The leaves of a section, those of sections in it included."""
    hints, texts = typing.get_type_hints(schema), _field_texts(schema)
    for item in dataclasses.fields(schema):
        name, inner = f"{prefix}{item.name}", _section_in(hints[item.name])
        changed = changes and item.metadata.get("kind") != "operational"
        if name in ("policy", "simulator.own"):
            continue
        if inner is not None:
            yield from _keys_of(inner, f"{name}.", changes=changed)
        else:
            yield Key(name, _default(item), texts.get(item.name, ""), changed)


def _section_in(hint: Any) -> type | None:
    """The section that a field holds, where it holds one."""
    members = [member for member in typing.get_args(hint) or (hint,) if dataclasses.is_dataclass(member)]
    return typing.cast("type", members[0]) if len(members) == 1 else None


def _default(item: dataclasses.Field[Any]) -> str:
    if item.default_factory is not dataclasses.MISSING:
        return _written(item.default_factory())
    return "required" if item.default is dataclasses.MISSING else _written(item.default)


def _written(value: Any) -> str:
    """The value as it is written on a command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"[{','.join(map(_written, value))}]"
    return "" if isinstance(value, dict) and not value else str(value)


@functools.cache
def _field_texts(schema: type) -> dict[str, str]:
    """What stands under each field in the source, a line; a base class's fields included."""
    texts: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        lines = typing.cast("ast.ClassDef", body).body
        for field, below in itertools.pairwise(lines):
            is_field = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            if is_field and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                name = typing.cast("ast.Name", typing.cast("ast.AnnAssign", field).target).id
                texts[name] = re.sub(r"\bNone\b", "null", " ".join(str(below.value.value).split()))
    return texts

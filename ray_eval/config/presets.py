"""The presets that ship with ray-eval, and the reading of configuration files; the only module that knows OmegaConf."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ray_eval.errors import ConfigError, did_you_mean
from ray_eval.sections import Kwargs, shown


class _TextLoader(yaml.BaseLoader):
    """Leaves every scalar as text, whose meaning the schema's type decides, and refuses a key that is there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for index, key in enumerate(keys):
            if any(key.value == other.value for other in keys[:index]):
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} twice", key.start_mark)
        return super().construct_mapping(node, deep=deep)

    def construct_tagged(self, node: yaml.ScalarNode) -> Any:
        """The value of a scalar whose type is written before it, as in `!!int 3`."""
        text = str(self.construct_scalar(node))
        try:
            return _TAGGED[node.tag][1](text)
        except (KeyError, ValueError):
            raise yaml.constructor.ConstructorError(
                None, None, f"{text!r} behind a tag that it does not fit", node.start_mark
            ) from None


_TAG = "tag:yaml.org,2002:"
_TAGGED: Mapping[str, tuple[type, Callable[[str], Any]]] = {
    f"{_TAG}bool": (bool, {"true": True, "false": False}.__getitem__),
    f"{_TAG}int": (int, int),
    f"{_TAG}float": (float, float),
    f"{_TAG}null": (type(None), {"null": None, "": None}.__getitem__),
}
"""The types that a scalar can be given by a tag before it, and what reads its text."""
for _tag in _TAGGED:
    _TextLoader.add_constructor(_tag, _TextLoader.construct_tagged)


@dataclass(frozen=True, slots=True)
class _Typed:
    """A scalar that is no text, where only its tag tells it from one."""

    value: bool | int | float | None


class _Dumper(yaml.SafeDumper):
    """Writes the type of what nobody but the reader of a `Kwargs` knows the type of."""

    def represent_typed(self, typed: _Typed) -> yaml.ScalarNode:
        tag = next(tag for tag, (kind, _) in _TAGGED.items() if isinstance(typed.value, kind))
        # In quotes, a tag is never left out.
        return self.represent_scalar(tag, json.dumps(typed.value), style='"')


_Dumper.add_representer(_Typed, _Dumper.represent_typed)


LIBEROS = ("libero_plus",)
"""Simulators that LIBERO's protocols are for as well."""


def configs_folder() -> Path:
    """The folder of presets: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def preset_names(kind: str) -> tuple[str, ...]:
    """Names of the presets of a kind: `protocols`, `policies`, `suites`, or `.` for whole evaluations."""
    return tuple(sorted(path.stem for path in (configs_folder() / kind).glob("*.yaml")))


def preset_words(kind: str, name: str) -> str:
    """What a preset's first line says of it."""
    first = (configs_folder() / kind / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def protocol_names(simulator: str) -> tuple[str, ...]:
    """Names of a simulator's protocols: those of its own folder, else those beside the folders, which are LIBERO's.

    LIBERO-Plus has LIBERO's beside its own.
    """
    own = own_protocol_names(simulator)
    return own if own and simulator not in LIBEROS else (*own, *preset_names("protocols"))


def own_protocol_names(simulator: str) -> tuple[str, ...]:
    """Names of the protocols in a simulator's own folder; empty where it has none."""
    return preset_names(f"protocols/{simulator}")


def load_protocol(simulator: str, name: str) -> dict[str, Any]:
    """A protocol's mapping, its scalars as text; the same name may stand for one of each simulator.

    Raises:
        ConfigError: the simulator has no such protocol.
    """
    own = own_protocol_names(simulator)
    is_shared = not own or (simulator in LIBEROS and name in preset_names("protocols"))
    return load_preset("protocols" if is_shared else f"protocols/{simulator}", name, protocol_names(simulator))


_KINDS = {"protocols": "protocol", "policies": "policy", "suites": "suite group", "executions": "execution"}


def _of_a_policy(name: str) -> str:
    """What is most often meant by a word that is no policy."""
    if ":" in name:
        return f" A class or function of yours is policy=torch policy.entrypoint={name}"
    return " A LeRobot checkpoint of any type is policy=lerobot policy.path=FOLDER"


def load_preset(kind: str, name: str, names: tuple[str, ...] | None = None) -> dict[str, Any]:
    """A preset's mapping, its scalars as text.

    Args:
        kind: a folder of presets.
        name: one of them.
        names: what a wrong name is told; None for the folder's.

    Raises:
        ConfigError: there is no such preset.
    """
    known = names or preset_names(kind)
    if name not in known:
        folder, _, simulator = kind.partition("/")
        what = _KINDS.get(folder, "evaluation")
        whose = f" for the simulator {simulator}" if simulator else ""
        hint = did_you_mean(name, known) or (_of_a_policy(name) if folder == "policies" else "")
        raise ConfigError(f"{what}: expected one of {', '.join(known)}{whose}, got {name!r}.{hint}")
    return read_file(configs_folder() / kind / f"{name}.yaml")


def read_file(path: Path) -> dict[str, Any]:
    """A YAML file's mapping: scalars as text but for tagged ones, `${...}` resolved, dotted keys nested.

    Raises:
        ConfigError: it cannot be read, or is no mapping.
    """
    try:
        loaded = yaml.load(path.read_text(encoding="utf-8"), Loader=_TextLoader)  # noqa: S506 - builds text only
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(_unreadable(path, error)) from error
    except RecursionError:
        raise ConfigError(f"{path}: expected readable YAML, got brackets nested too deeply") from None
    if loaded in (None, ""):
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(_no_mapping(path, loaded))
    try:
        resolved = OmegaConf.to_container(OmegaConf.create(loaded), resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: expected interpolations that resolve, got {error}") from error
    return nested(typing.cast("dict[str, Any]", resolved))


def _unreadable(path: Path, error: Exception) -> str:
    """Why a file is no YAML, and where in it."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"{path}: expected readable YAML, got {error}"
    place = f"line {mark.line + 1}, column {mark.column + 1}"
    problem = " ".join(filter(None, (getattr(error, "problem", None), getattr(error, "context", None))))
    return f"{path}: expected readable YAML, got at {place}: {problem}; a file has KEY: VALUE, one a line"


def _no_mapping(path: Path, loaded: Any) -> str:
    kind = "a list" if isinstance(loaded, list) else "one value"
    return f"{path}: expected a mapping of keys to values, got {kind}; a file has KEY: VALUE, one a line"


def read_plain(path: Path) -> dict[str, Any]:
    """A YAML file's mapping as YAML itself reads it: a file that is not ours.

    Raises:
        ConfigError: it cannot be read, or is no mapping.
    """
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(_unreadable(path, error)) from error
    if not isinstance(loaded, dict):
        raise ConfigError(_no_mapping(path, loaded))
    return loaded


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's mapping, as it stands.

    Raises:
        ConfigError: it cannot be read, or is no mapping.
    """
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: expected readable JSON, got {error}") from error
    if not isinstance(loaded, dict):
        raise ConfigError(_no_mapping(path, loaded))
    return loaded


def to_yaml(values: Mapping[str, Any]) -> str:
    """A mapping of JSON values as YAML that `read_file` reads back; texts that look like interpolations are escaped."""
    return yaml.dump(_escaped(dict(values)), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)


def _escaped(value: Any, *, is_typed: bool = False) -> Any:
    """The value as it is to be written, with its types where the schema knows none."""
    is_typed = is_typed or isinstance(value, Kwargs)
    if isinstance(value, Mapping):
        return {key: _escaped(inner, is_typed=is_typed) for key, inner in value.items()}
    if isinstance(value, list):
        return [_escaped(inner, is_typed=is_typed) for inner in value]
    if is_typed and not isinstance(value, str):
        return _Typed(value)
    # OmegaConf takes 2n + 1 backslashes before `${` for n of them and a `${` that is meant as it stands.
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested mappings.

    Raises:
        ConfigError: one key has both a value of its own and something below it.
    """
    result: dict[str, Any] = {}
    for key, value in values.items():
        *parents, leaf = str(key).split(".")
        here = result
        for parent in parents:
            here = here.setdefault(parent, {})
            if not isinstance(here, dict):
                raise ConfigError(f"{key}: expected nothing below {parent}, which has a value of its own; drop one")
        inner = nested(value) if isinstance(value, Mapping) else value
        here[leaf] = merged(here[leaf], inner) if isinstance(here.get(leaf), dict) else inner
    return result


def merged(under: Mapping[str, Any], over: Any) -> dict[str, Any]:
    """Two nested mappings as one, the second's leaves on top."""
    if not isinstance(over, Mapping):
        raise ConfigError(f"expected a mapping with some of {', '.join(under)}, got {shown(over)}")
    result = dict(under)
    for key, value in over.items():
        both = isinstance(result.get(key), Mapping) and isinstance(value, Mapping)
        result[key] = merged(result[key], value) if both else value
    return result

"""The user's configuration: presets, a file, and `key=value` overrides become one frozen `EvalConfig`."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray_eval.config.paths import is_url, settled, user_path
from ray_eval.config.presets import (
    configs_folder,
    load_preset,
    load_protocol,
    merged,
    nested,
    own_protocol_names,
    preset_names,
    preset_words,
    protocol_names,
    read_file,
    read_json,
    read_plain,
    to_yaml,
)
from ray_eval.config.reading import UNSET, check_keys, checked_text, read, read_section, split_list
from ray_eval.config.schema import (
    AUTO_ADDRESS,
    EvalConfig,
    ExecutionConfig,
    LatencyConfig,
    LimitsConfig,
    MaxSteps,
    ProtocolConfig,
    RayConfig,
    RecordConfig,
    RenderConfig,
    ServingConfig,
    SimulatorConfig,
)
from ray_eval.config.simulators import named_simulator, own_rate, protocol_for, read_simulator, simulator_section
from ray_eval.envs.registry import simulator_type
from ray_eval.errors import ConfigError, did_you_mean
from ray_eval.sections import PolicySection, shown

__all__ = [
    "AUTO_ADDRESS",
    "EvalConfig",
    "ExecutionConfig",
    "LatencyConfig",
    "LimitsConfig",
    "MaxSteps",
    "ProtocolConfig",
    "RayConfig",
    "RecordConfig",
    "RenderConfig",
    "ServingConfig",
    "SimulatorConfig",
    "check_writable",
    "checked_text",
    "configs_folder",
    "is_file",
    "is_url",
    "load_config",
    "load_policy",
    "own_protocol_names",
    "preset_names",
    "preset_words",
    "protocol_names",
    "read_json",
    "read_plain",
    "simulator_section",
    "to_yaml",
    "user_path",
]

PRESET_FOLDERS: Mapping[str, str] = {"protocol": "protocols", "policy": "policies", "execution": "executions"}
"""Keys that take the name of a preset, and the folder of those presets."""

QUEUE_KEYS = ("actions_per_chunk", "chunk_size_threshold", "aggregate", "underrun", "queue", "similarity_atol")
"""Keys of `execution` that say how the chunk queue works while the world goes on."""

MODE_KEYS: Mapping[str, tuple[str, ...]] = {
    "sync": ("actions_per_chunk",),
    "async": (*QUEUE_KEYS, "latency"),
    "realtime": (*QUEUE_KEYS, "fps"),
}
"""Keys of `execution` beside `mode`, by mode."""

ASYNC_DEFAULTS: Mapping[str, Any] = {
    "aggregate": "latest_only",
    "underrun": "hold",
    "queue": "virtual",
}
"""What async and realtime take for keys that nobody set: without latency they are sync, action for action."""


@dataclass(frozen=True)
class _Overrides:
    """What the command line says: presets by section, and values by nested key."""

    presets: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


def load_config(source: str | Path | Mapping[str, Any] | None = None, overrides: Sequence[str] = ()) -> EvalConfig:
    """The configuration from a file, a name under `configs/` or a mapping, with `key=value` overrides on top.

    Presets are taken first, wherever on the command line they stand; overrides go on top of them.

    Raises:
        ConfigError: something cannot be run as written; the message says where, and what to write.
    """
    is_ours, base = _read_source(source)
    said = _parse_overrides(overrides)
    for layer in (base, said.values):
        check_keys(EvalConfig, layer, "")
        _check_sections(layer)
    suites = _expand_suites(_named_suite(merged(base, said.values)))
    simulator = named_simulator(merged(base, said.values).get("simulator"), suites)
    opened = _open_presets({**base, **said.presets}, simulator)
    values = _layered(opened, said.values)
    values["suite"] = suites
    values["protocol"], values["execution"] = _resolve_mode(values, {} if is_ours else base, said.values)
    # What a protocol chooses of the simulator lies under what the user says of it.
    chosen = merged(values["protocol"].pop("simulator", {}), values.get("simulator", {}))
    values["protocol"] = protocol_for(simulator, values["protocol"])
    values["simulator"] = read_simulator(chosen, simulator, suites)
    if values["execution"].get("mode") == "realtime" and values["execution"].get("fps") in UNSET:
        values["execution"]["fps"] = own_rate(simulator, values["simulator"].own)
    return _read_evaluation(values)


def load_policy(name: str, overrides: Sequence[str] = ()) -> tuple[PolicySection, ServingConfig]:
    """A policy, by its preset's name or as a file, with `policy.key=value` and `serving.key=value` on top.

    Raises:
        ConfigError: something cannot be served as written.
    """
    said = _parse_overrides(overrides)
    for key in (*said.presets, *said.values):
        if key not in ("policy", "serving") or key in said.presets:
            raise ConfigError(f"{key}: expected policy.key=value or serving.key=value here, got {key}")
    file = _read_policy_file(Path(name))
    preset = load_preset("policies", name) if file is None else file
    values = merged(preset, said.values.get("policy", {}))
    serving: ServingConfig = read_section(ServingConfig, said.values.get("serving", {}), "serving")
    policy: PolicySection = read(PolicySection, values, "policy")
    return settled(policy, "policy"), settled(serving, "serving")


def _read_policy_file(path: Path) -> dict[str, Any] | None:
    """A policy's settings from YAML, or from JSON, whose values have their types; None where it is no file's name."""
    if path.suffix == ".json":
        return read_json(path)
    return read_file(path) if path.suffix in {".yaml", ".yml"} else None


def _read_source(source: str | Path | Mapping[str, Any] | None) -> tuple[bool, dict[str, Any]]:
    """Whether the source is one that ships with ray-eval, and its mapping."""
    if source is None:
        return True, {}
    if isinstance(source, Mapping):
        return False, nested(source)
    if not isinstance(source, (str, Path)):
        raise ConfigError(f"configuration: expected a file, a name or a mapping, got {shown(source)}")
    path = Path(checked_text(str(source), "configuration"))
    if path.suffix in {".yaml", ".yml"} or is_file(path):
        if not is_file(path):
            raise ConfigError(f"{path}: expected a configuration file, found none; check the path")
        return False, read_file(path)
    known = preset_names(".")
    if str(source) not in known:
        hint = did_you_mean(str(source), known)
        for key in ("policy", "suite", "protocol"):
            folder = PRESET_FOLDERS.get(key, "suites")
            hint = hint or (f" Did you mean {key}={source}?" if str(source) in preset_names(folder) else "")
        if str(source) in {item.name for item in dataclasses.fields(EvalConfig)}:
            hint = f" Did you mean {source}=VALUE?"
        raise ConfigError(f"{shown(str(source))}: expected a file or one of {', '.join(known)}, found neither.{hint}")
    return True, load_preset(".", str(source))


def is_file(path: Path) -> bool:
    """Whether a file is there; a path that no file can have is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def check_writable(path: Path, key: str) -> None:
    """Passes when a file of results can be written, before anything is computed for it; makes the folder.

    Raises:
        ConfigError: it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        path.open("ab").close()
        if is_new:
            path.unlink()
    except OSError as error:
        raise ConfigError(f"{key} {path}: expected a file that can be written, got {error.strerror}") from error


def _parse_overrides(overrides: Sequence[str]) -> _Overrides:
    if isinstance(overrides, (str, Mapping)) or not isinstance(overrides, Iterable):
        raise ConfigError(f"overrides: expected a list of texts like 'workers=2', got {shown(overrides)}")
    parsed: dict[str, str] = {}
    for text in overrides:
        key, separator, value = checked_text(text, "overrides").partition("=")
        if not separator:
            raise ConfigError(f"{shown(text)}: expected key=value, got no '='; write for instance workers=2")
        if not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", key):
            raise ConfigError(f"{shown(text)}: expected a dotted key before '=', got {shown(key)}")
        if key in parsed:
            raise ConfigError(f"{text}: expected {key} once, got it twice ({key}={parsed[key]}); leave one out")
        parsed[key] = value
    if "protocol.name" in parsed:
        raise ConfigError(
            f"protocol.name={parsed['protocol.name']}: expected a protocol to be chosen by its name alone, which "
            f"brings its values along; write protocol={parsed['protocol.name']}"
        )
    if "simulator" in parsed:
        parsed["simulator.name"] = parsed.pop("simulator")
    presets = {key: parsed.pop(key) for key in PRESET_FOLDERS if key in parsed}
    return _Overrides(presets, nested(parsed))


def _check_sections(layer: Mapping[str, Any]) -> None:
    """Passes when the sections that are put together key by key are mappings, or names of presets where those do.

    Raises:
        ConfigError: one is something else.
    """
    for key in ("protocol", "policy", "execution", "simulator"):
        section = layer.get(key, {})
        if isinstance(section, Mapping) or (isinstance(section, str) and key in PRESET_FOLDERS):
            continue
        example = f"{key}=NAME" if key in PRESET_FOLDERS else "execution.mode=async"
        raise ConfigError(f"{key}: expected a mapping, got {shown(section)}; write for instance {example}")


def _named_suite(values: Mapping[str, Any]) -> Any:
    """What is said of suites; a simulator that is named without any has one of its own name."""
    suite, simulator = values.get("suite"), values.get("simulator")
    name = simulator.get("name") if isinstance(simulator, Mapping) else None
    return name if suite in (None, "", "null", []) and name not in UNSET else suite


def _open_presets(values: Mapping[str, Any], simulator: str) -> dict[str, Any]:
    """The values with the sections that name a preset laid open."""
    opened = dict(values)
    opened["protocol"] = _open_protocol(values.get("protocol", {}), simulator)
    opened["execution"] = _open_execution(values.get("execution", {}))
    if isinstance(values.get("policy"), str):
        opened["policy"] = load_preset("policies", values["policy"])
    return opened


def _open_execution(section: Any) -> dict[str, Any]:
    if not isinstance(section, str):
        return merged({}, section)
    if section in MODE_KEYS:
        example, known = f"execution.mode={section}", ", ".join(preset_names("executions"))
        raise ConfigError(f"execution: expected a mapping or one of {known}, got a mode; write for instance {example}")
    return load_preset("executions", section)


def _open_protocol(section: Any, simulator: str) -> dict[str, Any]:
    """A preset by its name; a mapping goes on top of the one that its `name` names, else of the simulator's default."""
    if isinstance(section, str):
        return {"name": section, **load_protocol(simulator, section)}
    default = simulator_type(simulator).default_protocol
    name = section.get("name", default) if isinstance(section, Mapping) else default
    preset = load_protocol(simulator, name) if name in protocol_names(simulator) else {}
    return _layered({"protocol": {"name": name, **preset}}, {"protocol": section})["protocol"]  # type: ignore[no-any-return]


def _layered(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The second on top of the first, but for two mappings that take the other's place.

    A latency of one kind takes the place of one of another, and a budget with a default, which speaks of every
    suite, that of all others.
    """
    result = dict(under)
    if _is_set(over.get("execution"), "latency"):
        kinds = over["execution"]["latency"]
        latency = {key: value for key, value in (under["execution"].get("latency") or {}).items() if key in kinds}
        result["execution"] = {**under["execution"], "latency": latency}
    protocol = over.get("protocol")
    budgets = protocol.get("max_steps") if isinstance(protocol, Mapping) else None
    if isinstance(budgets, Mapping) and "default" in budgets:
        result["protocol"] = {key: value for key, value in under["protocol"].items() if key != "max_steps"}
    return merged(result, over)


def _expand_suites(suite: Any) -> list[str]:
    """Suite names, a group's name replaced by its members."""
    if suite in (None, "", "null", []):
        raise ConfigError(
            "suite: expected one, got none; write for instance suite=libero_object (ray-eval list suites)"
        )
    if not isinstance(suite, (str, list, tuple)):
        raise ConfigError(f"suite: expected one or a list in brackets, got {shown(suite)}")
    if isinstance(suite, str):
        suite = split_list(suite, "suite") if suite.startswith("[") or "," in suite else [suite]
    groups = preset_names("suites")
    return [member for name in suite for member in (_members(name) if name in groups else [name])]


def _members(group: str) -> list[str]:
    return [str(member) for member in load_preset("suites", group)["members"]]


def _resolve_mode(
    values: Mapping[str, Any], file: Mapping[str, Any], said: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The protocol and execution sections, with the keys of the other mode null.

    A threshold takes the place of `replan_steps`: both say when a chunk is asked for.

    A key of the other mode is an error where the user set it, and resolves to null where only a preset did, or
    where the command line chose the mode over the file's.
    """
    protocol, execution = dict(values["protocol"]), dict(values.get("execution", {}))
    mode = execution.get("mode", "sync")
    if not isinstance(mode, str):
        # The schema says what is wrong with it.
        return protocol, execution
    overruled = "mode" in said.get("execution", {})
    for layer in (said,) if overruled else (said, file):
        _refuse_other_mode(mode, layer)
    others = {key for keys in MODE_KEYS.values() for key in keys} - {*MODE_KEYS.get(mode, execution)}
    kept = {key: value for key, value in execution.items() if key not in others}
    if mode == "sync":
        return protocol, kept
    _refuse_two_rhythms(values, file, said)
    if _is_set(execution, "chunk_size_threshold"):
        protocol["replan_steps"] = None
    defaults = {key: value for key, value in ASYNC_DEFAULTS.items() if execution.get(key) in UNSET}
    if mode == "realtime":
        return protocol, {**defaults, **{k: v for k, v in kept.items() if v not in UNSET}}
    return protocol, {**kept, **defaults, "latency": _latency(execution.get("latency"))}


def _latency(section: Any) -> Any:
    """The latency section, 0 steps where nobody set anything."""
    if isinstance(section, Mapping) and any(value not in UNSET for value in section.values()):
        return section
    return {"steps": 0}


def _refuse_two_rhythms(values: Mapping[str, Any], file: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    """Passes unless the user says both when a chunk is asked for; a threshold overrules what lies under it."""
    overruled = _is_set(said.get("execution"), "chunk_size_threshold")
    layers = (said,) if overruled else (said, file)
    both = _is_set(values["execution"], "chunk_size_threshold") and _is_set(values["protocol"], "replan_steps")
    if both and any(_is_set(layer.get("protocol"), "replan_steps") for layer in layers):
        raise ConfigError(
            "protocol.replan_steps: expected nothing beside execution.chunk_size_threshold, as both say when a chunk "
            "is asked for; set one of them to null"
        )


def _refuse_other_mode(mode: str, layer: Mapping[str, Any]) -> None:
    section = layer.get("execution")
    for key in dict.fromkeys(itertools.chain(*MODE_KEYS.values())):
        if mode in MODE_KEYS and key not in MODE_KEYS[mode] and _is_set(section, key):
            others = " or ".join(f"execution.mode={other}" for other, keys in MODE_KEYS.items() if key in keys)
            reason = _REASONS[mode]
            raise ConfigError(f"execution.{key}: expected nothing in {mode} mode, {reason}; drop it, or set {others}")


_REASONS: Mapping[str, str] = {
    "sync": "where the simulator waits for the policy",
    "async": "which knows no clock",
    "realtime": "where latency is what it is",
}


def _is_set(section: Any, key: str) -> bool:
    value = section.get(key) if isinstance(section, Mapping) else None
    if isinstance(value, Mapping):
        return any(_is_set(value, inner) for inner in value)
    return value not in UNSET


def _read_evaluation(values: Mapping[str, Any]) -> EvalConfig:
    if "policy" not in values:
        known = ", ".join(preset_names("policies"))
        raise ConfigError(f"policy: expected one of {known}, got none; write for instance policy=oracle")
    config: EvalConfig = settled(read_section(EvalConfig, values, ""))
    return config

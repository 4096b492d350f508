"""The section `simulator`: which simulator a configuration means, and its own keys, read by its own type."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from ray_eval.config.reading import UNSET, read, read_section
from ray_eval.config.schema import EvalConfig, ProtocolConfig, SimulatorConfig
from ray_eval.envs.registry import simulator_of_suite, simulator_type
from ray_eval.errors import ConfigError, did_you_mean
from ray_eval.sections import Kwargs, SimulatorSection, shown

PROTOCOL_KEYS = frozenset(item.name for item in dataclasses.fields(ProtocolConfig))
OWN_PROTOCOL_KEYS = tuple(
    name
    for name in ("settle_steps", "settle_action", "init_states", "instruction", "state_format", "gripper", "control")
)
"""Keys of `protocol` that only some simulators have: they are null for the others."""


def named_simulator(section: Any, suites: Sequence[str]) -> str:
    """Name of the simulator that a configuration means: the one it names, or the one whose suites they are.

    Raises:
        ConfigError: the suites belong to several, or there is none of that name.
    """
    given = section.get("name") if isinstance(section, Mapping) else section
    if given not in UNSET:
        simulator_type(str(given))
        return str(given)
    names = list(dict.fromkeys(simulator_of_suite(suite) for suite in suites))
    if len(names) > 1:
        raise ConfigError(
            f"suite: expected suites of one simulator, got those of {' and '.join(names)}; make a run of each"
        )
    return names[0]


def read_simulator(section: Mapping[str, Any], name: str, suites: Sequence[str]) -> SimulatorConfig:
    """The section with the simulator's own keys, every value final.

    Args:
        section: `name`, `python`, and the simulator's own keys.
        name: The simulator that is meant.
        suites: The configuration's; a name that they give away is not kept, so that nothing says it twice.

    Raises:
        ConfigError: a key that the simulator does not have, or a value that its type does not take.
    """
    fields = own_fields(name)
    for key in section:
        if key not in ("name", "python", *fields):
            known = ("python", *fields)
            raise ConfigError(
                f"simulator.{key}: expected one of {', '.join(known)} for {name}; no such key."
                f"{did_you_mean(key, known)}"
            )
    settings_type = simulator_type(name).settings_type
    hints = typing.get_type_hints(settings_type)
    given = {key: read(hints[key], section[key], f"simulator.{key}") for key in fields if key in section}
    settings = _made(settings_type, given)
    own = Kwargs({key: _plain(getattr(settings, key)) for key in fields})
    python = read_section(SimulatorConfig, {key: section[key] for key in ("python",) if key in section}, "simulator")
    is_told = any(simulator_of_suite(suite) != name for suite in suites)
    return SimulatorConfig(name if is_told else None, python.python, own)


def own_fields(name: str) -> tuple[str, ...]:
    """A simulator's keys that are not keys of `protocol`."""
    fields = dataclasses.fields(simulator_type(name).settings_type)
    return tuple(item.name for item in fields if item.name not in PROTOCOL_KEYS)


def own_rate(name: str, own: Mapping[str, Any]) -> int:
    """Control steps per second of a simulator's own time, to the nearest whole number.

    Args:
        name: The simulator.
        own: Its own keys, of which `control_hz` comes first where it has that.

    Raises:
        ConfigError: neither they nor its class say it.
    """
    rate: float | None = own.get("control_hz") or getattr(simulator_type(name), "control_hz", None)
    if rate is None:
        raise ConfigError(
            f"execution.fps: expected control steps per second in realtime mode, got none, and the simulator {name} "
            "does not say its rate beforehand; write execution.fps=N"
        )
    return round(rate)


def protocol_for(name: str, protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The section `protocol` with null for what the simulator does not have.

    Raises:
        ConfigError: such a key is set.
    """
    has = {item.name for item in dataclasses.fields(simulator_type(name).settings_type)}
    missing = [key for key in OWN_PROTOCOL_KEYS if key not in has]
    for key in missing:
        if protocol.get(key) not in UNSET:
            raise ConfigError(
                f"protocol.{key}: expected nothing for the simulator {name}, which has no such choice, got "
                f"{shown(protocol[key])} (protocol {shown(protocol.get('name'))}); write "
                f"protocol={simulator_type(name).default_protocol}, or leave it out"
            )
    return {**protocol, **dict.fromkeys(missing)}


def simulator_section(config: EvalConfig) -> SimulatorSection:
    """What a configuration says of its simulator, as envs get it.

    Raises:
        ConfigError: the suites belong to several simulators.
    """
    name = named_simulator({"name": config.simulator.name}, config.suite)
    settings_type = simulator_type(name).settings_type
    hints = typing.get_type_hints(settings_type)
    own = {key: read(hints[key], value, f"simulator.{key}") for key, value in config.simulator.own.items()}
    shared = {
        item.name: getattr(config.protocol, item.name)
        for item in dataclasses.fields(settings_type)
        if item.name in PROTOCOL_KEYS and getattr(config.protocol, item.name) is not None
    }
    return SimulatorSection(name, _made(settings_type, {**own, **shared}), config.simulator.python)


def _made(settings_type: type, values: Mapping[str, Any]) -> Any:
    return settings_type(**values)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

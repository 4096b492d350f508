"""Which simulators there are: ours by folder, plug-ins by entry point; imports none of them before it is asked for."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ray_eval.errors import ConfigError, SetupError, did_you_mean
from ray_eval.foreign import told
from ray_eval.interfaces import Simulator
from ray_eval.sections import SimulatorSection

ENTRY_POINT: Final = "ray_eval.simulators"
"""Group of the entry points that plug-ins are found by: `name = package.module:Class`."""

BUILT_IN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fake": "ray_eval.envs.fake:FakeSimulator",
        "aloha": "ray_eval.envs.aloha.simulator:AlohaSimulator",
        "metaworld": "ray_eval.envs.metaworld.simulator:MetaworldSimulator",
        "pusht": "ray_eval.envs.pusht.simulator:PushtSimulator",
        "gymnasium": "ray_eval.envs.gymnasium.simulator:GymnasiumSimulator",
        "libero_plus": "ray_eval.envs.libero_plus.simulator:LiberoPlusSimulator",
        "libero": "ray_eval.envs.libero.simulator:LiberoSimulator",
    }
)
"""Where the class of each simulator of ours is. The last one is asked for a suite that no other claims."""


def simulator_names() -> tuple[str, ...]:
    """Every simulator, ours first."""
    return tuple(dict.fromkeys([*BUILT_IN, *_plug_ins()]))


def simulator_type(name: str) -> type[Simulator]:
    """The class of a simulator.

    Raises:
        ConfigError: there is none of that name.
        SetupError: a plug-in cannot be imported.
    """
    place = BUILT_IN.get(name) or _plug_ins().get(name)
    if place is None:
        known = simulator_names()
        raise ConfigError(f"simulator: expected one of {', '.join(known)}, got {name!r}.{did_you_mean(name, known)}")
    module, _, attribute = place.partition(":")
    try:
        found: type[Simulator] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SetupError(f"simulator {name}: expected {place} to be imported, got {told(error)}") from error
    return found


def simulator_of_suite(suite: str) -> str:
    """Name of the simulator that a suite's name belongs to, ours first; the last of ours where nobody claims it."""
    names = simulator_names()
    return next((name for name in names if simulator_type(name).has_suite(suite)), tuple(BUILT_IN)[-1])


@functools.lru_cache(maxsize=64)
def simulator_for(section: SimulatorSection, suite: str = "") -> Simulator:
    """The simulator of a section, or of the suite where the section names none, in this process; made once.

    Raises:
        ConfigError: there is none of that name.
        SetupError: a plug-in cannot be imported.
    """
    kind = simulator_type(simulator_of_suite(suite) if section.name is None else section.name)
    # A class of the protocol's shape: how it is made is said in `Simulator`, which no protocol can type.
    return kind(kind.settings_type() if section.own is None else section.own)  # type: ignore[call-arg]


def _plug_ins() -> Mapping[str, str]:
    return _plug_ins_below(tuple(sys.path))


@functools.lru_cache(maxsize=4)
def _plug_ins_below(_path: tuple[str, ...]) -> Mapping[str, str]:
    """Plug-ins by name, looked for once: it opens every distribution on the path, and a plan asks for each episode."""
    points = importlib.metadata.entry_points(group=ENTRY_POINT)
    return MappingProxyType({point.name: point.value for point in points})

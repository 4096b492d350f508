"""What a process would make episodes of: asked in the driver and in workers, which have to agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray_eval.envs.digests import FileDigests, memory_file
from ray_eval.envs.origins import origins
from ray_eval.envs.registry import open_simulator, simulator_of_suite
from ray_eval.sections import SimulatorSection
from ray_eval.types import Contents, EpisodeSpec, Origin

OWN = "ray_eval"
"""The package that is looked at beside the simulators': it has to be the same everywhere, whatever its version."""


def look(episodes: Sequence[EpisodeSpec]) -> Contents:
    """Where the packages behind these episodes come from here, and what else decides their numbers.

    Raises:
        ConfigError: a suite or a task is unknown here.
        SetupError: a package or a file is missing here, or cannot be read.
    """
    digests = FileDigests(memory_file())
    places: dict[str, Origin] = dict(origins((OWN,), digests))
    digests.save()
    identity: dict[str, Any] = {}
    for name in sorted({simulator_of_suite(episode.suite) for episode in episodes}):
        simulator = open_simulator(SimulatorSection(name))
        places |= simulator.origins()
        identity |= simulator.identity([each for each in episodes if simulator_of_suite(each.suite) == name])
    return Contents(places, identity)

"""What a process would make episodes of: asked in the driver and in workers, which have to agree."""

from __future__ import annotations

from collections.abc import Sequence

from ray_eval.envs.digests import FileDigests, memory_file
from ray_eval.envs.origins import origins
from ray_eval.interfaces import Simulator
from ray_eval.types import Contents, EpisodeSpec, Origin

OWN = "ray_eval"
"""The package that is looked at beside the simulators': it has to be the same everywhere, whatever its version."""


def look(simulator: Simulator, episodes: Sequence[EpisodeSpec]) -> Contents:
    """Where the packages behind these episodes come from here, and what else decides their numbers.

    Raises:
        ConfigError: a suite or a task is unknown here.
        SetupError: a package or a file is missing here, or cannot be read.
    """
    digests = FileDigests(memory_file())
    places: dict[str, Origin] = dict(origins((OWN,), digests))
    digests.save()
    return Contents({**places, **simulator.origins()}, dict(simulator.identity(episodes)))

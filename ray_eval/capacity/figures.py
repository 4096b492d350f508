"""What a calibration measured of a configuration, or somebody wrote down: what a forecast draws from; pure."""

from __future__ import annotations

import bisect
import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from ray_eval.errors import ConfigError
from ray_eval.sections import WORKER_MEMORY_BYTES, require


@dataclass(frozen=True, slots=True)
class EpisodeFigures:
    """One measured episode."""

    steps: int
    """Control steps."""
    requests: int
    """Requests to the policy."""
    own_s: float
    """The worker's own time: simulating, rendering, encoding; without waiting for answers."""
    task: str = ""
    """`suite/task_id`; an episode of that task is preferred where one of it is predicted."""

    def __post_init__(self) -> None:
        require(self.steps >= 1, "episodes.steps", "1 or more", self.steps)
        require(self.requests >= 0, "episodes.requests", "0 or more", self.requests)
        require(self.own_s >= 0, "episodes.own_s", "0 or more", self.own_s)


@dataclass(frozen=True, slots=True)
class Figures:
    """All that a prediction needs to know."""

    episodes: tuple[EpisodeFigures, ...]
    """Measured episodes; each predicted one is drawn from them."""
    forward_s: Mapping[int, float]
    """Time of a forward, by its rows; between two sizes it is drawn as a line, and so beyond the last two."""
    overhead_s: float = 0.0
    """What a request takes beside its wait and its forward."""
    dispatch_s: float = 0.0
    """From a worker's result to its next episode."""
    build_s: float = 0.0
    """Time to build a task's simulator."""
    start_s: float = 0.0
    """From the command to the first episode: Ray, workers, policy."""
    end_s: float = 0.0
    """From the last result to the end of the program."""
    worker_bytes: int = WORKER_MEMORY_BYTES
    """Memory of a worker."""
    policy_bytes: int = 0
    """Host memory of a policy server."""
    source: str = ""
    """Where they were measured, for a person."""
    _sizes: tuple[int, ...] = field(init=False, repr=False, default=())

    def __post_init__(self) -> None:
        require(bool(self.episodes), "figures.episodes", "one or more", self.episodes)
        require(bool(self.forward_s), "figures.forward_s", "a time for one size or more", self.forward_s)
        require(min(self.forward_s) >= 1, "figures.forward_s", "sizes from 1 on", min(self.forward_s))
        require(min(self.forward_s.values()) >= 0, "figures.forward_s", "times, none negative", self.forward_s)
        object.__setattr__(self, "_sizes", tuple(sorted(self.forward_s)))

    def forward(self, rows: int) -> float:
        """Time of a forward of so many rows, s."""
        sizes, times = self._sizes, self.forward_s
        if len(sizes) == 1:
            return times[sizes[0]]
        upper = min(max(1, bisect.bisect_left(sizes, rows)), len(sizes) - 1)
        low, high = sizes[upper - 1], sizes[upper]
        slope = (times[high] - times[low]) / (high - low)
        return max(0.0, times[low] + slope * (rows - low))

    def to_json(self) -> dict[str, Any]:
        """As a file has them."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.init}
        return {
            **values,
            "episodes": [dataclasses.asdict(episode) for episode in self.episodes],
            "forward_s": {str(size): time_s for size, time_s in sorted(self.forward_s.items())},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str) -> Self:
        """Those of a file.

        Raises:
            ConfigError: it lacks some, or has others.
        """
        known = {item.name for item in dataclasses.fields(cls) if item.init}
        if not isinstance(values, Mapping) or not {"episodes", "forward_s"} <= values.keys() <= known:
            got = sorted(values) if isinstance(values, Mapping) else type(values).__name__
            raise ConfigError(f"{where}: expected episodes, forward_s and maybe {', '.join(sorted(known))}, got {got}")
        try:
            episodes = tuple(EpisodeFigures(**episode) for episode in values["episodes"])
            forward_s = {int(size): float(time_s) for size, time_s in values["forward_s"].items()}
            return cls(**{**values, "episodes": episodes, "forward_s": forward_s})
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"{where}: expected figures as `ray-eval plan --save` writes them, got {error}"
            ) from error


def own_time_s(wall_s: float, waits_s: Sequence[float], steps: int, lead_steps: int = 0) -> float:
    """A worker's own time in an episode: all of it less what it stood still for answers.

    In virtual time a request is sent ahead by `lead_steps`, and stood still for only beyond the time these take.
    """
    own_s = wall_s - sum(waits_s)
    if lead_steps == 0:
        return max(0.0, own_s)
    own_s = wall_s
    # Each round knows the length of a step better than the one before.
    for _ in range(8):
        lead_s = lead_steps * own_s / max(1, steps)
        own_s = max(0.0, wall_s - sum(max(0.0, wait_s - lead_s) for wait_s in waits_s))
    return own_s


def scaled(forward: Callable[[int], float], sizes: Sequence[int], rows: float, measured_s: float) -> dict[int, float]:
    """A curve that was measured at rest, made as slow as forwards of so many rows were among all else."""
    lower = int(rows)
    at_rest = forward(lower) + (rows - lower) * (forward(lower + 1) - forward(lower))
    factor = measured_s / at_rest if at_rest > 0 and measured_s > 0 else 1.0
    return {size: factor * forward(size) for size in sizes}


def median_or(values: Sequence[float], otherwise: float) -> float:
    """The median; something else where there are none."""
    return statistics.median(values) if values else otherwise

"""Experiment trackers that a run can be told to: one small interface, a file for each, each loaded when it is named."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

from ray_eval.errors import ConfigError, did_you_mean


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """What a tracker is told of a run when it is opened."""

    id: str
    """Name of the run that stays over resumes, 8 hexadecimal digits."""
    name: str
    """The run's folder, for a person."""
    folder: Path
    """The same as a path; what a tracker keeps on this machine goes below it."""
    config: Mapping[str, Any]
    """The resolved configuration by dotted keys."""
    known: Mapping[str, str] = field(default_factory=dict)
    """What the tracker itself asked to be kept when the run was opened before, as by `keep`."""


class Tracker(Protocol):
    """One experiment tracker; used by one thread of the driver, and whatever it raises ends it and nothing else."""

    def open(self, run: TrackedRun) -> Mapping[str, str]:
        """Begins the run, or goes on with the one of its id; what is to be known at the next time."""
        ...

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Figures after so many finished episodes."""
        ...

    def close(self, summary: Mapping[str, Any], *, is_complete: bool) -> None:
        """Ends the run with its result."""
        ...


PLACES: Final = MappingProxyType(
    {
        "tensorboard": ("tensorboardX", "ray_eval.track.tensorboard:TensorBoard", "tensorboardX"),
        "wandb": ("wandb", "ray_eval.track.wandb:WeightsAndBiases", "wandb"),
        "mlflow": ("mlflow", "ray_eval.track.mlflow:MLflow", "mlflow"),
        "trackio": ("trackio", "ray_eval.track.trackio:Trackio", "trackio"),
    }
)
"""By name: the package that must be there, where the tracker is, and what to install."""
PROJECT: Final = "ray-eval"
"""Project, or experiment, of runs whose tracker's own variables name no other."""


def check_trackers(names: Sequence[str]) -> None:
    """Passes where every tracker is known and its package is installed.

    Raises:
        ConfigError: one is not.
    """
    for name in names:
        if name not in PLACES:
            known = ", ".join(PLACES)
            raise ConfigError(f"track: expected some of {known}, got {name!r}.{did_you_mean(name, PLACES)}")
        package, _, distribution = PLACES[name]
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"track=[{name}]: expected {package} to be installed, found none; pip install {distribution}"
            )


def make_tracker(name: str) -> Tracker:
    """The tracker of a name that `check_trackers` has passed."""
    module, _, attribute = PLACES[name][1].partition(":")
    made: Tracker = getattr(importlib.import_module(module), attribute)()
    return made

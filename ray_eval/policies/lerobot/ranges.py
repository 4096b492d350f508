"""What a checkpoint's statistics say of its training data, as ranges that an observation can be held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ray_eval.policies.lerobot.features import Wiring
from ray_eval.types import ACTION, TrainingRange

SPREAD = 5.0
"""Standard deviations around the mean that stand for the range where the extremes are not recorded."""
_PAIRS = (("min", "max"), ("q01", "q99"))


def training_ranges(statistics: Mapping[str, Mapping[str, Any]], wiring: Wiring) -> tuple[TrainingRange, ...]:
    """Ranges of the inputs that are fed, by the observation's keys, and of the action."""
    sources = {**wiring.sources, ACTION: ACTION}
    ranges = (_range(key, statistics.get(name, {})) for name, key in sources.items())
    return tuple(each for each in ranges if each is not None)


def _range(key: str, values: Mapping[str, Any]) -> TrainingRange | None:
    for low, high in _PAIRS:
        if low in values and high in values:
            return TrainingRange(key, _numbers(values[low]), _numbers(values[high]), f"{low}, {high}")
    if "mean" not in values or "std" not in values:
        return None
    mean, std = np.array(_numbers(values["mean"])), np.array(_numbers(values["std"]))
    lowest, highest = (mean - SPREAD * std).tolist(), (mean + SPREAD * std).tolist()
    return TrainingRange(key, tuple(lowest), tuple(highest), "mean, std")


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in np.asarray(values, dtype=np.float64).ravel())

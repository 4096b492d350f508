"""What a checkpoint's statistics say of its training data, as ranges that an observation can be held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ray_eval.policies.lerobot.features import Wiring
from ray_eval.types import ACTION, FloatArray, TrainingRange

SPREAD = 5.0
"""Standard deviations around the mean that stand for the range where the extremes are not recorded."""
_PAIRS = (("min", "max"), ("q01", "q99"))


def training_ranges(statistics: Mapping[str, Mapping[str, Any]], wiring: Wiring) -> tuple[TrainingRange, ...]:
    """Ranges of the inputs that are fed, by the observation's keys, and of the action."""
    sources = {**wiring.sources, ACTION: ACTION}
    widths = {feature.name: feature.shape[0] for feature in wiring.features}
    ranges = (_range(key, statistics.get(name, {}), widths.get(name)) for name, key in sources.items())
    return tuple(each for each in ranges if each is not None)


def _range(key: str, values: Mapping[str, Any], width: int | None) -> TrainingRange | None:
    """The range of `width` numbers; None where the statistics have none, or of another input."""
    for low, high in _PAIRS:
        if low in values and high in values:
            return _made(key, _rows(values[low], width), _rows(values[high], width), f"{low}, {high}")
    if "mean" not in values or "std" not in values:
        return None
    mean, std = _rows(values["mean"], width), _rows(values["std"], width)
    return _made(key, mean - SPREAD * std, mean + SPREAD * std, "mean, std")


def _made(key: str, low: FloatArray, high: FloatArray, source: str) -> TrainingRange | None:
    if not low.size or not high.size:
        return None
    return TrainingRange(key, tuple(low.min(axis=0).tolist()), tuple(high.max(axis=0).tolist()), source)


def _rows(values: Any, width: int | None) -> FloatArray:
    """Statistics as (rows, width), whatever LeRobot took them as: (D,), (1, D), (D, 1, 1), (H, D), or one number."""
    numbers = np.asarray(values, dtype=np.float64)
    if width is None:
        width = numbers.shape[-1] if numbers.ndim else 1
    if numbers.size == 1:
        return np.full((1, width), numbers.item())
    return numbers.reshape(-1, width) if numbers.size % width == 0 else np.empty((0, width))

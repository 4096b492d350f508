"""A policy's action as the simulator executes it; in LIBERO seven numbers, the last one the gripper's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from ray_eval.errors import ContractError
from ray_eval.sections import GripperTransform
from ray_eval.types import Array, FloatArray

ACTION_DIM: Final = 7
"""OSC pose delta (3 m + 3 rad, scaled to [-1, 1]) and the gripper."""
GRIPPER_OPEN: Final = -1.0
"""robosuite's gripper command that opens; +1 closes."""

DELTA_SCALE_M: Final = 0.05
"""Metres that a translation component of 1 commands in delta control. Source: robosuite@1.4.0 osc_pose.json."""
DELTA_SCALE_RAD: Final = 0.5
"""Radians that a rotation component of 1 commands in delta control. Source: robosuite@1.4.0 osc_pose.json."""


def _raw(value: float) -> float:
    return value


def _sign(value: float) -> float:
    return -1.0 if value < 0 else 1.0


def _openvla(value: float) -> float:
    """[0, 1] with 0 = close: to [-1, 1], binarised (0.5 gives 0), inverted."""
    return -float(np.sign(2.0 * value - 1.0)) + 0.0


def _starvla(value: float) -> float:
    return 1.0 - 2.0 * (value > 0.5)


def _above_half(value: float) -> float:
    return 1.0 if value > 0.5 else -1.0


GRIPPER_TRANSFORMS: Mapping[GripperTransform, Callable[[float], float]] = {
    "raw": _raw,
    "sign": _sign,
    "openvla": _openvla,
    "starvla": _starvla,
    "above_half": _above_half,
}
"""A policy's gripper value to robosuite's. Sources: PROTOCOLS, column `gripper out`."""


def native_action(action: Array, gripper: GripperTransform) -> FloatArray:
    """The (7,) float64 action that the simulator executes for a policy's (7,) action.

    Raises:
        ContractError: the shape is another, or a number is not finite.
    """
    native = checked_action(action, ACTION_DIM)
    native[-1] = GRIPPER_TRANSFORMS[gripper](float(native[-1]))
    return native


def checked_action(action: Array, dim: int) -> FloatArray:
    """A policy's (dim,) action as float64, a copy.

    Raises:
        ContractError: the shape is another, or a number is not finite.
    """
    native = np.array(action, dtype=np.float64)
    if native.shape != (dim,):
        raise ContractError(f"action: expected shape ({dim},), got {native.shape}; check its action_dim")
    if not np.isfinite(native).all():
        raise ContractError(f"action: expected finite numbers, got {native.tolist()}; check its normalisation")
    return native

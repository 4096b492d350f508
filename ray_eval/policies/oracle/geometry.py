"""Rotations and poses as NumPy arrays; pure, used by the oracle in the policy's process."""

from __future__ import annotations

import numpy as np

from ray_eval.types import FloatArray

_EPSILON = 1e-9


def rotation_from_vector(vector: FloatArray) -> FloatArray:
    """The (3, 3) rotation of an axis-angle vector (rad), by Rodrigues' formula."""
    angle = float(np.linalg.norm(vector))
    if angle < _EPSILON:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross))


def vector_from_rotation(rotation: FloatArray) -> FloatArray:
    """The axis-angle vector (rad) of a (3, 3) rotation, its length in [0, pi]."""
    skew = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    sine, cosine = float(np.linalg.norm(skew)) / 2.0, (float(np.trace(rotation)) - 1.0) / 2.0
    if sine > 1e-6:
        return np.asarray(skew / (2.0 * sine) * np.arctan2(sine, cosine))
    if cosine > 0.0:
        return np.zeros(3)
    column = rotation[:, int(np.argmax(np.diag(rotation)))] + np.eye(3)[int(np.argmax(np.diag(rotation)))]
    return np.asarray(column / np.linalg.norm(column) * np.pi)


def rotation_from_quaternion(quaternion: FloatArray) -> FloatArray:
    """The (3, 3) rotation of a quaternion (w, x, y, z), normalised first; the identity for zeros."""
    norm = float(np.linalg.norm(quaternion))
    if norm < _EPSILON:
        return np.eye(3)
    w, x, y, z = quaternion / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def downward_grasp(closing_axis: FloatArray) -> FloatArray:
    """The (3, 3) hand rotation that points straight down, its fingers closing along a horizontal axis."""
    y = np.array([closing_axis[0], closing_axis[1], 0.0])
    y /= np.linalg.norm(y)
    z = np.array([0.0, 0.0, -1.0])
    return np.column_stack([np.cross(y, z), y, z])


def forward_grasp(direction: FloatArray) -> FloatArray:
    """The (3, 3) hand rotation that points along a level direction, its fingers closing vertically.

    Of the two that differ by half a turn, the one nearer to the hand's usual attitude.
    """
    z = np.array([direction[0], direction[1], 0.0])
    z /= np.linalg.norm(z)
    y = np.array([0.0, 0.0, 1.0 if z[1] < 0.0 else -1.0])
    return np.column_stack([np.cross(y, z), y, z])


def turned(rotation: FloatArray, yaw: float) -> FloatArray:
    """A rotation followed by a turn about the world's vertical (rad)."""
    return rotation_from_vector(np.array([0.0, 0.0, yaw])) @ rotation


def leaning_grasp(closing_axis: FloatArray, towards: FloatArray, lean: float) -> FloatArray:
    """`downward_grasp`, its palm moved by `lean` (rad) around the finger tips into a level direction."""
    return rotation_from_vector(lean * np.cross(np.array([0.0, 0.0, 1.0]), towards)) @ downward_grasp(closing_axis)

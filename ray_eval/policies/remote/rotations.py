"""Rotations as X-VLA writes them, two columns of a matrix one after the other, and as rotation vectors."""

from __future__ import annotations

import numpy as np

from ray_eval.types import FloatArray

_SMALL = 1e-6
"""What X-VLA's own client adds to a length that it divides by."""


def columns_of(rotation_vector: FloatArray) -> FloatArray:
    """(6,) of a (3,) rotation vector, rad."""
    angle = float(np.linalg.norm(rotation_vector))
    if angle == 0.0:
        return np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    x, y, z = rotation_vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    matrix = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)
    return np.concatenate([matrix[:, 0], matrix[:, 1]])


def rotation_vectors_of(columns: FloatArray) -> FloatArray:
    """(N, 3) rotation vectors, rad, angle within pi, of (N, 6); the columns need not be quite orthonormal."""
    first = _unit(columns[:, :3])
    second = columns[:, 3:] - np.sum(first * columns[:, 3:], axis=-1, keepdims=True) * first
    second = _unit(second)
    matrices = np.stack([first, second, np.cross(first, second)], axis=-1)
    return np.stack([_vector(matrix) for matrix in matrices])


def _unit(vectors: FloatArray) -> FloatArray:
    unit: FloatArray = vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + _SMALL)
    return unit


def _vector(matrix: FloatArray) -> FloatArray:
    """By way of the quaternion, which is the eigenvector of the largest eigenvalue of a symmetric matrix (Bar-Itzhack).

    It is exact near half turns as well, about which a gripper that points down is.
    """
    m = matrix
    symmetric = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2]],
            [m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], m[1, 2] + m[2, 1], m[0, 2] - m[2, 0]],
            [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m[0, 0] + m[1, 1] + m[2, 2]],
        ]
    )
    quaternion = np.linalg.eigh(symmetric / 3.0)[1][:, -1]
    quaternion = -quaternion if quaternion[3] < 0.0 else quaternion
    sine = float(np.linalg.norm(quaternion[:3]))
    if sine == 0.0:
        return np.zeros(3)
    vector: FloatArray = quaternion[:3] / sine * (2.0 * np.arctan2(sine, quaternion[3]))
    return vector

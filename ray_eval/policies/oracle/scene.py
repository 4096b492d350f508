"""The privileged state by name: where every body is, and how far every joint is moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ray_eval.errors import ContractError
from ray_eval.policies.oracle.geometry import rotation_from_quaternion
from ray_eval.policies.oracle.objects import box_corners, shape_of
from ray_eval.types import ENVIRONMENT_STATE, POSE_SIZE, FloatArray, Observation

JOINT = "joint:"
"""Prefix of a joint's name in `Observation.environment_names`."""


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """A body in the world."""

    position: FloatArray
    """(3,) m."""
    rotation: FloatArray
    """(3, 3)."""

    def at(self, point: FloatArray) -> FloatArray:
        """World coordinates of points given in the body's frame."""
        return np.asarray(point @ self.rotation.T + self.position)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Everything that the privileged state says."""

    poses: dict[str, Pose]
    """Bodies and regions, the task's objects of interest first."""
    joints: dict[str, float]
    """Joint positions (m or rad) by joint name."""

    def pose(self, name: str) -> Pose:
        """A body by name.

        Raises:
            ContractError: the scene does not name it.
        """
        if name not in self.poses:
            raise ContractError(f"oracle: expected {name} among environment_names, got {', '.join(self.poses)}")
        return self.poses[name]

    def joint(self, name: str) -> float:
        """A joint's position (m or rad) by name.

        Raises:
            ContractError: the scene does not name it.
        """
        if name not in self.joints:
            known = ", ".join(JOINT + n for n in self.joints) or "none"
            raise ContractError(f"oracle: expected {JOINT}{name} among environment_names, got {known}")
        return self.joints[name]

    def box(self, name: str) -> tuple[FloatArray, FloatArray]:
        """Lower and upper corner of a body's bounding box in the world, m."""
        shape = shape_of(name)
        points = self.poses[name].at(box_corners(np.array(shape.low), np.array(shape.high)))
        return points.min(axis=0), points.max(axis=0)


def scene_of(observation: Observation) -> Scene:
    """The scene that an observation's privileged state describes.

    Raises:
        ContractError: the privileged state is missing, or its numbers do not match the names.
    """
    if ENVIRONMENT_STATE not in observation.arrays:
        raise ContractError(f"oracle: expected {ENVIRONMENT_STATE}, got {', '.join(observation.arrays) or 'nothing'}")
    values = np.asarray(observation.arrays[ENVIRONMENT_STATE], dtype=np.float64)
    bodies = [n for n in observation.environment_names if not n.startswith(JOINT)]
    joints = [n[len(JOINT) :] for n in observation.environment_names if n.startswith(JOINT)]
    expected = POSE_SIZE * len(bodies) + len(joints)
    if values.shape != (expected,):
        raise ContractError(f"oracle: {ENVIRONMENT_STATE}: expected shape ({expected},), got {values.shape}")
    rows = values[: POSE_SIZE * len(bodies)].reshape(-1, POSE_SIZE)
    poses = {n: Pose(row[:3], rotation_from_quaternion(row[3:])) for n, row in zip(bodies, rows, strict=True)}
    return Scene(poses, dict(zip(joints, values[POSE_SIZE * len(bodies) :].tolist(), strict=True)))

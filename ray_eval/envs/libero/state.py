"""The robot's state as a policy sees it, from one snapshot."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ray_eval.envs.libero.snapshot import SceneSnapshot
from ray_eval.sections import StateFormat
from ray_eval.types import Array, FloatArray

ControllerPose = tuple[FloatArray, FloatArray]
"""(3,) `controller.ee_pos` and (3, 3) `controller.ee_ori_mat`."""


@dataclass(frozen=True, slots=True, eq=False)
class RobotIndices:
    """Where the robot is in MuJoCo's arrays."""

    eef_site: int
    """Site whose position is `robot0_eef_pos`."""
    eef_body: int
    """Body whose orientation is `robot0_eef_quat`."""
    joints: tuple[int, ...]
    """Seven indices into qpos."""
    fingers: tuple[int, ...]
    """Two indices into qpos."""

    @classmethod
    def of(cls, env: Any) -> RobotIndices:
        """The indices in a robosuite environment."""
        robot = env.robots[0]
        return cls(
            eef_site=robot.eef_site_id,
            eef_body=env.sim.model.body_name2id(robot.robot_model.eef_name),
            joints=tuple(robot._ref_joint_pos_indexes),  # noqa: SLF001 -- robosuite's own sensors read these
            fingers=tuple(robot._ref_gripper_joint_pos_indexes),  # noqa: SLF001
        )


@dataclass(frozen=True, slots=True, eq=False)
class RobotReading:
    """What robosuite's proprioceptive sensors gave at the sampled instant, and the controller at the step's end."""

    eef_pos: FloatArray
    """(3,) m."""
    eef_quat: FloatArray
    """(4,) x y z w, sign as MuJoCo left it."""
    joint_pos: FloatArray
    """(7,) rad."""
    gripper_qpos: FloatArray
    """(2,) m."""
    controller_pos: FloatArray
    """(3,) m, world frame: `controller.ee_pos` when `step` returned."""
    controller_rotation: FloatArray
    """(3, 3): `controller.ee_ori_mat` when `step` returned."""


def read_robot(snapshot: SceneSnapshot, indices: RobotIndices, controller_pose: ControllerPose) -> RobotReading:
    """The robot in a snapshot, and the controller's pose beside it."""
    return RobotReading(
        eef_pos=snapshot.site_xpos[indices.eef_site],
        eef_quat=snapshot.xquat[indices.eef_body][[1, 2, 3, 0]],
        joint_pos=snapshot.qpos[list(indices.joints)],
        gripper_qpos=snapshot.qpos[list(indices.fingers)],
        controller_pos=controller_pose[0],
        controller_rotation=controller_pose[1],
    )


def axis_angle(quaternion: FloatArray) -> FloatArray:
    """(3,) rotation vector of an xyzw quaternion, rad; w < 0 is not flipped, so the angle goes up to 2 pi.

    Source: openpi@15a9616 examples/libero/main.py (_quat2axisangle), from robosuite 1.4.0 transform_utils.
    """
    w = min(max(float(quaternion[3]), -1.0), 1.0)
    denominator = math.sqrt(1.0 - w * w)
    if math.isclose(denominator, 0.0):
        return np.zeros(3)
    vector: FloatArray = quaternion[:3] * 2.0 * math.acos(w) / denominator
    return vector


def rotation_axis_angle(rotation: FloatArray) -> FloatArray:
    """(3,) rotation vector of a (3, 3) rotation matrix, rad, by way of robosuite's quaternion."""
    from robosuite.utils.transform_utils import mat2quat

    return axis_angle(mat2quat(rotation))


def _libero_8d(reading: RobotReading) -> FloatArray:
    return np.concatenate([reading.eef_pos, axis_angle(reading.eef_quat), reading.gripper_qpos])


def _libero_8d_canonical(reading: RobotReading) -> FloatArray:
    quaternion = -reading.eef_quat if reading.eef_quat[3] < 0 else reading.eef_quat
    return np.concatenate([reading.eef_pos, axis_angle(quaternion), reading.gripper_qpos])


def _controller_pose(reading: RobotReading) -> FloatArray:
    rotation = rotation_axis_angle(reading.controller_rotation)
    return np.concatenate([reading.controller_pos, rotation, reading.gripper_qpos])


def _joints_gripper(reading: RobotReading) -> FloatArray:
    return np.concatenate([reading.joint_pos, reading.gripper_qpos])


_FORMATS: Mapping[StateFormat, Callable[[RobotReading], FloatArray]] = {
    "libero_8d": _libero_8d,
    "libero_8d_canonical": _libero_8d_canonical,
    "controller_pose": _controller_pose,
    "joints_gripper": _joints_gripper,
}


def state_vector(reading: RobotReading, state_format: StateFormat) -> Array:
    """`observation.state`: (8,) float32, or (9,) for `joints_gripper`."""
    return _FORMATS[state_format](reading).astype(np.float32)

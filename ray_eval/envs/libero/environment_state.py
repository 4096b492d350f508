"""The privileged state: where everything in the scene is, from one snapshot.

Layout of `observation.environment_state`, float32; `EnvironmentLayout.names` stands beside it:

1. Seven numbers per pose, x y z (m), qw qx qy qz, world frame:
   a. the BDDL's objects of interest, in BDDL order; an entry may be an object, a fixture, or a region such as
      `wooden_cabinet_1_top_region`, which is a site and gives the site's pose;
   b. every other object and fixture, by name;
   c. the bodies of objects and fixtures that move on a hinge or a slide (drawers, doors, knobs), by body name.
2. One number per hinge or slide joint of those bodies, rad or m, by joint name, named `joint:<joint name>`.

Everything is taken at the instant of observation; poses are as of the beginning of the sampled substep, joint
positions as of its end, like plain LIBERO's own sensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ray_eval.envs.libero.snapshot import SceneSnapshot
from ray_eval.errors import SetupError
from ray_eval.types import Array, FloatArray

JOINT_PREFIX = "joint:"
"""Marks the names that stand for one joint position instead of a pose."""


@dataclass(frozen=True, slots=True)
class EnvironmentLayout:
    """Where each entry of the privileged state is in MuJoCo's arrays."""

    poses: tuple[tuple[str, str, int], ...]
    """Name, `body` or `site`, and MuJoCo's index, per pose."""
    joints: tuple[tuple[str, int], ...]
    """Joint name and its index into qpos."""

    @property
    def names(self) -> tuple[str, ...]:
        """One per pose, then one per joint."""
        return (*(name for name, _, _ in self.poses), *(JOINT_PREFIX + name for name, _ in self.joints))

    @classmethod
    def of(cls, env: Any) -> EnvironmentLayout:
        """The layout of a LIBERO environment, after any reset."""
        bodies = dict(env.obj_body_id)
        wanted = tuple(dict.fromkeys(env.obj_of_interest))
        joints = _scene_joints(env.sim.model, set(bodies.values()))
        parts = sorted({body for _, body, _ in joints} - bodies.keys() - set(wanted))
        return cls(
            poses=(
                *(_pose(env, name) for name in wanted),
                *((name, "body", bodies[name]) for name in sorted(bodies.keys() - set(wanted))),
                *((name, "body", env.sim.model.body_name2id(name)) for name in parts),
            ),
            joints=tuple(sorted((name, address) for name, _, address in joints)),
        )

    def read(self, snapshot: SceneSnapshot) -> Array:
        """(7 x poses + joints,) float32."""
        poses = [_body_pose(snapshot, i) if kind == "body" else _site_pose(snapshot, i) for _, kind, i in self.poses]
        joints = snapshot.qpos[[address for _, address in self.joints]]
        return np.concatenate([*poses, joints]).astype(np.float32)


def _pose(env: Any, name: str) -> tuple[str, str, int]:
    """An object of interest: object or fixture first, then region, then any body of that name."""
    model = env.sim.model
    if name in env.obj_body_id:
        return name, "body", env.obj_body_id[name]
    if name in model.site_names:
        return name, "site", model.site_name2id(name)
    if name in model.body_names:
        return name, "body", model.body_name2id(name)
    raise SetupError(f"{env.bddl_file_name}: expected objects of interest that are in the scene, got {name!r}")


def _scene_joints(model: Any, roots: set[int]) -> list[tuple[str, str, int]]:
    """(joint name, body name, qpos index) of every hinge and slide below one of the bodies `roots`."""
    import mujoco

    single = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
    return [
        (model.joint_id2name(joint), model.body_id2name(body), int(model.jnt_qposadr[joint]))
        for joint, body in enumerate(model.jnt_bodyid)
        if model.jnt_type[joint] in single and not roots.isdisjoint(_ancestors(model, int(body)))
    ]


def _ancestors(model: Any, body: int) -> list[int]:
    """The body and those that carry it, the world excluded."""
    chain = []
    while body:
        chain.append(body)
        body = int(model.body_parentid[body])
    return chain


def _body_pose(snapshot: SceneSnapshot, index: int) -> FloatArray:
    return np.concatenate([snapshot.xpos[index], snapshot.xquat[index]])


def _site_pose(snapshot: SceneSnapshot, index: int) -> FloatArray:
    import mujoco

    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, snapshot.site_xmat[index])
    return np.concatenate([snapshot.site_xpos[index], quaternion])

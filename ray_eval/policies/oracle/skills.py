"""How each kind of goal is done, and when it is met."""

from __future__ import annotations

import numpy as np

from ray_eval.policies.oracle.arm import Hand
from ray_eval.policies.oracle.grasps import grasp_of
from ray_eval.policies.oracle.objects import category, shape_of
from ray_eval.policies.oracle.plan import Goal, Place
from ray_eval.policies.oracle.scene import Scene
from ray_eval.policies.oracle.stages import Stage, carry
from ray_eval.types import FloatArray


def stages_of(goal: Goal, scene: Scene, hand: Hand, attempt: int) -> list[Stage]:
    """The stages of a goal's next attempt from the present scene."""
    if isinstance(goal, Place):
        return _place(goal, scene, hand, attempt)
    raise NotImplementedError


def is_met(goal: Goal, scene: Scene) -> bool:
    """Whether the goal holds, as far as the privileged state tells."""
    if isinstance(goal, Place):
        where, origin = _where(goal, scene), scene.poses[goal.item].position
        return bool(np.linalg.norm(where[:2] - origin[:2]) < 0.05 and abs(where[2] - origin[2]) < 0.08)
    return False


def _place(goal: Place, scene: Scene, hand: Hand, attempt: int) -> list[Stage]:
    grasp = grasp_of(goal.item, scene, attempt)
    origin, where = scene.poses[goal.item].position, _where(goal, scene)
    low, _ = scene.box(goal.item)
    clearance = 0.05 + max(scene.box(goal.target)[1][2] - low[2], 0.0)
    via_z = max(float(origin[2]) + clearance, float(where[2]) + 0.05)
    return carry(goal.item, origin, grasp, where, via_z, 0.005)


def _where(goal: Place, scene: Scene) -> FloatArray:
    """(3,) where the item's origin shall be, m."""
    target = scene.poses[goal.target]
    low, _ = scene.box(goal.item)
    bottom = float(scene.poses[goal.item].position[2] - low[2])
    if category(goal.target) == "basket":
        return target.position + np.array([0.0, 0.0, 0.06 + bottom]) + _slot(goal)
    if category(goal.target) == "plate":
        return target.position + np.array([0.0, 0.0, 0.004 + bottom])
    raise NotImplementedError


def _slot(goal: Place) -> FloatArray:
    return np.array([(0.0, 0.03, -0.03)[goal.slot], 0.0, 0.0])

"""How each kind of goal is done, and when it is met."""

from __future__ import annotations

import numpy as np

from ray_eval.policies.oracle.arm import Hand
from ray_eval.policies.oracle.grasps import grasp_of
from ray_eval.policies.oracle.objects import SHAPES, category
from ray_eval.policies.oracle.plan import Goal, Place
from ray_eval.policies.oracle.scene import Scene
from ray_eval.policies.oracle.stages import Stage, carry
from ray_eval.types import FloatArray

WAY_M = 0.06
"""Half the width of the way that a carried object is kept clear of, m."""


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
    via_z = max(float(origin[2]) + 0.08, float(where[2]) + 0.05, _clear_height(goal.item, origin, where, scene))
    return carry(goal.item, origin, grasp, where, via_z, 0.005)


def _clear_height(item: str, start: FloatArray, end: FloatArray, scene: Scene) -> float:
    """Height of the item's origin (m) at which it passes over everything near its way."""
    low, _ = scene.box(item)
    tops = [scene.box(n)[1][2] for n in scene.poses if n != item and _is_near_way(scene, n, start, end)]
    return float(start[2] - low[2]) + max(tops, default=0.0) + 0.03


def _is_near_way(scene: Scene, name: str, start: FloatArray, end: FloatArray) -> bool:
    if category(name) not in SHAPES:
        return False
    low, high = scene.box(name)
    for share in np.linspace(0.0, 1.0, 21):
        point = start[:2] + share * (end[:2] - start[:2])
        if np.all(point > low[:2] - WAY_M) and np.all(point < high[:2] + WAY_M):
            return True
    return False


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

"""How an object is brought to its place, and where that is."""

from __future__ import annotations

import numpy as np

from ray_eval.errors import ContractError
from ray_eval.policies.oracle.arm import OPEN, Hand
from ray_eval.policies.oracle.clearance import escape_of, finger_detour, height_over_way
from ray_eval.policies.oracle.fixtures import UP, drawer_of
from ray_eval.policies.oracle.geometry import turned
from ray_eval.policies.oracle.grasps import grasp_of
from ray_eval.policies.oracle.objects import DRAWER_SPOTS_M, HANDLE_HEIGHT_M, SPOTS, category, shape_of
from ray_eval.policies.oracle.plan import Place, Push
from ray_eval.policies.oracle.scene import Scene
from ray_eval.policies.oracle.stages import Grasp, Stage, Way, carry
from ray_eval.types import FloatArray

RECEIVING = frozenset({"basket", "desk_caddy", "akita_black_bowl", "wine_rack"})
"""Targets whose box does not hinder the hand that lets something down into them."""
WALLED = frozenset({"basket", "desk_caddy", "wooden_cabinet", "white_cabinet"})
"""Targets over whose full height an item must pass; onto the others it comes from just above its place."""
ROOFED = frozenset({"microwave"})
"""Targets that leave no room above an item, so that it is held by its handle if it has one."""
FITTING = frozenset({"desk_caddy"})
"""Targets that an item must be turned for: its thin side across the compartment, its middle in the compartment's."""
RIGHT_OF_M = 0.105
"""Distance to the right of a plate. Source: the middle of libero_10's `plate_right_region`, 0.10."""
FRONT_OF_STOVE_M = 0.365
"""Distance from the stove's origin. Source: libero_goal's `stove_front_region`, 0.32 to 0.40 from there."""
LIFT_M = 0.08
"""Least height to which an item is lifted."""
ABOVE_M = 0.05
"""Least height over its place at which an item arrives."""
ENTRY_M = 0.20
"""How far in front of the microwave an item comes down before it goes in."""
NEAR_M, NEAR_HEIGHT_M = 0.05, 0.08
"""Level distance and height from its place within which an item counts as being there."""


def is_there(goal: Place | Push, scene: Scene) -> bool:
    """Whether an item is at its place, as far as the privileged state tells."""
    away = place_of(goal, scene) - scene.pose(goal.item).position
    return bool(np.linalg.norm(away[:2]) < NEAR_M and abs(away[2]) < NEAR_HEIGHT_M)


def place_of(goal: Place | Push, scene: Scene) -> FloatArray:
    """(3,) where the item's origin shall be, m.

    Raises:
        ContractError: nothing is known about putting things there.
    """
    item = scene.pose(goal.item)
    if isinstance(goal, Push):
        front = scene.pose(goal.stove).at(np.array([FRONT_OF_STOVE_M, 0.0, 0.0]))
        return np.array([*front[:2], item.position[2]])
    low, high = scene.box(goal.item)
    where = _spot(goal, scene) + float(item.position[2] - low[2]) * UP
    if category(goal.target) in FITTING:
        middle = (low + high) / 2.0 - item.position
        where[:2] -= turned(np.eye(3), _fitting_turn(goal, scene))[:2, :2] @ middle[:2]
    return where


def place(goal: Place, scene: Scene, hand: Hand, attempt: int) -> list[Stage]:
    """The stages that take an item and bring it to its place."""
    where, target = place_of(goal, scene), category(goal.target)
    grasp = grasp_of(goal.item, scene, attempt, None if target in RECEIVING else where, by_handle=target in ROOFED)
    stages = carry(goal.item, scene.pose(goal.item).position, grasp, _way(goal, scene, where, grasp))
    above = stages[0]
    over = finger_detour(goal.item, scene, hand.position, above.position)
    lifts = [Stage("over", p, above.rotation, OPEN, tolerance_m=0.03, tolerance_rad=3.2, patience=50) for p in over]
    return [*lifts, *stages]


def push(goal: Push, scene: Scene, attempt: int) -> list[Stage]:
    """The stages that drag a plate by its rim, all but lifted."""
    origin, grasp = scene.pose(goal.item).position, grasp_of(goal.item, scene, attempt)
    return carry(goal.item, origin, grasp, Way(place_of(goal, scene), float(origin[2]) + 0.02, grasp.rotation))


def _way(goal: Place, scene: Scene, where: FloatArray, grasp: Grasp) -> Way:
    """The way to a place: over everything, or into the microwave from its front."""
    target, start = category(goal.target), scene.pose(goal.item).position
    escape = escape_of(goal.item, scene)
    if target == "microwave":
        entry = where - ENTRY_M * scene.pose(goal.target).rotation[:, 1] + 0.01 * UP
        return Way(where, float(start[2]) + LIFT_M, grasp.rotation, entry, escape=escape)
    rotation = turned(grasp.rotation, _fitting_turn(goal, scene)) if target in FITTING else grasp.rotation
    clear = height_over_way(goal.item, where, scene, () if target in WALLED else (goal.target,))
    via_z = max(float(start[2]) + LIFT_M, float(where[2]) + ABOVE_M, clear)
    release_m = -0.01 if target == "wine_rack" else 0.005
    return Way(where, via_z, rotation, release_m=release_m, escape=escape)


def _fitting_turn(goal: Place, scene: Scene) -> float:
    """The turn about the vertical (rad), at most 90 degrees, that brings an item's thin side along the target's x."""
    item, target = scene.pose(goal.item), scene.pose(goal.target)
    shape = shape_of(goal.item)
    level = np.argsort(np.abs(item.rotation[2]), kind="stable")[:2]
    thin = item.rotation[:, min(level, key=lambda i: shape.high[i] - shape.low[i])]
    x, y = target.rotation[:, 0] @ thin, target.rotation[:, 1] @ thin
    return float(-np.arctan(y / x)) if abs(x) > 1e-6 else float(np.pi / 2)


def _spot(goal: Place, scene: Scene) -> FloatArray:
    """(3,) where the item's lowest point shall be, m."""
    target = scene.pose(goal.target)
    if goal.relation == "right_of":
        return np.asarray(target.position + np.array([0.0, RIGHT_OF_M, -0.003]))
    if goal.part in HANDLE_HEIGHT_M:
        drawer, height = drawer_of(scene, goal.target, goal.part)
        return drawer.at(np.add(DRAWER_SPOTS_M[goal.part], (0.0, 0.0, height)))
    spot = SPOTS.get((category(goal.target), goal.part))
    if spot is None:
        part = f", {goal.part}" if goal.part else ""
        raise ContractError(
            f"oracle: expected a target that it knows ({', '.join(sorted({c for c, _ in SPOTS}))}), "
            f"got {goal.target}{part}"
        )
    return target.at(np.array(spot) + _slot(goal))


def _slot(goal: Place) -> FloatArray:
    """(3,) shift within the target that leaves room for a second object, m."""
    half = 0.05 if goal.part == "cook" else 0.03
    return np.array([(0.0, half, -half)[goal.slot], 0.0, 0.0])

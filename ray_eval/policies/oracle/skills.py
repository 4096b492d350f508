"""How each kind of goal is done, and when it is met."""

from __future__ import annotations

import numpy as np

from ray_eval.policies.oracle.arm import CLOSE, OPEN, Hand
from ray_eval.policies.oracle.geometry import downward_grasp, forward_grasp, leaning_grasp, rotation_from_vector, turned
from ray_eval.policies.oracle.grasps import grasp_of
from ray_eval.policies.oracle.objects import (
    DRAWER_HEIGHT_M,
    DRAWER_SPOT_M,
    HANDLE_HEIGHT_M,
    HANDLE_M,
    SPOTS,
    box_corners,
    boxes_of,
    category,
)
from ray_eval.policies.oracle.plan import Goal, Place, Push, Slide, TurnOn
from ray_eval.policies.oracle.scene import Pose, Scene
from ray_eval.policies.oracle.stages import Stage, Way, carry
from ray_eval.types import FloatArray

WAY_M = 0.06
"""Half the width of the way that a carried object is kept clear of, m."""
PUSH_LEAN_RAD = 0.7
"""How far the hand leans back when it pushes a drawer, so that the palm stays clear of the handles above."""
UP = np.array([0.0, 0.0, 1.0])
"""The world's vertical."""


def stages_of(goal: Goal, scene: Scene, hand: Hand, attempt: int) -> list[Stage]:
    """The stages of a goal's next attempt from the present scene."""
    if isinstance(goal, Place):
        return _place(goal, scene, hand, attempt)
    if isinstance(goal, TurnOn):
        return _turn_on(goal, scene)
    if isinstance(goal, Push):
        return _push(goal, scene, attempt)
    return _pull(goal, scene, hand) if goal.is_open else _shut(goal, scene)


def is_met(goal: Goal, scene: Scene) -> bool:
    """Whether the goal holds, as far as the privileged state tells."""
    if isinstance(goal, Place | Push):
        where = _where(goal, scene) if isinstance(goal, Place) else _front(goal, scene)
        origin = scene.poses[goal.item].position
        return bool(np.linalg.norm(where[:2] - origin[:2]) < 0.05 and abs(where[2] - origin[2]) < 0.08)
    if isinstance(goal, TurnOn):
        return scene.joints.get(f"{goal.fixture}_button", 0.0) >= 0.5
    position = _joint(goal, scene)
    return position < -min(0.142, goal.travel_m - 0.02) if goal.is_open else position > -0.002


def _place(goal: Place, scene: Scene, hand: Hand, attempt: int) -> list[Stage]:
    origin, where = scene.poses[goal.item].position, _where(goal, scene)
    hollow = category(goal.target) in {"basket", "desk_caddy", "akita_black_bowl", "wine_rack"}
    grasp = grasp_of(goal.item, scene, attempt, None if hollow else where)
    skip = (
        () if category(goal.target) in {"basket", "desk_caddy", "wooden_cabinet", "white_cabinet"} else (goal.target,)
    )
    clear = _clear_height(goal.item, where, scene, skip)
    via_z = max(float(origin[2]) + 0.08, float(where[2]) + 0.05, clear)
    release = -0.01 if category(goal.target) == "wine_rack" else 0.005
    entry = None
    if category(goal.target) == "microwave":
        entry = where - 0.20 * scene.poses[goal.target].rotation[:, 1] + 0.01 * UP
        via_z = float(origin[2]) + 0.08
    way = Way(where, via_z, grasp.rotation, entry, release, _escape(goal.item, scene))
    stages = carry(goal.item, origin, grasp, way)
    return [*_detour(goal.item, scene, hand, stages[0]), *stages]


def _escape(item: str, scene: Scene) -> FloatArray:
    """(3,) level shift that brings an item out from under whatever hangs over it, m."""
    low, high = (bound.copy() for bound in scene.box(item))
    start = low.copy()
    boxes = [scene.poses[n].at(box_corners(*b)) for n in scene.poses if n != item for b in boxes_of(n)]
    overhead = [(p.min(axis=0), p.max(axis=0)) for p in boxes if p[:, 2].min() > high[2] - 0.005]
    for box_low, box_high in sorted(overhead, key=lambda b: -float(np.prod((b[1] - b[0])[:2]))):
        inside = np.minimum(high, box_high)[:2] - np.maximum(low, box_low)[:2]
        if np.any(inside < -0.01):
            continue
        shifts = [(box_high[i] - low[i], i, 1.0) for i in (0, 1)] + [(high[i] - box_low[i], i, -1.0) for i in (0, 1)]
        depth, axis, sign = min(shifts)
        low[axis] += sign * (depth + 0.02)
        high[axis] += sign * (depth + 0.02)
    return np.asarray(low - start)


def _detour(item: str, scene: Scene, hand: Hand, above: Stage) -> list[Stage]:
    """Stages that lift the empty hand over whatever stands in its straight way to a grasp."""
    tops = [_top_on_way(scene, n, hand.position, above.position) for n in _solids(scene, item)]
    height = max(tops, default=0.0) + 0.03
    if not height > 0.03:
        return []
    high = [np.array([*p[:2], max(height, p[2])]) for p in (hand.position, above.position)]
    return [Stage("over", p, above.rotation, OPEN, tolerance_m=0.03, tolerance_rad=3.2, patience=50) for p in high]


def _solids(scene: Scene, item: str) -> list[str]:
    """Bodies that stand in the way of the empty hand."""
    return [n for n in scene.poses if n != item and boxes_of(n)]


def _top_on_way(scene: Scene, name: str, start: FloatArray, end: FloatArray) -> float:
    """Height of a body that a straight motion of the finger tips would hit (m); 0 where it would hit nothing."""
    highest = 0.0
    for box in boxes_of(name):
        points = scene.poses[name].at(box_corners(*box))
        low, high = points.min(axis=0) - WAY_M * 0.5, points.max(axis=0) + WAY_M * 0.5
        for share in np.linspace(0.0, 1.0, 21):
            point = start + share * (end - start)
            if np.all(point[:2] > low[:2]) and np.all(point[:2] < high[:2]) and point[2] < points[:, 2].max() + 0.015:
                highest = max(highest, float(points[:, 2].max()))
    return highest


def _clear_height(item: str, end: FloatArray, scene: Scene, skip: tuple[str, ...]) -> float:
    """Height of the item's origin (m) at which it passes over everything near its way."""
    start, (low, _) = scene.poses[item].position, scene.box(item)
    tops = [_top_near(scene, n, start, end) for n in scene.poses if n not in (item, *skip)]
    return float(start[2] - low[2]) + max(tops, default=0.0) + 0.03


def _top_near(scene: Scene, name: str, start: FloatArray, end: FloatArray) -> float:
    """Height of what a body has within `WAY_M` of a way (m); 0 where it has nothing."""
    highest = 0.0
    for box in boxes_of(name):
        points = scene.poses[name].at(box_corners(*box))
        low, high = points.min(axis=0) - WAY_M, points.max(axis=0) + WAY_M
        way = start[:2] + np.linspace(0.0, 1.0, 21)[:, None] * (end[:2] - start[:2])
        if np.any(np.all((way > low[:2]) & (way < high[:2]), axis=1)):
            highest = max(highest, float(points[:, 2].max()))
    return highest


def _where(goal: Place, scene: Scene) -> FloatArray:
    """(3,) where the item's origin shall be, m."""
    item, target = scene.poses[goal.item], scene.poses[goal.target]
    bottom = float(item.position[2] - scene.box(goal.item)[0][2])
    if goal.relation == "right_of":
        return np.asarray(target.position + np.array([0.0, 0.105, bottom - 0.003]))
    if goal.part in HANDLE_HEIGHT_M:
        drawer, height = _drawer(scene, goal.target, goal.part)
        return np.asarray(drawer.at(np.add(DRAWER_SPOT_M, (0.0, 0.0, height))) + bottom * UP)
    spot = np.array(SPOTS[category(goal.target), goal.part])
    return np.asarray(target.at(spot + _slot(goal)) + bottom * UP)


def _slot(goal: Place) -> FloatArray:
    """(3,) shift within the target that leaves room for a second object, m."""
    half = 0.05 if goal.part == "cook" else 0.03
    return np.array([(0.0, half, -half)[goal.slot], 0.0, 0.0])


def _drawer(scene: Scene, cabinet: str, part: str) -> tuple[Pose, float]:
    """A drawer's body, and the height of its middle over the cabinet's origin (m)."""
    body = f"cabinet_{part}"
    return scene.poses[f"{cabinet}_{body}"], DRAWER_HEIGHT_M[body]


def _joint(goal: Slide, scene: Scene) -> float:
    name = "microjoint" if goal.part == "door" else f"{goal.part}_level"
    return scene.joints[f"{goal.fixture}_{name}"]


def _turn_on(goal: TurnOn, scene: Scene) -> list[Stage]:
    """The knob's ridge is gripped from above and turned counter-clockwise; it is on from 0.5 rad."""
    stove, turn = scene.poses[goal.fixture], scene.joints.get(f"{goal.fixture}_button", 0.0)
    rotation = turned(downward_grasp(-stove.rotation[:, 1]), turn)
    ridge = stove.at(np.array([-0.006, 0.001, 0.040]))
    end = turned(rotation, 0.9)
    return [
        Stage("above", ridge + 0.08 * UP, rotation, OPEN, tolerance_m=0.012, patience=80),
        Stage("descend", ridge, rotation, OPEN, tolerance_m=0.006, patience=25),
        Stage("close", ridge, rotation, CLOSE, ending="close", steps=9),
        Stage("turn", ridge, end, CLOSE, tolerance_m=0.03, tolerance_rad=0.15, patience=30),
        Stage("open", ridge, end, OPEN, ending="open", steps=5),
        Stage("retreat", ridge + 0.12 * UP, end, OPEN, tolerance_m=0.03, patience=15),
    ]


def _front(goal: Push, scene: Scene) -> FloatArray:
    """(3,) the place in front of the stove, m; 0.37 m from its origin in libero_goal's BDDL."""
    front = scene.poses[goal.stove].at(np.array([0.365, 0.0, 0.0]))
    return np.array([front[0], front[1], scene.poses[goal.item].position[2]])


def _push(goal: Push, scene: Scene, attempt: int) -> list[Stage]:
    """The plate is dragged by its rim."""
    origin = scene.poses[goal.item].position
    grasp = grasp_of(goal.item, scene, attempt)
    where = _front(goal, scene)
    return carry(goal.item, origin, grasp, Way(where, float(origin[2]) + 0.02, grasp.rotation))


def _pull(goal: Slide, scene: Scene, hand: Hand) -> list[Stage]:
    """The handle is gripped by the level hand and drawn out."""
    into, handle = _handle(goal, scene)
    rotation = forward_grasp(into)
    out = handle - (goal.travel_m + _joint(goal, scene)) * into
    retreat = out - 0.06 * into
    return [
        Stage("turn", _start(handle - 0.14 * into, hand), rotation, OPEN, tolerance_m=0.03, patience=70),
        Stage("before", handle - 0.08 * into, rotation, OPEN, tolerance_m=0.012, patience=30),
        Stage("reach", handle, rotation, OPEN, tolerance_m=0.008, patience=25),
        Stage("close", handle, rotation, CLOSE, ending="close", steps=10),
        Stage("pull", out, rotation, CLOSE, tolerance_m=0.015, patience=40),
        Stage("open", out, rotation, OPEN, ending="open", steps=5),
        Stage("back", retreat, rotation, OPEN, tolerance_m=0.02, patience=20),
    ]


def _start(point: FloatArray, hand: Hand) -> FloatArray:
    return np.array([point[0], point[1], max(point[2], min(hand.position[2], point[2] + 0.05))])


def _handle(goal: Slide, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """The level direction into the cabinet, and the middle of a drawer's handle (m)."""
    drawer, _ = _drawer(scene, goal.fixture, goal.part)
    handle = drawer.at(np.add(HANDLE_M, (0.0, 0.0, HANDLE_HEIGHT_M[goal.part])))
    return drawer.rotation[:, 1], handle


def _shut(goal: Slide, scene: Scene) -> list[Stage]:
    """The closed finger tips push the handle home."""
    if goal.part == "door":
        return _shut_door(goal, scene)
    into, handle = _handle(goal, scene)
    rotation = leaning_grasp(-np.abs(np.cross(UP, into)), -into, PUSH_LEAN_RAD)
    before = handle - 0.06 * into
    home = handle - (_joint(goal, scene) - 0.02) * into
    return [
        Stage("over", before - 0.04 * into + 0.14 * UP, rotation, CLOSE, tolerance_m=0.03, patience=70),
        Stage("before", before, rotation, CLOSE, tolerance_m=0.02, patience=40),
        Stage("push", home, rotation, CLOSE, tolerance_m=0.005, patience=50),
        Stage("back", before, rotation, CLOSE, tolerance_m=0.03, patience=30),
    ]


def _shut_door(goal: Slide, scene: Scene) -> list[Stage]:
    """The closed finger tips sweep the microwave's door shut along an arc around its hinge, at its upper edge."""
    hinge, turn = scene.poses[f"{goal.fixture}_microdoorroot"], _joint(goal, scene)
    shut = hinge.rotation @ rotation_from_vector(np.array([0.0, 0.0, -turn]))
    rotation = downward_grasp(np.array([0.0, -1.0, 0.0]))

    def beside(angle: float, gap_m: float) -> FloatArray:
        """A point `gap_m` outside the door's outer face, were the door at `angle`."""
        door = shut @ rotation_from_vector(np.array([0.0, 0.0, angle]))
        return np.asarray(hinge.position + door @ np.array([0.15, -0.027 - gap_m, 0.075]))

    start = beside(turn, 0.07)
    angles = np.linspace(turn, 0.2, 6)[1:]
    return [
        Stage("over", start + 0.15 * UP, rotation, CLOSE, tolerance_m=0.03, patience=80),
        Stage("beside", start, rotation, CLOSE, tolerance_m=0.02, patience=40),
        *(Stage("sweep", beside(a, 0.012), rotation, CLOSE, tolerance_m=0.025, patience=25) for a in angles),
        Stage("back", beside(0.0, 0.10), rotation, CLOSE, tolerance_m=0.03, patience=20),
    ]

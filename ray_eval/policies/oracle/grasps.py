"""Where and how an object is taken hold of, from its pose, the shape of its category and what stands around it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ray_eval.policies.oracle.geometry import downward_grasp, leaning_grasp
from ray_eval.policies.oracle.objects import box_corners, boxes_of, shape_of
from ray_eval.policies.oracle.scene import Scene
from ray_eval.policies.oracle.stages import Grasp
from ray_eval.types import FloatArray

FINGER_BELOW_SITE_M = 0.012
"""Least height of the grip site over whatever the object stands on; the finger tips reach 10 mm below the site."""
OPEN_WIDTH_M = 0.08
"""Distance between the pads of the open fingers."""
WIDEST_M = 0.072
"""Widest thing that the fingers are put around; they open to 80 mm."""
LEAN_RAD = 0.7
"""How far the hand leans back from a rim, where it has no room straight above."""
BASE_XY_M = np.array([-0.66, 0.0])
"""Where the arm stands in LIBERO's table scenes."""
REACH_M = 0.77
"""Horizontal distance from the base that the downward hand reaches well at table height."""
TOUCH_M = 0.02
"""Added to the depth of every overlap, as thin walls overlap little and block all the same."""

# Boxes in the hand's frame that must be free, seen from the grip site with z up (m): low and high corner.
# Source: robosuite 1.4.0 panda_gripper.xml and its hand mesh (204 x 63 x 66 mm, 97 mm above the grip site).
_HAND = (np.array([-0.034, -0.105, 0.028]), np.array([0.034, 0.105, 0.30]))
_FINGERS = (np.array([-0.012, -0.060, -0.010]), np.array([0.012, 0.060, 0.03]))


def grasp_of(
    item: str, scene: Scene, attempt: int, where: FloatArray | None = None, *, by_handle: bool = False
) -> Grasp:
    """The grasp for an object that leaves the hand most room; each later attempt takes the next best.

    With `where`, the place (m) to which the object's origin is brought, the hand needs room there as well; with
    `by_handle` an object that has a handle is held there and nowhere else.
    """
    candidates = list(_candidates(item, scene, by_handle and any(shape_of(item).handle_m)))
    boxes = [scene.poses[n].at(box_corners(*box)) for n in scene.poses if n != item for box in boxes_of(n)]
    move = np.zeros(3) if where is None else where - scene.poses[item].position
    costs = [cost + _hindrance(grasp, move, boxes) for grasp, cost in candidates]
    return candidates[int(np.argsort(costs, kind="stable")[attempt % min(len(candidates), 4)])][0]


def _candidates(item: str, scene: Scene, only_handle: bool) -> Iterator[tuple[Grasp, float]]:
    """Every grasp that the item's shape allows, each with its own cost (m)."""
    shape = shape_of(item)
    if shape.style == "rim" and not only_handle:
        yield from _rim(item, scene)
    if shape.style == "across" and not only_handle:
        yield from _across(item, scene)
    if any(shape.handle_m):
        yield from _handle(item, scene)


def _hindrance(grasp: Grasp, move: FloatArray, boxes: list[FloatArray]) -> float:
    """Cost (m) of the room that is lacking where an object is taken and where it is put."""
    arrived = Grasp(grasp.position + move, grasp.rotation, 0)
    cost = 4.0 * _crowding(grasp, boxes) + _stretch(grasp)
    return cost + 2.0 * _crowding(arrived, boxes) + _stretch(arrived) if move.any() else cost


def _across(item: str, scene: Scene) -> Iterator[tuple[Grasp, float]]:
    """Grasps around a body's narrow sides, shifted along it, each with its cost (m)."""
    shape, pose = shape_of(item), scene.poses[item]
    low, high = scene.box(item)
    extent = np.array(shape.high) - np.array(shape.low)
    centre = (low + high) / 2.0
    height = max(low[2] + FINGER_BELOW_SITE_M, min(high[2] - shape.depth_m, centre[2] + 0.03))
    level = sorted(np.argsort(np.abs(pose.rotation[2]), kind="stable")[:2])
    for i, j in (level, level[::-1]):
        if extent[i] > max(WIDEST_M, min(extent[level])):
            continue
        room = max(0.0, float(extent[j]) / 2.0 - 0.012)
        rotation = downward_grasp(_nearest(pose.rotation[:, i]))
        for shift in (0.0, -0.5 * room, 0.5 * room, -room, room):
            position = np.array([centre[0], centre[1], height]) + shift * pose.rotation[:, j]
            yield Grasp(position, rotation, _close_steps(float(extent[i]))), 0.3 * abs(shift) + _turning(rotation)


def _rim(item: str, scene: Scene) -> Iterator[tuple[Grasp, float]]:
    """Grasps on the wall of a bowl or cup, from eight sides, each with its cost (m)."""
    shape, pose = shape_of(item), scene.poses[item]
    low, high = scene.box(item)
    axis = pose.at(np.array([*shape.axis_m, 0.0]))
    for angle in np.arange(8) * np.pi / 4:
        direction = np.array([np.sin(angle), np.cos(angle), 0.0])
        for inwards, lean in ((0.0, 0.0), (0.015, 0.0), (0.0, LEAN_RAD / 2.0), (0.0, LEAN_RAD)):
            rotation = leaning_grasp(_nearest(direction), direction, lean)
            position = axis + (shape.rim_m - inwards) * direction
            position = np.array([position[0], position[1], max(high[2] - 0.012, low[2] + FINGER_BELOW_SITE_M)])
            yield Grasp(position, rotation, _close_steps(0.004)), 0.3 * inwards + 0.03 * lean + _turning(rotation)


def _handle(item: str, scene: Scene) -> Iterator[tuple[Grasp, float]]:
    """The grasp of a knob or handle, with its cost (m); an object that has a rim too is rather taken there."""
    pose, shape = scene.poses[item], shape_of(item)
    rotation = downward_grasp(_nearest(pose.rotation[:, 1]))
    second_choice = 0.0 if shape.style == "handle" else 0.06
    yield Grasp(pose.at(np.array(shape.handle_m)), rotation, _close_steps(0.014)), second_choice


def _nearest(axis: FloatArray) -> FloatArray:
    """Of a closing axis and its opposite, the one that turns the hand less from its usual (0, -1, 0)."""
    return axis if axis[1] < 0 else -axis


def _turning(rotation: FloatArray) -> float:
    """Cost (m) of turning the hand from its usual closing axis (0, -1, 0): 1 cm per 90 degrees."""
    return 0.01 * float(np.arccos(np.clip(-rotation[1, 1], -1.0, 1.0))) / (np.pi / 2)


def _stretch(grasp: Grasp) -> float:
    """How far (m) a grasp is beyond what the arm reaches well with the hand pointing down."""
    return max(0.0, float(np.linalg.norm(grasp.position[:2] - BASE_XY_M)) - REACH_M)


def _crowding(grasp: Grasp, boxes: list[FloatArray]) -> float:
    """How deep boxes, given by their corners, reach into the space that hand and fingers need at a grasp, m, summed."""
    frame = np.column_stack([grasp.rotation[:, 0], grasp.rotation[:, 1], -grasp.rotation[:, 2]])
    return sum(_overlap((corners - grasp.position) @ frame) for corners in boxes)


def _overlap(points: FloatArray) -> float:
    """How deep a box with these corners, in the hand's frame, reaches into the hand's and the fingers' space, m."""
    low, high = points.min(axis=0), points.max(axis=0)
    depths = [float((np.minimum(high, b) - np.maximum(low, a)).min()) for a, b in (_HAND, _FINGERS)]
    return sum(TOUCH_M + d for d in depths if d > 0.0)


def _close_steps(width_m: float) -> int:
    """Control steps until the fingers hold something of this width; they move 10 mm a step, and 4 more to press."""
    return 4 + round((OPEN_WIDTH_M - width_m) / 0.01)

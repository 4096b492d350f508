"""Ways that lead over, and out from under, whatever stands around."""

from __future__ import annotations

import numpy as np

from ray_eval.policies.oracle.objects import box_corners, boxes_of
from ray_eval.policies.oracle.scene import Scene
from ray_eval.types import FloatArray

WAY_M = 0.06
"""Half the width of the way that a carried object is kept clear of, m."""
FINGERS_WAY_M = 0.03
"""The same for the empty hand's finger tips, m."""
OVER_M = 0.03
"""How far above an obstacle a way leads, m."""


def height_over_way(item: str, end: FloatArray, scene: Scene, skip: tuple[str, ...]) -> float:
    """Height of the item's origin (m) at which it passes over everything near its way."""
    start, (low, _) = scene.poses[item].position, scene.box(item)
    tops = [_top_near(scene, n, start, end) for n in scene.poses if n not in (item, *skip)]
    return float(start[2] - low[2]) + max(tops, default=0.0) + OVER_M


def finger_detour(item: str, scene: Scene, start: FloatArray, end: FloatArray) -> list[FloatArray]:
    """Points over whatever the finger tips would hit on their straight way to an item; none where it is free."""
    tops = [_top_hit(scene, n, start, end) for n in scene.poses if n != item]
    highest = max(tops, default=0.0)
    if highest <= 0.0:
        return []
    return [np.array([*point[:2], max(highest + OVER_M, point[2])]) for point in (start, end)]


def escape_of(item: str, scene: Scene) -> FloatArray:
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


def _top_hit(scene: Scene, name: str, start: FloatArray, end: FloatArray) -> float:
    """Height of a body that a straight motion of the finger tips would hit (m); 0 where it would hit nothing."""
    highest = 0.0
    for box in boxes_of(name):
        points = scene.poses[name].at(box_corners(*box))
        low, high = points.min(axis=0) - FINGERS_WAY_M, points.max(axis=0) + FINGERS_WAY_M
        for share in np.linspace(0.0, 1.0, 21):
            point = start + share * (end - start)
            if np.all(point[:2] > low[:2]) and np.all(point[:2] < high[:2]) and point[2] < points[:, 2].max() + 0.015:
                highest = max(highest, float(points[:, 2].max()))
    return highest

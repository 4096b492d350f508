"""What a camera may see of boxes, as machine code: the geometry behind `culling`; pure.

All is done in the coordinates of a camera that is at 0, looks along its -z, has its x to the right and its y up, and
shows a square image: its view is the pyramid |x|, |y| <= -slope * z. What is in the view of a box is a convex body, and
what hides it is an intersection of half spaces; so the corners of the one decide whether it is inside of the other.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from ray_eval.envs.libero.native import compiled
from ray_eval.types import Array, FloatArray

MAX_CORNERS: Final = 32
"""Two on each edge of a box and on each edge of the view."""
SIDES: Final = 5
"""The half spaces of a cone: behind a face, and inside of each edge of it."""
ON_EDGE_M: Final = 0.001
"""A camera less than this above or below a mirror is taken to see everything in it, m."""

Vector = tuple[float, float, float]


class Boxes(NamedTuple):
    """Boxes that move with bodies."""

    bodies: Array
    """(n,) whose coordinates the others are in."""
    centres: FloatArray
    """(n, 3) m."""
    half_sizes: FloatArray
    """(n, 3) m, above 0."""


class Faces(NamedTuple):
    """Rectangles that move with bodies, and are looked at from one side."""

    bodies: Array
    """(f,) whose coordinates the others are in."""
    normals: FloatArray
    """(f, 3) towards where they are looked at from."""
    centres: FloatArray
    """(f, 3) m."""
    corners: FloatArray
    """(f, 4, 3) m, in their order around the face."""


class Poses(NamedTuple):
    """Bodies in the world."""

    positions: FloatArray
    """(nbody, 3) m."""
    rotations: FloatArray
    """(nbody, 9) row by row."""


class Camera(NamedTuple):
    """A camera in the world."""

    position: FloatArray
    """(3,) m."""
    rotation: FloatArray
    """(9,) row by row; its axes are the columns."""
    slope: float
    """Tangent of half the angle of view."""


@compiled
def find_seen(  # noqa: PLR0917 -- Numba's boxing of keywords costs
    boxes: Boxes, is_asked: Array, occluders: Faces, poses: Poses, camera: Camera, clearance: float
) -> Array:
    """(nbody,) bool: whether a box of a body reaches into the view, and is not wholly behind one occluder there.

    Args:
        boxes: What is looked for.
        is_asked: (nbody,) bool: the other bodies' boxes are passed over.
        occluders: What is opaque.
        poses: Of the bodies of both.
        camera: From where it is looked.
        clearance: How high the camera is at least over a face that hides anything, m.
    """
    cones, count = np.empty((len(occluders.bodies), SIDES, 4)), 0
    for face in range(len(occluders.bodies)):
        if _fill_cone(cones[count], occluders, face, poses, camera) > clearance:
            count += 1
    part, moved = np.empty((MAX_CORNERS, 3)), np.empty((4, 3))
    is_seen = np.zeros(len(is_asked), dtype=np.bool_)
    for box in range(len(boxes.bodies)):
        body = boxes.bodies[box]
        if is_seen[body] or not is_asked[body]:
            continue
        _move(moved, boxes, box, poses, camera)
        corner_count = _clip(part, moved, camera.slope)
        is_seen[body] = corner_count > 0
        for cone in range(count):
            is_seen[body] = is_seen[body] and not _is_within(cones[cone], part, corner_count)
    return is_seen


@compiled
def find_reflected(  # noqa: PLR0917 -- Numba's boxing of keywords costs
    boxes: Boxes, is_asked: Array, mirrors: Faces, mirror: int, poses: Poses, camera: Camera
) -> Array:
    """(nbody,) bool: whether a box of a body may be seen in one of the mirrors.

    Args:
        boxes: What is looked for.
        is_asked: (nbody,) bool: the other bodies' boxes are passed over.
        mirrors: Faces that mirror.
        mirror: Which of them.
        poses: Of the bodies of both.
        camera: From where it is looked.
    """
    cone = np.empty((SIDES, 4))
    height = _fill_cone(cone, mirrors, mirror, poses, camera)
    if abs(height) < ON_EDGE_M:
        return is_asked.copy()
    is_seen = np.zeros(len(is_asked), dtype=np.bool_)
    if height < 0:
        return is_seen
    part, moved = np.empty((MAX_CORNERS, 3)), np.empty((4, 3))
    for box in range(len(boxes.bodies)):
        body = boxes.bodies[box]
        if is_seen[body] or not is_asked[body]:
            continue
        _move(moved, boxes, box, poses, camera)
        _reflect(moved, cone[0])
        corner_count = _clip(part, moved, camera.slope)
        is_seen[body] = corner_count > 0 and _may_reach_into(cone, part, corner_count)
    return is_seen


@compiled
def _direction(poses: Poses, body: int, camera: Camera, local: FloatArray) -> Vector:
    """A body's vector in the camera's coordinates."""
    turn = poses.rotations[body]
    x = turn[0] * local[0] + turn[1] * local[1] + turn[2] * local[2]
    y = turn[3] * local[0] + turn[4] * local[1] + turn[5] * local[2]
    z = turn[6] * local[0] + turn[7] * local[1] + turn[8] * local[2]
    return _in_camera(camera, x, y, z)


@compiled
def _place(poses: Poses, body: int, camera: Camera, local: FloatArray) -> Vector:
    """A body's point in the camera's coordinates."""
    offset = poses.positions[body]
    here = camera.position
    x, y, z = _in_camera(camera, offset[0] - here[0], offset[1] - here[1], offset[2] - here[2])
    right, up, back = _direction(poses, body, camera, local)
    return x + right, y + up, z + back


@compiled
def _in_camera(camera: Camera, x: float, y: float, z: float) -> Vector:
    """The world's vector in the camera's coordinates."""
    axes = camera.rotation
    return (
        axes[0] * x + axes[3] * y + axes[6] * z,
        axes[1] * x + axes[4] * y + axes[7] * z,
        axes[2] * x + axes[5] * y + axes[8] * z,
    )


@compiled
def _move(moved: FloatArray, boxes: Boxes, box: int, poses: Poses, camera: Camera) -> None:
    """Fills (4, 3): the box's centre and its three half axes in the camera's coordinates."""
    body = boxes.bodies[box]
    moved[0, 0], moved[0, 1], moved[0, 2] = _place(poses, body, camera, boxes.centres[box])
    turn = poses.rotations[body]
    for axis in range(3):
        size = boxes.half_sizes[box, axis]
        x, y, z = _in_camera(camera, turn[axis], turn[axis + 3], turn[axis + 6])
        moved[axis + 1, 0], moved[axis + 1, 1], moved[axis + 1, 2] = size * x, size * y, size * z


@compiled
def _reflect(box: FloatArray, mirror: FloatArray) -> None:
    """Replaces a box (`_move`) by its image in the plane that bounds a half space (`_fill_cone`)."""
    for row in range(4):
        distance = mirror[0] * box[row, 0] + mirror[1] * box[row, 1] + mirror[2] * box[row, 2]
        if row == 0:
            distance += mirror[3]
        for i in range(3):
            box[row, i] -= 2 * distance * mirror[i]


@compiled
def _clip(part: FloatArray, box: FloatArray, slope: float) -> int:
    """Fills `part` with the corners of what of a box (`_move`) is in the view; how many there are."""
    count = 0
    for edge in range(12):
        count = _clip_edge(part, count, box, edge, slope)
    for corner in range(4):
        count = _clip_ray(part, count, box, corner, slope)
    return count


@compiled
def _clip_edge(part: FloatArray, count: int, box: FloatArray, edge: int, slope: float) -> int:
    """Adds the ends of what of a box's edge is in the view; how many points there are then."""
    axis, corner = edge // 4, edge % 4
    one, other = 2.0 * (corner % 2) - 1, 2.0 * (corner // 2) - 1
    along, across, upwards = box[axis + 1], box[(axis + 1) % 3 + 1], box[(axis + 2) % 3 + 1]
    depth = -(box[0, 2] + one * across[2] + other * upwards[2])
    begin, end = -1.0, 1.0
    for i in range(2):
        middle = box[0, i] + one * across[i] + other * upwards[i]
        for sign in (-1, 1):
            inside, change = slope * depth - sign * middle, -slope * along[2] - sign * along[i]
            if change > 0:
                begin = max(begin, -inside / change)
            elif change < 0:
                end = min(end, -inside / change)
            elif inside < 0:
                return count
    if begin > end:
        return count
    for i in range(3):
        middle = box[0, i] + one * across[i] + other * upwards[i]
        part[count, i] = middle + begin * along[i]
        part[count + 1, i] = middle + end * along[i]
    return count + 2


@compiled
def _clip_ray(part: FloatArray, count: int, box: FloatArray, corner: int, slope: float) -> int:
    """Adds where an edge of the view enters a box and where it leaves it; how many points there are then."""
    x, y = (2.0 * (corner % 2) - 1) * slope, (2.0 * (corner // 2) - 1) * slope
    begin, end = 0.0, np.inf
    for row in range(1, 4):
        axis = box[row]
        size = axis[0] * axis[0] + axis[1] * axis[1] + axis[2] * axis[2]
        middle = axis[0] * box[0, 0] + axis[1] * box[0, 1] + axis[2] * box[0, 2]
        change = axis[0] * x + axis[1] * y - axis[2]
        if change == 0:
            if abs(middle) > size:
                return count
        else:
            sign = 1.0 if change > 0 else -1.0
            begin = max(begin, (middle - sign * size) / change)
            end = min(end, (middle + sign * size) / change)
    if begin > end:
        return count
    part[count, 0], part[count, 1], part[count, 2] = begin * x, begin * y, -begin
    part[count + 1, 0], part[count + 1, 1], part[count + 1, 2] = end * x, end * y, -end
    return count + 2


@compiled
def _fill_cone(cone: FloatArray, faces: Faces, face: int, poses: Poses, camera: Camera) -> float:
    """Fills (`SIDES`, 4): half spaces (normal, offset) that have in common what the face hides; the camera's height.

    The first is what is behind the face's plane, and has a unit normal.
    """
    body = faces.bodies[face]
    x, y, z = _direction(poses, body, camera, faces.normals[face])
    right, up, back = _place(poses, body, camera, faces.centres[face])
    height = -(x * right + y * up + z * back)
    cone[0, 0], cone[0, 1], cone[0, 2], cone[0, 3] = -x, -y, -z, -height
    for corner in range(4):
        x, y, z = _place(poses, body, camera, faces.corners[face, corner])
        u, v, w = _place(poses, body, camera, faces.corners[face, (corner + 1) % 4])
        x, y, z = y * w - z * v, z * u - x * w, x * v - y * u
        sign = 1.0 if x * right + y * up + z * back > 0 else -1.0
        cone[corner + 1, 0], cone[corner + 1, 1], cone[corner + 1, 2] = sign * x, sign * y, sign * z
        cone[corner + 1, 3] = 0.0
    return height


@compiled
def _is_within(cone: FloatArray, part: FloatArray, count: int) -> bool:
    """Whether all of a convex body is inside of all half spaces."""
    for side in range(SIDES):
        for corner in range(count):
            if _depth(cone[side], part[corner]) <= 0:
                return False
    return True


@compiled
def _may_reach_into(cone: FloatArray, part: FloatArray, count: int) -> bool:
    """Whether some of a convex body is inside of each half space."""
    for side in range(SIDES):
        is_outside = True
        for corner in range(count):
            is_outside = is_outside and _depth(cone[side], part[corner]) < 0
        if is_outside:
            return False
    return True


@compiled
def _depth(half_space: FloatArray, point: FloatArray) -> float:
    """How deep a point is in a half space, in lengths of its normal."""
    depth: float = half_space[0] * point[0] + half_space[1] * point[1] + half_space[2] * point[2] + half_space[3]
    return depth

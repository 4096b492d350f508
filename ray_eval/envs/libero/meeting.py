"""Which kept geoms must be drawn again over themselves, as machine code; pure.

OpenGL's test of depth lets the later one of two equally deep fragments win. A kept geom comes before whatever is drawn
on top, also before what `mjr_render` draws earlier than it. Where the two may touch, the kept one is drawn once more in
its place: that changes nothing where it is the nearest, and it wins where it should.
"""

from __future__ import annotations

import numpy as np

from ray_eval.envs.libero.native import compiled
from ray_eval.envs.libero.visibility import Boxes, Poses
from ray_eval.types import Array, FloatArray


@compiled
def find_drawn_again(wholes: Boxes, parts: Boxes, is_kept: Array, is_drawn: Array, poses: Poses) -> Array:
    """(nbody,) bool: kept bodies that may touch one that is drawn and comes before them; drawn again, they count too.

    Args:
        wholes: A box around each body; what has none touches everything.
        parts: Boxes that together hold each of the same bodies, those of a body one after the other.
        is_kept: (nbody,) bool.
        is_drawn: (nbody,) bool: those that are drawn anyhow, and none of the kept ones.
        poses: Of all.
    """
    ends, part_ends = _ends(wholes, len(is_kept)), _ends(parts, len(is_kept))
    is_again = np.zeros(len(is_kept), dtype=np.bool_)
    for body in range(len(is_kept)):
        for other in range(body):
            if not is_kept[body] or is_again[body]:
                break
            if is_drawn[other] or is_again[other]:
                is_again[body] = _may_touch(wholes, ends[other], ends[body], poses) and _may_touch(
                    parts, part_ends[other], part_ends[body], poses
                )
    return is_again


@compiled
def find_touching(wholes: Boxes, parts: Boxes, is_asked: Array, body: int, poses: Poses) -> Array:
    """(nbody,) bool: which of the bodies asked for may touch one.

    Args:
        wholes: As in `find_drawn_again`.
        parts: As in `find_drawn_again`.
        is_asked: (nbody,) bool.
        body: The one.
        poses: Of all.
    """
    ends, part_ends = _ends(wholes, len(is_asked)), _ends(parts, len(is_asked))
    is_touching = np.zeros(len(is_asked), dtype=np.bool_)
    for other in range(len(is_asked)):
        if is_asked[other] and other != body:
            is_touching[other] = _may_touch(wholes, ends[body], ends[other], poses) and _may_touch(
                parts, part_ends[body], part_ends[other], poses
            )
    return is_touching


@compiled
def _ends(boxes: Boxes, count: int) -> Array:
    """(count, 2) the first box of each body, and the one after its last; the same for none."""
    ends = np.zeros((count, 2), dtype=np.int64)
    for box in range(len(boxes.bodies)):
        body = boxes.bodies[box]
        if ends[body, 1] == 0:
            ends[body, 0] = box
        ends[body, 1] = box + 1
    return ends


@compiled
def _may_touch(boxes: Boxes, one: Array, other: Array, poses: Poses) -> bool:
    """Whether boxes of two bodies may touch, or a body has none.

    Args:
        boxes: Of all bodies.
        one: (2,) the ends of a body's.
        other: (2,) likewise.
        poses: Of all.
    """
    if one[0] == one[1] or other[0] == other[1]:
        return True
    for box in range(one[0], one[1]):
        for others_box in range(other[0], other[1]):
            if not _are_apart(boxes, box, others_box, poses):
                return True
    return False


@compiled
def _are_apart(boxes: Boxes, one: int, other: int, poses: Poses) -> bool:
    """Whether a side of one box has all of the other one in front of it."""
    offset = np.empty(3)
    turn, others_turn = poses.rotations[boxes.bodies[one]], poses.rotations[boxes.bodies[other]]
    for i in range(3):
        offset[i] = _place(boxes, other, poses, i) - _place(boxes, one, poses, i)
    return _is_apart(offset, turn, boxes.half_sizes[one], others_turn, boxes.half_sizes[other]) or _is_apart(
        offset, others_turn, boxes.half_sizes[other], turn, boxes.half_sizes[one]
    )


@compiled
def _place(boxes: Boxes, box: int, poses: Poses, i: int) -> float:
    """A coordinate of a box's centre in the world."""
    body = boxes.bodies[box]
    place: float = poses.positions[body, i]
    for axis in range(3):
        place += poses.rotations[body, 3 * i + axis] * boxes.centres[box, axis]
    return place


@compiled
def _is_apart(offset: FloatArray, turn: Array, size: Array, others_turn: Array, others_size: Array) -> bool:
    """Whether a side of one box has all of another one in front of it.

    Args:
        offset: (3,) from the one's centre to the other's.
        turn: (9,) row by row; its axes are the columns.
        size: (3,) half sizes.
        others_turn: Of the other one.
        others_size: Of the other one.
    """
    for axis in range(3):
        distance, reach = 0.0, size[axis]
        for i in range(3):
            distance += turn[3 * i + axis] * offset[i]
        for across in range(3):
            part = 0.0
            for i in range(3):
                part += turn[3 * i + axis] * others_turn[3 * i + across]
            reach += others_size[across] * abs(part)
        if abs(distance) > reach:
            return True
    return False

"""What is worth keeping, and what must be drawn again; nothing is drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_culling import POINTS, TURN, VECTOR, matrix

from ray_eval.envs.libero.keeping import FILL, MIRROR, Stillness
from ray_eval.envs.libero.scene_geoms import GEOM


def geoms(*places):
    found = np.zeros(len(places), GEOM)
    found["pos"][:, 0] = places
    return found


FIXED, FREE = np.array([True, False]), np.array([False, True])
NONE = np.zeros(2, dtype=bool)


def stillness(cost=1, is_driven=FREE):
    return Stillness(np.array([1, cost]), FIXED, is_driven)


def test_what_is_as_in_the_image_before_stands_still():
    seen = stillness()
    seen.see(b"here", geoms(0, 1))
    seen.see(b"here", geoms(0, 2))
    assert seen.is_still.tolist() == [True, False]
    seen.see(b"there", geoms(0, 2))
    assert not seen.is_still.any()


def test_when_an_episode_begins_what_no_actuator_moves_is_expected_to_lie_still():
    seen = stillness(cost=FILL - 1)
    seen.see(b"here", geoms(0, 1))
    assert seen.is_still.tolist() == [True, False]
    seen.see(b"here", geoms(1, 1))
    assert seen.is_still.tolist() == [False, True]
    assert not seen.is_worth_keeping(FREE, FREE, NONE)
    seen.begin()
    seen.see(b"here", geoms(2, 2))
    assert seen.is_still.tolist() == [True, False]
    assert seen.is_calm
    assert not seen.is_worth_keeping(FREE, FREE, NONE)  # what was drawn in vain before does not count


def test_a_fixture_may_be_put_elsewhere_once_and_a_camera_that_keeps_moving_is_not_worth_it():
    seen = stillness()
    for frame, place, is_calm in [(b"1", 0, True), (b"1", 0, True), (b"1", 5, True), (b"1", 5, True)]:
        seen.see(frame, geoms(place, 0))
        assert seen.is_calm == is_calm
    for frame in (b"2", b"3", b"4"):
        seen.see(frame, geoms(5, 0))
    assert not seen.is_calm
    seen.see(b"4", geoms(5, 0))
    assert seen.is_calm


@pytest.mark.parametrize(("is_reflected", "images"), [(NONE, 2), (FREE, MIRROR + 1)])
def test_keeping_is_worth_it_once_drawing_has_cost_as_much(is_reflected, images):
    seen = stillness(cost=FILL // 2)
    assert [seen.is_worth_keeping(FREE, FREE, is_reflected) for _ in range(images)] == [False] * (images - 1) + [True]
    assert not seen.is_worth_keeping(FREE, FREE, is_reflected)


def test_reflections_of_what_is_kept_already_are_taken_anew():
    seen = stillness(cost=FILL * 8)
    both = FIXED | FREE
    assert not seen.is_worth_keeping(both, FIXED, FREE)
    assert seen.is_worth_keeping(both, FREE, FREE)


@pytest.fixture(scope="module", autouse=True)
def libero(simulator):
    """Machine code is kept beside robosuite's."""


def room_of(places, turns, sizes):
    from ray_eval.envs.libero.visibility import Boxes, Poses

    count = len(places)
    poses = Poses(np.array(places), np.array([matrix(turn) for turn in turns]))
    return Boxes(np.arange(count), np.zeros((count, 3)), np.array(sizes)), poses


SIZE = st.tuples(*[st.floats(0.05, 1)] * 3)


@settings(max_examples=200, deadline=None)
@given(VECTOR, TURN, SIZE, VECTOR, TURN, SIZE)
def test_what_has_a_point_in_common_with_what_is_drawn_before_it_is_drawn_again(place, turn, size, at, other, others):
    from ray_eval.envs.libero.meeting import find_drawn_again, find_touching

    boxes, poses = room_of([place, at], [turn, other], [size, others])
    points = np.array(place) + POINTS * size @ matrix(turn).reshape(3, 3).T
    inside = np.abs((points - at) @ matrix(other).reshape(3, 3)) <= np.array(others)
    is_meeting = bool(inside.all(axis=1).any())
    assert find_drawn_again(boxes, boxes, FREE, FIXED, poses)[1] or not is_meeting
    assert find_touching(boxes, boxes, FREE, 0, poses)[1] or not is_meeting
    # What comes later wins anyway.
    assert not find_drawn_again(boxes, boxes, FIXED, FREE, poses).any()


def test_boxes_far_from_each_other_do_not_touch_and_what_is_drawn_again_counts():
    from ray_eval.envs.libero.meeting import find_drawn_again

    row = [(x, 0.0, 0.0) for x in (0, 1, 2, 3, 9)]
    boxes, poses = room_of(row, [(1, 0, 0, 0)] * 5, [(0.6, 1, 1)] * 5)
    is_kept, is_drawn = np.array([False, True, True, False, True]), np.array([True, False, False, False, False])
    assert find_drawn_again(boxes, boxes, is_kept, is_drawn, poses).tolist() == [False, True, True, False, False]


def test_what_has_no_box_touches_everything():
    from ray_eval.envs.libero.meeting import find_drawn_again

    boxes, poses = room_of([(0.0, 0.0, 0.0), (9.0, 0.0, 0.0)], [(1, 0, 0, 0)] * 2, [(0.1, 0.1, 0.1)] * 2)
    only_one = boxes._replace(bodies=boxes.bodies[1:], centres=boxes.centres[1:], half_sizes=boxes.half_sizes[1:])
    assert find_drawn_again(only_one, only_one, FREE, FIXED, poses).tolist() == [False, True]

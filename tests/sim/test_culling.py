"""What is left out of an image, from where boxes, faces, mirrors and cameras are; nothing is drawn."""

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_eval.envs.libero.snapshot import take_snapshot


def left_out(scene):
    """The names of the geoms that the scene's camera cannot see."""
    from ray_eval.envs.libero.culling import SceneBounds

    model = mujoco.MjModel.from_xml_string(scene)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    unseen = SceneBounds(model).unseen(take_snapshot(model, data), 0)
    return {model.geom(index).name for index in np.flatnonzero(unseen)}


def room(reflectance=0, shadow="false"):
    return f"""
<mujoco>
  <default><geom group="1"/></default>
  <asset><material name="floor" reflectance="{reflectance}"/></asset>
  <worldbody>
    <light pos="0 0 3" castshadow="{shadow}"/>
    <camera name="from the horizon down" pos="0 0 1" xyaxes="1 0 0 0 1 1" fovy="90"/>
    <geom name="floor" type="plane" size="5 5 .1" material="floor"/>
    <geom name="ahead" type="sphere" size=".1" pos="0 1 0"/>
    <geom name="half in view" type="sphere" size=".1" pos="1.41 1 0"/>
    <geom name="beside" type="sphere" size=".1" pos="1.7 1 0"/>
    <geom name="behind" type="sphere" size=".1" pos="0 -1 1"/>
    <geom name="above" type="sphere" size=".1" pos="0 2 2"/>
  </worldbody>
</mujoco>
"""


def test_what_is_outside_of_the_view_is_left_out():
    assert left_out(room()) == {"beside", "behind", "above"}


def test_what_a_mirror_shows_is_drawn():
    assert left_out(room(reflectance=0.5)) == {"beside", "behind"}


def test_where_shadows_are_cast_everything_is_drawn():
    assert left_out(room(shadow="true")) == set()


def table(camera="0 0 2", group=1, alpha=1, znear=0.01):
    """A table of 1 x 1 m whose top is at a height of 1 m, seen from above; the image reaches beyond its edge."""
    return f"""
<mujoco>
  <visual><map znear="{znear}"/></visual>
  <statistic extent="1"/>
  <default><geom group="1"/></default>
  <worldbody>
    <camera pos="{camera}" xyaxes="1 0 0 0 1 0" fovy="90"/>
    <geom name="table" type="box" size=".5 .5 .05" pos="0 0 .95" group="{group}" rgba="1 1 1 {alpha}"/>
    <geom name="on it" type="sphere" size=".1" pos="0 0 1.1"/>
    <geom name="sunk in it" type="sphere" size=".1" pos=".3 0 1"/>
    <geom name="under it" type="sphere" size=".1" pos="0 0 .5"/>
    <geom name="leg" type="cylinder" size=".02 .45" pos="-.3 .3 .45"/>
    <geom name="under its edge" type="sphere" size=".1" pos=".65 0 .7"/>
  </worldbody>
</mujoco>
"""


def test_what_an_opaque_box_covers_is_left_out():
    assert left_out(table()) == {"under it", "leg"}


def test_under_a_table_everything_is_drawn_but_what_is_on_it():
    assert left_out(table(camera="0 0 .0")) == {"table", "on it", "sunk in it", "under it", "leg", "under its edge"}


@pytest.mark.parametrize(
    "scene",
    [table(alpha=0.9), table(group=2), table(group=0), table(camera="0 0 1.04"), table(znear=0.03)],
    ids=["transparent", "perhaps not drawn", "not drawn", "too near", "perhaps cut by the near plane"],
)
def test_what_is_not_surely_an_opaque_surface_hides_nothing(scene):
    assert not left_out(scene) & {"under it", "leg"}


def stove(camera="0 0 2", axes="1 0 0 0 1 0", reflectance=0.5):
    """A box of 0.4 x 0.4 m with a mirroring top, below a camera."""
    return f"""
<mujoco>
  <statistic extent="1"/>
  <default><geom group="1"/></default>
  <asset><material name="steel" reflectance="{reflectance}"/></asset>
  <worldbody>
    <camera pos="{camera}" xyaxes="{axes}" fovy="90"/>
    <geom name="stove" type="box" size=".2 .2 .02" material="steel"/>
    <geom name="on it" type="sphere" size=".03" pos="0 0 .1"/>
    <geom name="in its middle" type="sphere" size=".1" pos="0 0 2.5"/>
    <geom name="in its corner" type="sphere" size=".1" pos=".5 .5 2.5"/>
    <geom name="beyond its edge" type="sphere" size=".1" pos="0 .7 2.5"/>
  </worldbody>
</mujoco>
"""


def test_only_what_a_mirror_may_show_within_its_edges_is_drawn():
    assert left_out(stove()) == {"beyond its edge"}
    assert left_out(stove(reflectance=0)) == {"beyond its edge", "in its middle", "in its corner"}


def test_a_mirror_out_of_view_is_left_out_with_what_it_would_show():
    everything = {"stove", "on it", "in its middle", "in its corner", "beyond its edge"}
    assert left_out(stove(camera="3 0 2")) == everything


def test_a_mirror_shows_nothing_to_a_camera_below_it():
    assert left_out(stove(camera="0 0 -2", axes="1 0 0 0 -1 0")) == {"on it", "in its middle"}


NUMBER = st.floats(-1, 1)
VECTOR = st.tuples(NUMBER, NUMBER, NUMBER)
TURN = st.tuples(NUMBER, NUMBER, NUMBER, NUMBER).filter(lambda quat: np.linalg.norm(quat) > 0.1)
POINTS = np.random.default_rng(0).uniform(-1, 1, (2000, 3))


def matrix(quat):
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, np.array(quat) / np.linalg.norm(quat))
    return rotation


def one_face(half_width):
    from ray_eval.envs.libero.visibility import Faces

    corners = [[(x * half_width, y * half_width, 0.0) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]]
    return Faces(np.array([1]), np.array([[0.0, 0.0, 1.0]]), np.zeros((1, 3)), np.array(corners))


def sight(camera, points):
    """Whether points are in the camera's view."""
    right, up, back = ((points - camera.position) @ camera.rotation.reshape(3, 3)).T
    return np.maximum(np.abs(right), np.abs(up)) <= -camera.slope * back


def crossing(camera, points, poses, half_width):
    """Whether the camera sees points through the face."""
    axes = poses.rotations[1].reshape(3, 3)
    eye, ends = (camera.position - poses.positions[1]) @ axes, (points - poses.positions[1]) @ axes
    with np.errstate(divide="ignore", invalid="ignore"):
        hits = eye + (eye[2] / (eye[2] - ends[:, 2]))[:, None] * (ends - eye)
    return (eye[2] > 0) & (ends[:, 2] < 0) & np.all(np.abs(hits[:, :2]) < half_width, axis=1)


@settings(max_examples=300, deadline=None)
@given(VECTOR, TURN, st.tuples(*[st.floats(0.01, 1)] * 3), VECTOR, TURN, st.floats(0.05, 2), VECTOR, TURN)
def test_of_what_is_left_out_no_point_is_seen(place, turn, size, face_place, face_turn, width, eye, gaze):
    from ray_eval.envs.libero.visibility import Boxes, Camera, Poses, find_reflected, find_seen

    poses = Poses(np.array([place, face_place]), np.array([matrix(turn), matrix(face_turn)]))
    boxes = Boxes(np.array([0]), np.zeros((1, 3)), np.array([size]))
    camera = Camera(np.array(eye), matrix(gaze), 0.8)
    points = np.array(place) + POINTS * size @ matrix(turn).reshape(3, 3).T

    in_view, everything = sight(camera, points), np.ones(2, dtype=np.bool_)
    in_sight = in_view & ~crossing(camera, points, poses, width)
    nothing = one_face(width)._replace(bodies=np.empty(0, dtype=np.int64))
    assert find_seen(boxes, everything, nothing, poses, camera, 0.0)[0] or not in_view.any()
    assert find_seen(boxes, everything, one_face(width), poses, camera, 0.0)[0] or not in_sight.any()

    axis, offset = matrix(face_turn).reshape(3, 3)[:, 2], points - face_place
    images = points - 2 * np.outer(offset @ matrix(face_turn).reshape(3, 3)[:, 2], axis)
    in_mirror = sight(camera, images) & crossing(camera, images, poses, width)
    assert find_reflected(boxes, everything, one_face(width), 0, poses, camera)[0] or not in_mirror.any()


def mesh_table(corners, faces):
    """A table top made of triangles, seen from above, with a ball below it."""
    vertex, face = (" ".join(map(str, np.ravel(numbers))) for numbers in (corners, faces))
    return f"""
<mujoco>
  <statistic extent="1"/>
  <default><geom group="1"/></default>
  <asset><mesh name="top" vertex="{vertex}" face="{face}"/></asset>
  <worldbody>
    <camera pos="0 0 2" xyaxes="1 0 0 0 1 0" fovy="90"/>
    <geom name="top" type="mesh" mesh="top" pos="0 0 1"/>
    <geom name="under it" type="sphere" size=".1" pos="0 0 .5"/>
  </worldbody>
</mujoco>
"""


CORNERS = [(-0.5, -0.5, 0), (0.5, -0.5, 0), (0.5, 0.5, 0), (-0.5, 0.5, 0), (0, 0, -0.4)]
SLOPES = [(0, 4, 1), (1, 4, 2), (2, 4, 3), (3, 4, 0)]


def test_a_rectangle_of_two_triangles_of_a_mesh_hides_what_is_behind_its_front():
    assert left_out(mesh_table(CORNERS, [(0, 1, 2), (0, 2, 3), *SLOPES])) == {"under it"}


@pytest.mark.parametrize("x", [0.3, 0.7])
def test_two_triangles_that_are_no_rectangle_hide_nothing(x):
    corners = [*CORNERS[:2], (x, 0.5, 0), *CORNERS[3:]]
    assert left_out(mesh_table(corners, [(0, 1, 2), (0, 2, 3), *SLOPES])) == set()


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_each_triangle_of_a_mesh_is_in_one_of_its_parts(count, seed):
    from ray_eval.envs.libero.meshes import part_bounds

    corners = np.random.default_rng(seed).normal(size=(count, 1, 3)) + np.random.default_rng(seed + 1).normal(
        0, 0.1, (count, 3, 3)
    )
    low, high = part_bounds(corners)
    is_in = np.all((low <= corners[:, :, None]) & (corners[:, :, None] <= high), axis=3)
    assert np.all(np.any(np.all(is_in, axis=1), axis=1))

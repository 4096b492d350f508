"""Images without what cannot be seen against robosuite's own, over arm poses far apart, in every kind of scene."""

import mujoco
import numpy as np
import pytest

from ray_eval.envs import catalogue
from ray_eval.envs.libero.culling import unseen_geoms
from ray_eval.envs.libero.env import CAMERAS, LiberoEnv
from ray_eval.envs.libero.snapshot import take_snapshot
from ray_eval.sections import EnvSettings, ObservationRecipe
from ray_eval.types import STATE, EpisodeSpec

SAMPLE = [("libero_object", 0), ("libero_goal", 3), ("libero_90", 20), ("libero_90", 50), ("libero_10", 5)]
"""Floor, table, kitchen, living room, study."""
SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")


def snapshots(model, data, count):
    """Scenes with the arm anywhere and the objects somewhat moved: what was out of a camera's sight comes into it."""
    rng = np.random.default_rng(0)
    scratch = mujoco.MjData(model)
    for _ in range(count):
        scratch.qpos[:] = data.qpos
        scratch.qpos[:7] += rng.uniform(-0.7, 0.7, 7)
        scratch.qpos[9:] += rng.uniform(-0.03, 0.03, model.nq - 9)
        mujoco.mj_kinematics(model, scratch)
        mujoco.mj_comPos(model, scratch)
        mujoco.mj_camlight(model, scratch)
        yield take_snapshot(model, scratch)


def plain_image(renderer, snapshot, camera):
    context = renderer._current_context()
    with renderer._scene.showing(snapshot):
        context.render(width=256, height=256, camera_id=renderer._scene.model.camera_name2id(camera))
    return context.read_pixels(256, 256)


def check(suite, task_id, count):
    env = LiberoEnv(suite, task_id, EnvSettings(ObservationRecipe((STATE,)), settle_steps=0))
    try:
        env.reset(EpisodeSpec(suite, task_id, 0, env_seed=7, max_steps=100))
        renderer, model, data = env._renderer, env._simulation.env.sim.model._model, env._simulation.env.sim.data._data
        images, unseen = set(), {camera: [] for camera in CAMERAS.values()}
        for snapshot in snapshots(model, data, count):
            for camera, left_out in unseen.items():
                image = renderer.render(snapshot, camera, 256)
                assert np.array_equal(image, plain_image(renderer, snapshot, camera)), (suite, task_id, camera)
                images.add(image.tobytes())
                left_out.append(frozenset(np.flatnonzero(unseen_geoms(model, snapshot, model.camera(camera).id))))
        assert len(images) == count * len(CAMERAS)
        # Something is left out, and not always the same: what was out of sight comes into it.
        assert len(set(unseen["robot0_eye_in_hand"])) > 1
        assert all(unseen["robot0_eye_in_hand"])
    finally:
        env.close()


@pytest.mark.parametrize(("suite", "task_id"), SAMPLE)
def test_what_is_left_out_is_not_seen_wherever_the_arm_is(simulator, suite, task_id):
    check(suite, task_id, count=4)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("suite", SUITES)
def test_what_is_left_out_is_not_seen_in_any_task(simulator, suite):
    for task_id in range(len(catalogue.tasks(suite))):
        check(suite, task_id, count=4)


ROOM = """
<mujoco>
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


def left_out(reflectance=0, shadow="false"):
    model = mujoco.MjModel.from_xml_string(ROOM.format(reflectance=reflectance, shadow=shadow))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    unseen = unseen_geoms(model, take_snapshot(model, data), 0)
    return {model.geom(index).name for index in np.flatnonzero(unseen)}


def test_what_is_outside_of_the_view_is_left_out():
    assert left_out() == {"beside", "behind", "above"}


def test_what_a_mirror_shows_is_drawn():
    assert left_out(reflectance=0.5) == {"beside", "behind"}


def test_where_shadows_are_cast_everything_is_drawn():
    assert left_out(shadow="true") == set()

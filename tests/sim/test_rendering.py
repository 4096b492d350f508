"""Images without what cannot be seen against robosuite's own, over arm poses far apart, in every kind of scene."""

import dataclasses

import mujoco
import numpy as np
import pytest

from ray_eval.envs import catalogue
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


def check(suite, task_id, count):
    env = LiberoEnv(suite, task_id, EnvSettings(ObservationRecipe((STATE,)), settle_steps=0))
    try:
        env.reset(EpisodeSpec(suite, task_id, 0, env_seed=7, max_steps=100))
        renderer, sim = env._renderer, env._simulation.env.sim
        images = set()
        for snapshot in snapshots(sim.model._model, sim.data._data, count):
            for camera in CAMERAS.values():
                image = renderer.render(snapshot, camera, 256)
                with renderer._scene.showing(snapshot):
                    plain = renderer._plain_image(camera, 256)
                assert np.array_equal(image, plain), (suite, task_id, camera)
                images.add(image.tobytes())
        assert renderer.is_culling
        assert len(images) == count * len(CAMERAS)
        assert renderer._proven == set(CAMERAS.values())
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


def test_a_renderer_that_draws_something_else_draws_as_robosuite_does_from_then_on(simulator, caplog):
    env = LiberoEnv("libero_object", 0, EnvSettings(ObservationRecipe((STATE,)), settle_steps=0))
    try:
        env.reset(EpisodeSpec("libero_object", 0, 0, env_seed=7, max_steps=100))
        renderer, snapshot = env._renderer, env._simulation.snapshot
        image = renderer.render(snapshot, "agentview", 128)
        renderer._proven.clear()
        renderer._drawing._samples = renderer._drawing._samples[:1]  # what owns other samples is left out
        assert np.array_equal(renderer.render(snapshot, "agentview", 128), image)
        assert not renderer.is_culling
        assert "expected the same image" in caplog.text
        moved = dataclasses.replace(snapshot, cam_xpos=snapshot.cam_xpos + 0.01)
        with renderer._scene.showing(moved):
            plain = renderer._plain_image("agentview", 128)
        assert np.array_equal(renderer.render(moved, "agentview", 128), plain)
    finally:
        env.close()

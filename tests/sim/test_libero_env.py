"""What `LiberoEnv` adds to plain LIBERO: the contract, errors, control modes, histories."""

import dataclasses

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import ray_eval.envs.gym  # noqa: F401 -- registers the environment
from ray_eval.envs import make_env
from ray_eval.envs.contract import check_env_contract
from ray_eval.envs.libero.env import LiberoEnv
from ray_eval.envs.libero.settings import libero
from ray_eval.envs.libero.simulation import placed
from ray_eval.errors import EpisodeError
from ray_eval.sections import EnvSettings, ImageRecipe, ObservationRecipe
from ray_eval.types import ENVIRONMENT_STATE, IMAGE, OBSERVATION_KEYS, STATE, EpisodeSpec

EPISODE = EpisodeSpec("libero_goal", 5, 3, env_seed=7, max_steps=100)
SMALL = ImageRecipe(render_size_px=64, image_size_px=64)


def build(keys=OBSERVATION_KEYS, n_obs_steps=1, **settings):
    recipe = ObservationRecipe(keys, n_obs_steps, images=SMALL)
    return LiberoEnv(EPISODE.suite, EPISODE.task_id, EnvSettings(recipe, libero(**({"settle_steps": 2} | settings))))


@pytest.fixture(scope="module")
def env():
    made = build()
    yield made
    made.close()


@pytest.fixture
def randomization_error(simulator):
    from robosuite.utils.errors import RandomizationError

    return RandomizationError


def test_the_env_keeps_the_contract(env):
    check_env_contract(env, EPISODE)


def test_make_env_builds_it_by_name():
    made = make_env("libero_goal", 5, EnvSettings(ObservationRecipe((STATE,))))
    made.close()
    assert isinstance(made, LiberoEnv)
    assert made.task == "push_the_plate_to_the_front_of_the_stove"


def test_the_privileged_state_begins_with_the_objects_of_interest(env):
    env.reset(EPISODE)
    names = env.environment_names
    assert names[:2] == ("plate_1", "main_table_stove_front_region")
    assert list(names[2:7]) == sorted(names[2:7])
    assert names[-1] == "joint:wooden_cabinet_1_top_level"
    poses = sum(not name.startswith("joint:") for name in names)
    assert env.observe()[ENVIRONMENT_STATE].shape == (7 * poses + len(names) - poses,)


def test_orientations_are_unit_quaternions_for_bodies_and_regions_alike(env):
    env.reset(EPISODE)
    state = env.observe()[ENVIRONMENT_STATE]
    assert np.allclose([np.linalg.norm(state[7 * index + 3 : 7 * index + 7]) for index in range(12)], 1)


def test_an_init_state_that_does_not_exist_is_an_error_of_the_episode(env):
    with pytest.raises(EpisodeError, match="0 to 49, got 50"):
        env.reset(dataclasses.replace(EPISODE, init_state_id=50))


def test_an_init_state_of_another_model_is_an_error_of_the_episode(env):
    with pytest.raises(EpisodeError, match="expected 79 numbers"):
        env._simulation.reset(7, np.zeros(5))


def test_a_simulation_that_diverges_is_an_error_of_the_episode(env, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # MuJoCo leaves a log in the working folder
    env.reset(EPISODE)
    env._simulation.env.sim.data.qvel[-1] = 1e11
    with pytest.raises(EpisodeError, match="diverged"):
        env.step(env.noop_action())


def test_a_failed_placement_is_drawn_again(randomization_error):
    failures = [randomization_error("no room")] * 3
    draws = iter([*failures, None])

    def attempt():
        if failure := next(draws):
            raise failure
        return "placed"

    assert placed(attempt) == "placed"


def test_a_placement_that_never_succeeds_is_an_error_of_the_episode(randomization_error):
    def attempt():
        raise randomization_error("no room")

    with pytest.raises(EpisodeError, match="within 100 draws"):
        placed(attempt)


def test_the_env_goes_on_after_an_error(env):
    env.reset(EPISODE)
    assert np.isfinite(env.simulator_state()).all()


def test_a_picture_for_people_is_upright_and_not_counted(env):
    env.reset(EPISODE)
    picture = env.picture()
    assert env.render_count == 0
    assert np.array_equal(env.observe()[IMAGE], picture[:, ::-1])
    assert env.render_count == 2


def test_reading_the_scene_changes_nothing_and_says_what_libero_says(env):
    drawn = np.random.default_rng(0).uniform(-1, 1, (12, 7))
    states, readings = [], []
    for is_read in (False, True):
        env.reset(EPISODE)
        for action in drawn:
            env.step(action)
            states.append(env.simulator_state())
            if is_read:
                readings.append(env.scene())
    assert np.array_equal(states[: len(drawn)], states[len(drawn) :])
    last = readings[-1]
    assert [each.words for each in last.conjuncts] == ["on plate_1 main_table_stove_front_region"]
    assert last.holds == (env._simulation.env._check_success(),)
    plate = last.items["plate_1"]
    assert np.array_equal(plate.position, env._simulation.env.sim.data.get_body_xpos("plate_1_main"))
    assert (plate.is_touched, plate.is_held, plate.joint) == (False, False, None)
    assert last.gaps_m[0] > 0.05
    assert 0.05 < plate.distance_m < 1
    assert set(last.items) == {"akita_black_bowl_1", "cream_cheese_1", "plate_1", "wine_bottle_1"}


def test_a_history_renders_each_step_once():
    env = build((IMAGE, STATE), n_obs_steps=2)
    env.reset(EPISODE)
    first = env.observe()[IMAGE]
    assert np.array_equal(first[0], first[1])
    env.step(env.noop_action())
    second = env.observe()[IMAGE]
    assert np.array_equal(second[0], first[1])
    assert env.render_count == 2
    for _ in range(4):
        env.step(env.noop_action())
    env.observe()
    env.picture()
    env.close()
    assert env.render_count == 4, "steps 0, 1, 4 and 5 were seen; 2 and 3 were not"


def test_absolute_control_begins_after_settling_and_its_noop_keeps_the_pose():
    recipe = ObservationRecipe((STATE,))
    env = LiberoEnv(
        EPISODE.suite, EPISODE.task_id, EnvSettings(recipe, libero(control="absolute", state_format="controller_pose"))
    )
    env.reset(EPISODE)
    settled = env.simulator_state()
    start = env.observe()[STATE]
    for _ in range(5):
        env.step(env.noop_action())
    assert np.allclose(env.observe()[STATE][:6], start[:6], atol=0.01)
    env.reset(EPISODE)
    assert np.array_equal(env.simulator_state(), settled)
    env.close()


def test_zeros_in_settling_leave_the_gripper_where_it_is():
    opened, still = build((STATE,)), build((STATE,), settle_action="zeros")
    for env in (opened, still):
        env.reset(EPISODE)
    assert opened.observe()[STATE][6] != still.observe()[STATE][6]
    opened.close()
    still.close()


def test_a_libero_task_passes_gymnasiums_own_check():
    settings = EnvSettings(ObservationRecipe((STATE,)), libero(settle_steps=0))
    env = gymnasium.make("ray_eval/Libero-v0", suite="libero_object", task_id=0, settings=settings)
    check_env(env.unwrapped, skip_render_check=True)
    assert env.unwrapped.render() is None
    env.close()


@pytest.mark.nightly
def test_a_libero_task_with_cameras_passes_gymnasiums_own_check():
    env = gymnasium.make("ray_eval/Libero-v0", suite="libero_object", task_id=0, render_mode="rgb_array")
    check_env(env.unwrapped)
    env.close()

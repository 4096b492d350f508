import dataclasses

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import ray_eval.envs.gym  # noqa: F401 -- registers the environment
from ray_eval.envs import make_env
from ray_eval.envs.contract import check_env_contract
from ray_eval.envs.fake import FakeEnv
from ray_eval.envs.libero.settings import LiberoSettings
from ray_eval.errors import ConfigError, ContractError, EpisodeError
from ray_eval.sections import EnvSettings, ImageRecipe, ObservationRecipe, SimulatorSection
from ray_eval.types import IMAGE, OBSERVATION_KEYS, STATE, EpisodeSpec

EPISODE = EpisodeSpec("fake", 1, 2, env_seed=7, max_steps=50)
SMALL = ImageRecipe(render_size_px=16, image_size_px=16)


def settings(task_text=None):
    return EnvSettings(ObservationRecipe(OBSERVATION_KEYS, images=SMALL), task_text=task_text)


@pytest.mark.parametrize("control", ["delta", "absolute"])
@pytest.mark.parametrize("n_obs_steps", [1, 3])
@pytest.mark.parametrize("keys", [OBSERVATION_KEYS, (STATE,)])
def test_the_fake_env_keeps_the_contract(control, n_obs_steps, keys):
    recipe = ObservationRecipe(keys, n_obs_steps, images=SMALL)
    check_env_contract(
        make_env("fake", 1, EnvSettings(recipe, SimulatorSection(own=LiberoSettings(control=control)))), EPISODE
    )


def test_a_point_moved_straight_to_its_goal_succeeds():
    env = FakeEnv("fake", 0, settings())
    env.reset(EPISODE)
    for _ in range(15):
        observation = env.observe()
        way = observation["observation.environment_state"][:3] - observation[STATE][:3]
        result = env.step(env.native_action(np.concatenate([np.clip(way / 0.05, -1, 1), np.zeros(4)])))
        if result.is_success:
            return
    pytest.fail("no success within 15 steps")


def test_standing_still_is_no_success():
    env = FakeEnv("fake", 0, settings())
    env.reset(EPISODE)
    assert not any(env.step(env.noop_action()).is_success for _ in range(20))


def test_only_images_that_are_asked_for_are_made():
    env = FakeEnv("fake", 0, EnvSettings(ObservationRecipe((IMAGE,), images=SMALL)))
    env.reset(EPISODE)
    env.step(env.noop_action())
    env.observe()
    env.observe()
    assert env.render_count == 1


def test_an_init_state_that_does_not_exist_is_an_error_of_the_episode():
    env = FakeEnv("fake", 0, settings())
    with pytest.raises(EpisodeError, match="0 to 4, got 5"):
        env.reset(dataclasses.replace(EPISODE, init_state_id=5))


def test_an_unknown_task_is_an_error_of_the_configuration():
    with pytest.raises(ConfigError, match="0 to 2 in fake, got 3"):
        make_env("fake", 3, settings())


def test_the_users_text_replaces_the_tasks():
    assert FakeEnv("fake", 0, settings(task_text="go there")).instruction == "go there"


class Forgetful(FakeEnv):
    """Starts each episode a little further."""

    def reset(self, episode):
        self._resets = getattr(self, "_resets", 0) + 1
        super().reset(dataclasses.replace(episode, env_seed=episode.env_seed + self._resets))


class Wasteful(FakeEnv):
    """Renders at every question."""

    def observe(self):
        self._render_count += 1
        return super().observe()


class Lending(FakeEnv):
    """Hands out its own memory."""

    def reset(self, episode):
        super().reset(episode)
        self._kept = super().simulator_state()

    def simulator_state(self):
        return self._kept


class Lenient(FakeEnv):
    """Takes any action."""

    def native_action(self, action):
        return np.asarray(action, np.float64)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [(Forgetful, "same trajectory"), (Wasteful, "render_count"), (Lending, "a copy"), (Lenient, "ContractError")],
)
def test_the_contract_check_finds_an_env_that_breaks_it(broken, complaint):
    with pytest.raises(ContractError, match=complaint):
        check_env_contract(broken("fake", 1, settings()), EPISODE)


def test_the_fake_suite_passes_gymnasiums_own_check():
    env = gymnasium.make("ray_eval/Libero-v0", suite="fake", task_id=1, render_mode="rgb_array")
    check_env(env.unwrapped)


def test_gymnasium_truncates_at_the_budget_and_names_the_episode():
    env = gymnasium.make("ray_eval/Libero-v0", suite="fake", task_id=1, max_steps=2)
    _, info = env.reset(seed=7, options={"init_state_id": 3})
    assert (info["env_seed"], info["init_state_id"]) == (7, 3)
    still = np.zeros(7, np.float32)
    assert env.step(still)[2:4] == (False, False)
    assert env.step(still)[2:4] == (False, True)

"""Any Gymnasium environment: read as its user says, proved to repeat itself, and refused with one clear error."""

import dataclasses
import sys

import numpy as np
import pytest

from ray_eval.config import load_config
from ray_eval.driver.plan import plan_of
from ray_eval.driver.simulators import env_spec_of, simulator_of
from ray_eval.envs.contract import check_env_contract
from ray_eval.envs.gymnasium.settings import GymnasiumSettings, success_rule
from ray_eval.envs.gymnasium.simulator import GymnasiumSimulator
from ray_eval.errors import ConfigError, ContractError, EpisodeError, SetupError
from ray_eval.sections import EnvSettings, ImageRecipe, Kwargs, Names, ObservationRecipe
from ray_eval.types import SINGLE_IMAGE, STATE, EpisodeSpec, is_image

EPISODE = EpisodeSpec("gymnasium", 0, 3, env_seed=7, max_steps=20)
OWN_ENVS = '''
import gymnasium, numpy as np
from gymnasium import spaces

class Reach(gymnasium.Env):
    """A point on a line that is moved to a place; what is wrong with it is its argument."""
    metadata = {"render_modes": ["rgb_array"], "render_fps": 25}
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    observation_space = spaces.Dict({})
    _leak = 0.0

    def __init__(self, fault="", render_mode=None):
        self.fault, self.render_mode = fault, render_mode
        if fault == "discrete":
            self.action_space = spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.to = self.np_random.uniform(-1, 1, (2, 2))
        self.at = self.at + self._leak
        self.count = 0
        return self._observed(), {}

    def step(self, action):
        self.at = np.clip(self.at + 0.1 * action, -2, 2)
        self.count += 1
        if self.fault == "leaks":
            self._leak += 1e-12
        if self.fault == "raises" and self.count == 2:
            raise RuntimeError("the arm fell off")
        reward = float(-np.abs(self.at - self.to).sum())
        if self.fault == "noisy reward":
            Reach._leak2 = getattr(Reach, "_leak2", 0.0) + 1e-9
            reward += Reach._leak2
        reached = bool(np.abs(self.at - self.to).max() < 0.2)
        return self._observed(), reward, reached or self.fault == "ends", False, {"is_success": reached}

    def _observed(self):
        seen = np.concatenate([self.at, self.to])
        if self.fault == "grows" and self.count == 2:
            seen = np.append(seen, 0.0)
        if self.fault == "nan" and self.count == 2:
            seen[1] = np.nan
        return {"agent_pos": seen, "pixels": self.render()}

    def render(self):
        image = np.zeros((12, 16, 3), np.uint8)
        image[(np.clip(self.at, -1, 1) * 5 + 6).astype(int)[0]] = 200
        return image

class Strange(Reach):
    """Its observation is one plain vector."""
    metadata = {"render_modes": ["rgb_array"]}
    def _observed(self):
        return self.at.astype(np.float32)

gymnasium.register("own/Reach-v0", entry_point=Reach, max_episode_steps=30)
gymnasium.register("own/Strange-v0", entry_point=Strange)
'''


@pytest.fixture(scope="module", autouse=True)
def _own_envs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_envs.py").write_text(OWN_ENVS)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


def own(fault="", **changes):
    given = {"id": "own/Reach-v0", "module": "own_envs", "success": "info.is_success", **changes}
    return GymnasiumSettings(**given, kwargs=Kwargs(fault=fault))


def env_of(settings, keys=(SINGLE_IMAGE, STATE)):
    recipe = ObservationRecipe(keys, images=ImageRecipe(None, image_size_px=None))
    return GymnasiumSimulator(settings).make_env("gymnasium", 0, EnvSettings(recipe))


def played(env, steps=4):
    env.reset(EPISODE)
    return [env.step(np.array([0.5, -0.5])) for _ in range(steps)]


def test_its_spec_is_read_off_the_first_observation_and_the_action_space():
    spec = GymnasiumSimulator(own()).spec("gymnasium", 0)
    assert spec.keys == (SINGLE_IMAGE, STATE)
    assert (spec.cameras[0].height_px, spec.cameras[0].width_px) == (12, 16)
    assert len(spec.state.names) == 4
    assert (spec.action.low, spec.action.high, spec.action.dim) == ((-1.0, -1.0), (1.0, 1.0), 2)
    assert (spec.control_hz, spec.max_steps) == (25.0, 30)


def test_it_keeps_the_contract():
    env = env_of(own())
    check_env_contract(env, EPISODE)
    env.close()


def test_every_part_of_an_observation_can_be_named():
    keys = Names({"observation.images.side": "render", STATE: "agent_pos"})
    spec = GymnasiumSimulator(own(keys=keys)).spec("gymnasium", 0)
    assert spec.keys == ("observation.images.side", STATE)
    env = env_of(own(keys=keys), spec.keys)
    env.reset(EPISODE)
    observed = env.observe()
    assert observed["observation.images.side"].shape == (12, 16, 3)
    assert observed[STATE].dtype == np.float32
    assert env.render_count == 1
    env.close()


def test_a_plain_vector_is_named_by_a_dot_and_a_rate_that_nobody_says_is_asked_for():
    strange = own(id="own/Strange-v0", keys=Names({STATE: "."}))
    with pytest.raises(ConfigError, match=r"simulator\.control_hz: expected the steps per second"):
        GymnasiumSimulator(strange).spec("gymnasium", 0)
    spec = GymnasiumSimulator(dataclasses.replace(strange, control_hz=30.0)).spec("gymnasium", 0)
    assert spec.keys == (STATE,)
    assert spec.max_steps is None


def test_an_end_without_success_is_a_failure_and_is_not_stepped_beyond():
    results = played(env_of(own("ends")), steps=1)
    assert (results[0].is_success, results[0].is_over) == (False, True)


def test_the_proof_passes_what_repeats_itself():
    canary = GymnasiumSimulator(own()).canary(has_pixels=True)
    assert canary == GymnasiumSimulator(own()).canary(has_pixels=False)


@pytest.mark.parametrize(("fault", "what"), [("leaks", "observation at step 0"), ("noisy reward", "reward at step 1")])
def test_what_does_not_repeat_itself_is_refused_or_marked(fault, what):
    with pytest.raises(SetupError, match=f"another {what}.*simulator.reproducible=false"):
        GymnasiumSimulator(own(fault)).canary(has_pixels=False)
    marked = GymnasiumSimulator(own(fault, reproducible=False))
    assert marked.canary(has_pixels=False) is None
    assert not marked.spec("gymnasium", 0).is_reproducible


def test_a_reward_that_is_left_out_need_not_repeat_itself():
    assert GymnasiumSimulator(own("noisy reward", reward="ignored")).canary(has_pixels=False) is not None
    assert all(result.reward == 0 for result in played(env_of(own(reward="ignored"))))


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ("grows", EpisodeError, r"observation\.state \(agent_pos\): expected 4 numbers, as at first, got \(5,\)"),
        ("nan", EpisodeError, r"observation\.state \(agent_pos\): expected finite numbers"),
        ("raises", RuntimeError, "the arm fell off"),
    ],
)
def test_what_breaks_in_an_episode_is_one_error(fault, error, said):
    env = env_of(own(fault))
    with pytest.raises(error, match=said):
        played(env)
    env.close()


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"id": ""}, ConfigError, r"simulator\.id: expected an id"),
        ({"id": "own/Nothing-v0"}, ConfigError, r"simulator\.id=own/Nothing-v0: .*simulator\.module=PACKAGE"),
        ({"module": "no_such_module"}, SetupError, r"simulator\.module=no_such_module: .*ModuleNotFoundError"),
        ({"success": ""}, ConfigError, r"simulator\.success: expected the rule"),
        ({"success": "when it is done"}, ConfigError, r"simulator\.success: expected the rule"),
        ({"keys": Names({STATE: "agent_position"})}, ConfigError, "Did you mean 'agent_pos'"),
        ({"keys": Names({"observation.depth": "pixels"})}, ConfigError, r"expected observation\.images\.<camera>"),
        ({"keys": Names({SINGLE_IMAGE: "agent_pos"})}, EpisodeError, r"expected \(height, width, 3\) uint8"),
        ({"noop": (0.0,)}, ConfigError, r"simulator\.noop: expected 2 numbers, got 1"),
    ],
)
def test_what_does_not_fit_is_said_with_its_key(changes, error, said):
    with pytest.raises(error, match=said):
        GymnasiumSimulator(own(**changes)).check()


def test_an_action_that_is_no_vector_is_refused():
    with pytest.raises(ConfigError, match="vector of numbers"):
        GymnasiumSimulator(own("discrete")).check()


def test_an_info_without_what_the_rule_names_is_a_breach_with_what_is_there():
    with pytest.raises(ContractError, match=r"info\.success: .*got is_success"):
        played(env_of(own(success="info.success")))


def test_rules_of_success():
    assert success_rule("terminated")(0.0, True, {})
    assert success_rule("reward>=4")(4.0, False, {})
    assert not success_rule("reward>0.95")(0.95, False, {})
    assert success_rule("info.task.done")(0.0, False, {"task": {"done": np.float64(1.0)}})
    with pytest.raises(ContractError, match="one truth or number"):
        success_rule("info.done")(0.0, False, {"done": np.zeros(3)})


def test_a_configuration_names_it_alone():
    words = ["simulator=gymnasium", "simulator.id=own/Reach-v0", "simulator.module=own_envs", "policy=random"]
    config = load_config(
        None, [*words, "simulator.success=info.is_success", "simulator.keys.observation.state=agent_pos"]
    )
    assert config.suite == ("gymnasium",)
    assert config.protocol.settle_steps is None
    plan = plan_of(config)
    assert (len(plan), plan[0].max_steps) == (50, 30)
    spec = env_spec_of(config, plan)
    assert spec.keys == (STATE,)
    assert not any(is_image(key) for key in spec.keys)
    assert load_config(config.resolved()) == config
    assert simulator_of(config).name == "gymnasium"
    with pytest.raises(ConfigError, match=r"simulator\.sucess: .*Did you mean 'success'"):
        load_config(None, [*words, "simulator.sucess=terminated"])
    with pytest.raises(ConfigError, match=r"protocol\.gripper: expected nothing for the simulator gymnasium"):
        load_config(None, [*words, "simulator.success=terminated", "protocol.gripper=sign"])

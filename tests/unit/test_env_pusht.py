import dataclasses
import math
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from ray_eval.envs.contract import check_env_contract
from ray_eval.envs.pusht.coverage import area, clipped, coverage
from ray_eval.envs.pusht.settings import PushtSettings
from ray_eval.envs.pusht.simulator import PushtSimulator
from ray_eval.errors import ConfigError, ContractError, EpisodeError
from ray_eval.sections import EnvSettings, ImageRecipe, ObservationRecipe
from ray_eval.types import ENVIRONMENT_STATE, SINGLE_IMAGE, STATE, EpisodeSpec

KEYS = (SINGLE_IMAGE, STATE, ENVIRONMENT_STATE)
SQUARE = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
SIMULATOR = PushtSimulator(PushtSettings())


def env_of(keys=KEYS, n_obs_steps=1):
    images = ImageRecipe(render_size_px=96, image_size_px=96)
    return SIMULATOR.make_env("pusht", 0, EnvSettings(ObservationRecipe(keys, n_obs_steps, images)))


def episode(start_state=0):
    return EpisodeSpec("pusht", 0, start_state, env_seed=1000, max_steps=300)


def plain(observed="pixels_agent_pos"):
    return gymnasium.make("gym_pusht/PushT-v0", obs_type=observed, disable_env_checker=True).unwrapped


def pushes(env, count):
    """Targets around the block, in and out of contact with it."""
    draw = np.random.default_rng(0)
    for _ in range(count):
        yield (np.array(env.block.position) + draw.normal(0, 60, 2)).astype(np.float32)


def moved(polygon, angle, x, y):
    cos, sin = math.cos(angle), math.sin(angle)
    return [(cos * px - sin * py + x, sin * px + cos * py + y) for px, py in polygon]


def test_two_squares_turned_by_45_degrees_share_an_octagon():
    centred = [(x - 0.5, y - 0.5) for x, y in SQUARE]
    assert area(clipped(moved(centred, math.pi / 4, 0, 0), centred)) == pytest.approx(2 * (math.sqrt(2) - 1))


@given(angle=st.floats(-7, 7), x=st.floats(-2, 2), y=st.floats(-2, 2))
def test_clipping_gives_what_geos_gives_whichever_way_round_the_corners_go(angle, x, y):
    other = moved(SQUARE, angle, x, y)
    wanted = shapely.Polygon(other).intersection(shapely.Polygon(SQUARE)).area
    for window in (SQUARE, SQUARE[::-1]):
        assert area(clipped(other, window)) == pytest.approx(wanted, abs=1e-12)


def test_a_shape_covers_itself_and_nothing_that_is_elsewhere():
    assert coverage([SQUARE], [SQUARE]) == 1.0
    assert coverage([moved(SQUARE, 0, 3, 0)], [SQUARE]) == 0.0


@pytest.mark.parametrize("keys", [KEYS, (STATE,), (SINGLE_IMAGE,)])
@pytest.mark.parametrize("n_obs_steps", [1, 2])
def test_states_images_and_verdicts_are_those_of_the_package(keys, n_obs_steps):
    ours, theirs, keypoints = env_of(keys, n_obs_steps), plain(), plain("environment_state_agent_pos")
    ours.reset(episode(1))
    seen, _ = theirs.reset(seed=1001)
    corners, _ = keypoints.reset(seed=1001)
    for step, action in enumerate(pushes(theirs, 60)):
        state = (*theirs.agent.position, *theirs.block.position, theirs.block.angle, *theirs.block.velocity)
        assert tuple(ours.simulator_state()[[1, 2, 5, 6, 7, 8, 9]]) == state
        wanted = {
            SINGLE_IMAGE: seen["pixels"],
            STATE: seen["agent_pos"],
            ENVIRONMENT_STATE: corners["environment_state"],
        }
        if step % 7 == 0:
            for key, array in ours.observe().items():
                newest = array if n_obs_steps == 1 else array[-1]
                assert np.array_equal(newest, wanted[key].astype(newest.dtype)), key
        result = ours.step(ours.native_action(action))
        seen, reward, _, _, info = theirs.step(action)
        corners = keypoints.step(action)[0]
        assert result.reward == pytest.approx(reward, abs=1e-14)
        assert result.is_success == info["is_success"]


def test_an_image_of_an_earlier_step_is_drawn_as_it_was_contacts_included():
    ours, theirs = env_of((SINGLE_IMAGE,), n_obs_steps=2), plain()
    ours.reset(episode())
    before, _ = theirs.reset(seed=1000)
    for action in pushes(theirs, 40):
        ours.step(ours.native_action(action))
        now = theirs.step(action)[0]
        assert all(
            np.array_equal(*pair)
            for pair in zip(ours.observe()[SINGLE_IMAGE], (before["pixels"], now["pixels"]), strict=True)
        )
        before = now


def test_coverage_and_reward_repeat_to_the_bit_in_another_process():
    program = """
from ray_eval.envs.pusht.settings import PushtSettings
from ray_eval.envs.pusht.simulator import PushtSimulator
from ray_eval.sections import EnvSettings, ObservationRecipe
from ray_eval.types import EpisodeSpec
import numpy as np
env = PushtSimulator(PushtSettings()).make_env("pusht", 0, EnvSettings(ObservationRecipe(())))
env.reset(EpisodeSpec("pusht", 0, 3, 0, 300))
draw = np.random.default_rng(0)
print([env.step(draw.uniform(100, 400, 2)).reward.hex() for _ in range(60)])
"""
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in "12"]
    assert runs[0].stdout == runs[1].stdout
    assert "0x1." in runs[0].stdout


@pytest.mark.parametrize("n_obs_steps", [1, 3])
def test_a_used_env_gives_what_a_new_one_gives(n_obs_steps):
    used, fresh = env_of(n_obs_steps=n_obs_steps), env_of(n_obs_steps=n_obs_steps)
    used.reset(episode(4))
    for _ in range(5):
        used.step(np.array([100.0, 400.0]))
    for env in (used, fresh):
        env.reset(episode(2))
        env.step(np.array([250.0, 250.0]))
    assert np.array_equal(used.simulator_state(), fresh.simulator_state())
    assert all(np.array_equal(used.observe()[key], fresh.observe()[key]) for key in KEYS)
    assert np.array_equal(used.picture(), fresh.picture())


def test_a_new_episodes_picture_has_no_cross_of_the_last_one():
    env = env_of()
    env.reset(episode())
    first = env.picture()
    env.step(np.array([100.0, 400.0]))
    assert (env.picture() == [255, 0, 0]).all(-1).any()
    env.reset(episode())
    assert np.array_equal(env.picture(), first)


def test_nothing_is_drawn_unasked():
    env = env_of()
    env.reset(episode())
    for _ in range(5):
        env.step(env.noop_action())
    assert env.render_count == 0
    env.observe()
    env.observe()
    assert env.render_count == 1


def test_standing_still_moves_nothing_once_the_agent_rests():
    env = env_of()
    env.reset(episode())
    start = env.simulator_state()
    env.step(env.noop_action())
    assert np.allclose(env.simulator_state()[1:], start[1:], atol=1e-9)


def test_what_the_user_gets_wrong_is_said():
    env = env_of()
    with pytest.raises(EpisodeError, match=r"0 to 49, got 50; raise simulator.start_states"):
        env.reset(episode(50))
    with pytest.raises(ContractError, match=r"expected shape \(2,\), got \(7,\)"):
        env.native_action(np.zeros(7))
    with pytest.raises(ContractError, match="finite"):
        env.native_action(np.array([np.nan, 1.0]))
    with pytest.raises(ConfigError, match="expected 0 in pusht, got 1"):
        SIMULATOR.spec("pusht", 1)
    with pytest.raises(ConfigError, match="expected pusht, got 'push'"):
        SIMULATOR.tasks("push")
    with pytest.raises(ConfigError, match="start_states"):
        PushtSettings(start_states=0)


def test_its_canary_repeats_and_tells_the_seed():
    assert SIMULATOR.canary(has_pixels=True) == SIMULATOR.canary(has_pixels=True)
    assert SIMULATOR.canary(has_pixels=False).pixels is None


def test_more_start_states_are_there_when_asked_for():
    many = PushtSimulator(dataclasses.replace(PushtSettings(), start_states=500))
    assert many.start_state_count("pusht", 0) == 500
    assert SIMULATOR.start_state_count("pusht", 0) == 50
    assert SIMULATOR.version_warning() is None


def test_the_env_keeps_the_contract():
    check_env_contract(env_of((STATE,)), episode())

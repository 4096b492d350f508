"""Episodes in a simulator's own interpreter: the same results, and one clear end where that interpreter ends."""

import dataclasses
import os
import signal
import sys

import pytest

from ray_eval.envs.registry import simulator_for
from ray_eval.errors import SetupError
from ray_eval.interfaces import Simulator
from ray_eval.interpreters import check_interpreter
from ray_eval.policies.fake import FakePolicy
from ray_eval.rollout.hosted import HostedRollout
from ray_eval.rollout.replaying import Looks, ReplaySettings
from ray_eval.rollout.running import Rollout, RolloutSettings
from ray_eval.sections import (
    BatchingSection,
    ConnectSection,
    EnvSettings,
    ImageRecipe,
    ListenSection,
    ObservationRecipe,
    QueueRules,
    SimulatorSection,
)
from ray_eval.serving.server import serve_in_thread
from ray_eval.types import IMAGE_KEYS, OBSERVATION_KEYS, EpisodeSpec, Outcome

EPISODE = EpisodeSpec("fake", 1, 2, env_seed=7, max_steps=50)
THERE = SimulatorSection("fake", python=sys.executable)


@pytest.fixture(scope="module")
def connect(tmp_path_factory):
    address = f"unix:{tmp_path_factory.mktemp('child')}/s"
    with serve_in_thread(FakePolicy(), ListenSection(address), BatchingSection()):
        yield lambda: ConnectSection(address)


@pytest.fixture(scope="module")
def there(connect):
    rollout = HostedRollout(THERE, connect)
    yield rollout
    rollout.close()


def settings(section):
    recipe = ObservationRecipe(OBSERVATION_KEYS, images=ImageRecipe(32, image_size_px=32))
    return RolloutSettings("run", EnvSettings(recipe, section), QueueRules(4, 4, 7))


def test_an_episode_in_another_interpreter_is_the_same_episode(connect, there):
    here = Rollout(connect, SimulatorSection("fake"))
    expected = here.run(EPISODE, 1, settings(SimulatorSection("fake")))
    assert expected.outcome is Outcome.SUCCESS
    assert there.run(EPISODE, 1, settings(THERE)) == expected
    here.close()


def test_what_a_simulator_says_of_itself_is_asked_there(there):
    here = simulator_for(SimulatorSection("fake"))
    assert isinstance(there.simulator, Simulator)
    for simulator in (here, there.simulator):
        assert simulator.suites() == ("fake",)
        assert [task.name for task in simulator.tasks("fake")] == ["reach_goal_0", "reach_goal_1", "reach_goal_2"]
        assert simulator.start_state_count("fake", 0) == 5
        assert simulator.canary(has_pixels=True) is None
    assert here.spec("fake", 0) == there.simulator.spec("fake", 0)
    assert there.versions()["mujoco"]


def test_recorded_actions_are_run_again_there(connect, there):
    kept = dataclasses.replace(settings(THERE), keeps_actions=True)
    result = there.run(EPISODE, 1, kept)
    sights = []
    again = ReplaySettings(kept.env, Looks(picture_every=0, has_observations=True))
    retraced = there.replay(EPISODE, result.actions.array(), again, sights.append)
    assert retraced.trajectory_sha256 == result.trajectory_sha256
    assert [sight.step for sight in sights] == list(range(result.steps + 1))
    assert [sight.step for sight in sights if sight.pictures] == [0, result.steps // 2, result.steps]
    assert sights[0].observation.keys() == set(OBSERVATION_KEYS)
    assert sights[-1].is_success


def test_steps_are_told_as_they_come(there):
    records = []
    result = there.watched(EPISODE, 1, settings(THERE), on_record=records.append)
    assert len(records) == result.steps


def test_what_breaks_there_is_the_attempts_error_with_its_traceback(there):
    result = there.run(dataclasses.replace(EPISODE, init_state_id=9), 1, settings(THERE))
    assert result.outcome is Outcome.ERROR
    assert "expected an init state in 0 to 4, got 9" in result.error
    assert "fake.py" in result.traceback


def test_a_child_that_dies_costs_one_attempt_and_is_started_again(there):
    there.run(EPISODE, 1, settings(THERE))
    gone = there.pid
    os.kill(gone, signal.SIGKILL)
    # Whether its end is seen when it is asked or before, the episode after it is whole again.
    results = [there.run(EPISODE, attempt, settings(THERE)) for attempt in (1, 2)]
    assert [result.outcome for result in results][-1] is Outcome.SUCCESS
    assert there.pid != gone


def test_an_interpreter_that_is_not_there_is_refused(connect):
    rollout = HostedRollout(dataclasses.replace(THERE, python="/nowhere/python"), connect)
    with pytest.raises(SetupError, match=r"simulator\.python=/nowhere/python: expected a Python interpreter on "):
        rollout.versions()
    rollout.close()


def test_what_an_interpreter_lacks_is_named_with_what_to_type():
    check_interpreter(sys.executable, "simulator.python", {"numpy": "numpy"})
    with pytest.raises(SetupError, match=r"expected no-such-thing there.*-m pip install no-such-thing"):
        check_interpreter(sys.executable, "simulator.python", {"numpy": "numpy", "no-such-thing": "no_such_thing"})


def test_a_policy_that_sees_no_camera_renders_none_there_either(there):
    plain = settings(THERE)
    recipe = dataclasses.replace(plain.env.recipe, keys=tuple(k for k in OBSERVATION_KEYS if k not in IMAGE_KEYS))
    told = dataclasses.replace(plain, env=dataclasses.replace(plain.env, recipe=recipe))
    result = there.run(EPISODE, 1, told)
    assert result.outcome is Outcome.ERROR, "the fake policy asks for both cameras"
    assert result.renders == 0

"""The comparison with plain LIBERO, on the fake env: it sees the smallest difference, wherever it is."""

import dataclasses

import numpy as np
import pytest

from ray_eval.bench import exactness
from ray_eval.bench.exactness import Case, Reference, Script, random_actions
from ray_eval.envs.fake import FakeEnv
from ray_eval.envs.libero.settings import libero
from ray_eval.sections import EnvSettings
from ray_eval.types import IMAGE, STATE, WRIST_IMAGE

CASE = Case("fake", 1, 2)
SCRIPT = Script(action_count=8, settle_steps=0, images_every=4)


@pytest.fixture
def env():
    return FakeEnv(CASE.suite, CASE.task_id, EnvSettings(exactness._RECIPE, libero(settle_steps=0)))


@pytest.fixture
def reference(env):
    """What the fake env gives."""
    actions = random_actions(CASE, SCRIPT.action_count)
    env.reset(CASE.spec())
    results, states, observations = [], [env.simulator_state()], [env.observe()]
    for action in actions:
        results.append(env.step(action))
        states.append(env.simulator_state())
        observations.append(env.observe())
    return Reference(
        actions=actions,
        states=np.array(states),
        rewards=np.array([0.0, *(result.reward for result in results)]),
        is_success=np.array([False, *(result.is_success for result in results)]),
        images_sha256=np.array([[exactness._digest(o[key]) for key in (IMAGE, WRIST_IMAGE)] for o in observations]),
        state_vectors=np.array([o[STATE] for o in observations]),
        made_of=exactness.made_of(CASE, SCRIPT, "here"),
    )


def first_difference(env, reference):
    return exactness._first_difference("used", env, CASE, reference, SCRIPT)


def test_equal_bytes_are_no_difference(env, reference):
    assert first_difference(env, reference) is None


@pytest.mark.parametrize(
    ("field", "place", "value", "what", "step"),
    [
        ("states", (3, 2), 5e-324, "state", 3),
        ("states", (0, 0), -0.0, "state", 0),
        ("rewards", 5, 1e-9, "reward", 5),
        ("is_success", 7, True, "success", 7),
        ("state_vectors", (8, 0), 1e-30, STATE, 8),
        ("images_sha256", (4, 0), "0" * 64, IMAGE, 4),
        ("images_sha256", (8, 1), "0" * 64, WRIST_IMAGE, 8),
    ],
)
def test_the_smallest_change_is_found_where_it_is(env, reference, field, place, value, what, step):
    changed = getattr(reference, field).copy()
    changed[place] = value
    found = first_difference(env, dataclasses.replace(reference, **{field: changed}))
    assert (found.env, found.what, found.step) == ("used", what, step)


def test_a_reference_reads_back_and_serves_only_its_own_script_and_machine(tmp_path, reference):
    path = tmp_path / "deep" / "2.npz"
    reference.save(path)
    again = Reference.load(path)
    for field in dataclasses.fields(Reference):
        assert np.array_equal(getattr(again, field.name), getattr(reference, field.name))
    assert [file.name for file in path.parent.iterdir()] == ["2.npz"]
    assert again.serves(CASE, SCRIPT, "here")
    assert again.serves(CASE, dataclasses.replace(SCRIPT, images_every=8), "here")
    assert not again.serves(CASE, dataclasses.replace(SCRIPT, images_every=2), "here")
    assert not again.serves(CASE, dataclasses.replace(SCRIPT, action_count=7), "here")
    assert not again.serves(dataclasses.replace(CASE, init_state_id=0), SCRIPT, "here")
    assert not again.serves(CASE, SCRIPT, "on a machine that computes other bits")


def test_random_actions_are_a_function_of_the_case_and_flip_the_gripper():
    actions = random_actions(CASE, 60)
    assert np.array_equal(actions, random_actions(CASE, 60))
    assert not np.array_equal(actions, random_actions(dataclasses.replace(CASE, init_state_id=0), 60))
    assert set(actions[:, 6]) == {-1.0, 1.0}
    assert np.abs(actions[:, :6]).max() > 1

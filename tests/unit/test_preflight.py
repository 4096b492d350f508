"""What is said of a first observation and its answer."""

import dataclasses

import numpy as np
import pytest

from ray_eval.rollout.preflight import remarks
from ray_eval.types import ACTION, IMAGE, STATE, Observation, PolicySpec, TrainingRange

TRAINED = (
    TrainingRange(IMAGE, (0.0,) * 3, (1.0,) * 3, "min, max"),
    TrainingRange(STATE, (-1.0,) * 8, (1.0,) * 8, "min, max"),
    TrainingRange(ACTION, (-0.9,) * 7, (0.9,) * 7, "min, max"),
)
SPEC = PolicySpec("p", (IMAGE, STATE), 4, ranges=TRAINED)
GENTLE = np.full((4, 7), 0.3, np.float32)


def observation(state=0.5, pixel=120):
    return Observation({IMAGE: np.full((8, 8, 3), pixel, np.uint8), STATE: np.full(8, state, np.float32)}, "task")


def said(observed=None, actions=GENTLE, spec=SPEC, control="delta_pose"):
    return remarks(observed or observation(), actions, spec, control)


def test_nothing_is_said_of_a_policy_that_is_fed_as_in_training():
    assert said() == []
    assert said(observation(state=1.15)) == []


def test_a_state_outside_the_training_data_is_said_with_its_components():
    observed = observation()
    observed.arrays[STATE][3] = 3.14
    (line,) = said(observed)
    assert "component 3 is 3.14, trained on -1 to 1" in line


def test_of_a_history_the_present_frame_counts():
    observed = observation()
    history = Observation({IMAGE: observed.arrays[IMAGE][None], STATE: np.stack([np.full(8, 9.0), np.zeros(8)])}, "t")
    assert said(history, spec=dataclasses.replace(SPEC, n_obs_steps=2)) == []


def test_statistics_of_images_in_bytes_are_said():
    spec = dataclasses.replace(SPEC, ranges=(TrainingRange(IMAGE, (0.0,) * 3, (255.0,) * 3, "min, max"),))
    assert "as of images in [0, 255]" in said(spec=spec)[0]


def test_a_black_image_is_said():
    assert said(observation(pixel=0)) == [f"{IMAGE} is black at an episode's start"]


@pytest.mark.parametrize(("actions", "message"), [(3.0, "the scale looks wrong"), (0.0, "it does not move")])
def test_commands_at_their_limit_and_commands_that_do_nothing_are_said(actions, message):
    spec = dataclasses.replace(SPEC, ranges=())
    assert message in said(actions=np.full((4, 7), actions, np.float32), spec=spec)[0]
    assert said(actions=np.full((4, 7), actions, np.float32), spec=spec, control="absolute_pose") == []


def test_actions_far_from_the_training_data_are_said():
    (line,) = said(actions=np.full((4, 7), 6.0, np.float32), control="absolute_pose")
    assert line.startswith("action: components 0, 1, 2, 3, 4, 5, 6 ")


def test_statistics_of_another_state_are_said():
    spec = dataclasses.replace(SPEC, ranges=(TrainingRange(STATE, (0.0,) * 7, (1.0,) * 7, "min, max"),))
    assert "8 components, while the checkpoint's statistics are of 7" in said(spec=spec)[0]

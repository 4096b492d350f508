import numpy as np
import pytest

from ray_eval.envs.history import FrameHistory


def history(n_obs_steps):
    made = []

    def make(frame, key):
        made.append(frame)
        return np.array([frame])

    return FrameHistory(("key",), n_obs_steps, make), made


def test_one_step_is_not_stacked():
    frames, _ = history(1)
    frames.append(4)
    assert frames.observe()["key"].tolist() == [4]


def test_the_first_frame_is_repeated_until_there_are_enough():
    frames, _ = history(3)
    frames.append(1)
    assert frames.observe()["key"].tolist() == [[1], [1], [1]]
    frames.append(2)
    assert frames.observe()["key"].tolist() == [[1], [1], [2]]


def test_the_oldest_frame_comes_first_and_falls_out_first():
    frames, _ = history(2)
    for frame in range(5):
        frames.append(frame)
    assert frames.observe()["key"].tolist() == [[3], [4]]
    assert frames.present == 4


def test_each_frame_is_made_once_and_only_when_asked_for():
    frames, made = history(2)
    frames.append(1)
    frames.append(2)
    assert made == []
    frames.observe()
    frames.append(3)
    frames.observe()
    frames.observe()
    assert made == [1, 2, 3]


@pytest.mark.parametrize(("n_obs_steps", "replan_steps"), [(1, 1), (1, 5), (2, 1), (2, 5), (3, 2)])
def test_exactly_the_distinct_steps_of_the_observations_are_made(n_obs_steps, replan_steps):
    frames, made = history(n_obs_steps)
    seen = set()
    for step in range(20):
        frames.append(step)
        if step % replan_steps == 0:
            seen.update(frames.observe()["key"].ravel().tolist())
    assert made == sorted(seen)
    assert seen == {max(0, step - back) for step in range(0, 20, replan_steps) for back in range(n_obs_steps)}

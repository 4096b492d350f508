import numpy as np

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

"""A policy's own time, with an injected clock."""

import numpy as np
import pytest

from ray_eval.policies.contract import trial_observation
from ray_eval.policies.fake import FakePolicy
from ray_eval.serving.timing import TIMED_COUNT, WARM_UP_COUNT, SlowedPolicy, calibrated_ms
from ray_eval.types import STATE, ActionChunk, PolicySpec


class Timed:
    """A policy whose forwards take so long each, on a clock of its own."""

    spec = PolicySpec("timed", (STATE,), 2)

    def __init__(self, times_s: list[float]) -> None:
        self.times_s = iter(times_s)
        self.now = 0.0

    def infer_batch(self, observations):
        assert len(observations) == 1
        self.now += next(self.times_s)
        return [ActionChunk(np.zeros((2, 7), np.float32))]


def test_calibration_is_the_median_behind_the_warm_up():
    policy = Timed([9.0] * WARM_UP_COUNT + [0.1] * (TIMED_COUNT - 5) + [3.0] * 5)
    assert calibrated_ms(policy, lambda: policy.now) == pytest.approx(100)


def test_a_slowed_policy_answers_the_same_after_pauses_that_differ():
    pauses: list[float] = []
    slowed, policy = SlowedPolicy(FakePolicy(4), (20, 80), pauses.append), FakePolicy(4)
    observations = [trial_observation(policy.spec, index) for index in range(30)]
    for observation in observations:
        (theirs,), (ours,) = slowed.infer_batch([observation]), policy.infer_batch([observation])
        np.testing.assert_array_equal(theirs.actions, ours.actions)
    assert slowed.spec == policy.spec
    assert len(set(pauses)) == 30
    assert min(pauses) >= 0.02
    assert max(pauses) <= 0.08

import dataclasses

import numpy as np
import pytest

from ray_eval.envs.fake import FakeEnv
from ray_eval.errors import ContractError
from ray_eval.policies import make_policy
from ray_eval.policies.contract import check_policy, trial_observation
from ray_eval.policies.fake import FakePolicy
from ray_eval.sections import EnvSettings, NoopPolicy, ObservationRecipe, OraclePolicy, RandomPolicy, ReplayPolicy
from ray_eval.types import ActionChunk, EpisodeSpec, Observation, PolicySpec


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("chunk_len", [1, 10, 32])
@pytest.mark.parametrize("section", [OraclePolicy, NoopPolicy, RandomPolicy])
def test_every_policy_keeps_the_contract(section, chunk_len, images):
    check_policy(make_policy(section(chunk_len=chunk_len, images=images)))


def test_replay_keeps_the_contract(tmp_path):
    policy = make_policy(ReplayPolicy(path=str(tmp_path), images=False))
    for i in range(3):
        o = trial_observation(policy.spec, i)
        path = tmp_path / o.suite / str(o.task_id) / f"{o.init_state_id}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.full((4, 7), i / 10))
    check_policy(policy)


@pytest.mark.parametrize("images", [True, False])
def test_the_fake_policy_keeps_the_contract(images):
    check_policy(FakePolicy(images=images))


class Stubborn:
    """A policy that keeps the contract but for what a test changes."""

    def __init__(self, chunk=None, spec=None, answers=1.0):
        self.spec = spec or PolicySpec("stubborn", (), 2, batch_invariant=True)
        self.chunk = chunk or ActionChunk(np.zeros((2, 7), np.float32))
        self.share = answers
        self.calls = 0

    def infer_batch(self, observations):
        self.calls += 1
        return [self.chunk] * int(len(observations) * self.share)


class Counting(Stubborn):
    def infer_batch(self, observations):
        self.calls += 1
        return [ActionChunk(np.full((2, 7), self.calls, np.float32)) for _ in observations]


class Silent(Stubborn):
    def infer_batch(self, observations):
        return None


class Crowded(Stubborn):
    def infer_batch(self, observations):
        return [ActionChunk(np.full((2, 7), len(observations), np.float32)) for _ in observations]


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (Stubborn(answers=2), "expected 3 chunks for 3 observations, got 6"),
        (Stubborn(ActionChunk(np.zeros((1, 7), np.float32))), r"expected \(2, 7\), got \(1, 7\)"),
        (Stubborn(ActionChunk(np.zeros((2, 7)))), r"expected float32 \(.astype\(np.float32\)\), got 'float64'"),
        (Stubborn(ActionChunk(np.full((2, 7), np.inf, np.float32))), "expected finite numbers"),
        (Stubborn(ActionChunk(np.zeros((2, 7), np.float32), b"x" * 65537)), "at most 65536 bytes, got 65537"),
        (Stubborn(ActionChunk(np.zeros((2, 7), np.float32), "text")), "expected bytes"),
        (Stubborn(spec=PolicySpec("p", ("observation.picture",), 2)), "spec.keys"),
        (Stubborn(spec=PolicySpec("p", (), 0)), "spec.chunk_len: expected at least 1, got 0"),
        (Stubborn(spec=PolicySpec("p", (), 2, replan_steps=3)), "spec.replan_steps"),
        (Silent(), "infer_batch: expected a list of ActionChunk, got 'NoneType'"),
        (Counting(), "asked twice: expected the same actions for row 0, got 1 apart"),
        (Crowded(), "asked one by one: expected the same actions for row 0, got 2 apart"),
    ],
)
def test_each_breach_is_named(policy, said):
    with pytest.raises(ContractError, match=said):
        check_policy(policy)


def test_a_policy_that_does_not_promise_batch_invariance_may_depend_on_its_batch():
    policy = Crowded()
    policy.spec = dataclasses.replace(policy.spec, batch_invariant=False)
    check_policy(policy)


@pytest.mark.parametrize("init_state_id", range(3))
def test_the_fake_policy_solves_the_fake_env_and_counts_its_requests(init_state_id):
    policy = FakePolicy(chunk_len=4)
    env = FakeEnv("fake", 0, EnvSettings(ObservationRecipe(policy.spec.keys)))
    env.reset(EpisodeSpec("fake", 0, init_state_id, env_seed=7, max_steps=50))
    memory = b""
    for request in range(1, 12):
        (chunk,) = policy.infer_batch([Observation(env.observe(), env.instruction, policy_state=memory)])
        memory = chunk.policy_state
        assert memory == str(request).encode()
        if any(env.step(env.native_action(action)).is_success for action in chunk.actions):
            return
    pytest.fail("the goal was not reached")


def test_the_fake_policy_refuses_what_it_cannot_read():
    policy = FakePolicy()
    with pytest.raises(ContractError, match=r"observation\.state: expected a vector"):
        policy.infer_batch([Observation({}, "")])
    good = trial_observation(policy.spec, 0)
    with pytest.raises(ContractError, match="policy_state: expected a number"):
        policy.infer_batch([dataclasses.replace(good, policy_state=b"x")])

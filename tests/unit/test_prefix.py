"""Real-time chunking on the queue's side: the rest of the last chunk and the delay, in virtual time and on the wire."""

import itertools

import numpy as np
import pytest

from ray_eval.envs import make_env
from ray_eval.errors import ContractError
from ray_eval.rollout.client import PolicyClient
from ray_eval.rollout.episode import Episode
from ray_eval.rollout.latency import DrawnLatency, FixedLatency
from ray_eval.sections import BatchingSection, ConnectSection, EnvSettings, ListenSection, ObservationRecipe, QueueRules
from ray_eval.serving.server import serve_in_thread
from ray_eval.types import STATE, ActionChunk, EpisodeSpec, Observation, PolicySpec
from ray_eval.wire import codec

SPEC = EpisodeSpec("fake", 0, 0, env_seed=0, max_steps=24)
RULES = QueueRules(8, 8, 7, chunk_size_threshold=0.5)


class Continuing:
    """Row i of a raw chunk says for which step it is; keeps the prefix of the rows that will run before it arrives."""

    def __init__(self) -> None:
        self.spec = PolicySpec("continuing", (STATE,), 8, takes_prefix=True)
        self.asked: list[Observation] = []

    def infer_batch(self, observations):
        self.asked += observations
        return [ActionChunk(np.zeros((8, 7), np.float32), action_raw=self._raw(o)) for o in observations]

    def _raw(self, observation: Observation) -> np.ndarray:
        raw = np.zeros((8, 3), np.float32)
        raw[:, 0] = observation.step + np.arange(8)
        raw[:, 1] = observation.step
        if observation.action_raw is not None:
            frozen = min(observation.delay_steps, len(observation.action_raw))
            raw[:frozen] = observation.action_raw[:frozen]
        return raw


def play(tmp_path, latency, rules: QueueRules = RULES) -> list[Observation]:
    policy, address = Continuing(), f"unix:{tmp_path}/s"
    env = make_env("fake", 0, EnvSettings(ObservationRecipe((STATE,))))
    with serve_in_thread(policy, ListenSection(address), BatchingSection()):
        client = PolicyClient(lambda: ConnectSection(address))
        Episode(env, client, SPEC, rules, latency, request_prefix="x").run()
        client.close()
    return policy.asked


def test_the_rest_of_the_last_chunk_and_the_delay_go_with_the_next_request(tmp_path):
    asked = play(tmp_path, FixedLatency(2))
    assert [o.step for o in asked] == [0, 4, 8, 12, 16, 20]
    assert asked[0].action_raw is None
    assert {o.delay_steps for o in asked} == {2}
    for before, observation in itertools.pairwise(asked):
        # The chunk captured at the step before has rows up to seven steps behind it.
        expected = np.arange(observation.step, before.step + 8)
        assert observation.action_raw[:, 0].tolist() == expected.tolist()


def test_a_frozen_prefix_is_what_the_queue_executes_while_the_answer_is_under_way(tmp_path):
    asked = play(tmp_path, FixedLatency(3))
    for first, second in itertools.pairwise(asked[1:]):
        # Three rows of the answer to `first` are those of the chunk before it; none of them is left at `second`.
        assert second.action_raw[0, 1] == first.step


def test_the_delay_is_the_one_that_is_drawn_for_the_request(tmp_path):
    latency = DrawnLatency(lambda share: 250 * share, 20)
    asked = play(tmp_path, latency)
    assert [o.delay_steps for o in asked] == [latency.draw(SPEC, index) for index in range(len(asked))]
    assert len({o.delay_steps for o in asked}) > 1


def test_a_policy_without_prefixes_is_sent_none():
    spec = PolicySpec("plain", (STATE,), 8)
    observation = Observation({STATE: np.zeros(8, np.float32)}, "task", delay_steps=3)
    request = codec.encode_request([observation], spec, "id")
    assert "delay_steps" not in request.parameters
    assert codec.ACTION_RAW not in [tensor.name for tensor in request.inputs]


@pytest.mark.parametrize("prefix", [np.zeros((9, 3), np.float32), np.zeros((4, 3)), np.zeros(4, np.float32)])
def test_a_prefix_of_another_shape_or_type_is_refused(prefix):
    spec = PolicySpec("continuing", (STATE,), 8, takes_prefix=True)
    observation = Observation({STATE: np.zeros(8, np.float32)}, "task", action_raw=prefix)
    with pytest.raises(ContractError, match="action_raw"):
        codec.encode_request([observation], spec)


def test_raw_actions_travel_both_ways():
    spec = PolicySpec("continuing", (STATE,), 8, takes_prefix=True)
    raw = np.random.default_rng(0).normal(size=(2, 8, 3)).astype(np.float32)
    chunks = [ActionChunk(np.zeros((8, 7), np.float32), action_raw=rows) for rows in raw]
    answered = codec.decode_response(codec.encode_response(chunks, spec), spec, 2)
    np.testing.assert_array_equal([chunk.action_raw for chunk in answered], raw)
    observations = [
        Observation({STATE: np.zeros(8, np.float32)}, "t", action_raw=rows[5:], delay_steps=2) for rows in raw
    ]
    received = codec.decode_request(codec.encode_request(observations, spec), spec, 2)
    np.testing.assert_array_equal([row.action_raw for row in received], raw[:, 5:])
    assert [row.delay_steps for row in received] == [2, 2]
    with pytest.raises(ContractError, match="for every chunk or for none"):
        codec.encode_response([chunks[0], ActionChunk(np.zeros((8, 7), np.float32))], spec)

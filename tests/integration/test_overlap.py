"""In async a worker goes on while its request is under way: shown by events that wait for each other."""

import threading
from pathlib import Path

import numpy as np
import pytest

from ray_eval.envs import make_env
from ray_eval.errors import EpisodeError
from ray_eval.rollout.client import PolicyClient
from ray_eval.rollout.episode import Episode
from ray_eval.rollout.latency import FixedLatency
from ray_eval.sections import BatchingSection, ConnectSection, EnvSettings, ListenSection, ObservationRecipe, QueueRules
from ray_eval.serving.server import serve_in_thread
from ray_eval.types import STATE, ActionChunk, EpisodeSpec, PolicySpec

SPEC = EpisodeSpec("fake", 0, 0, env_seed=0, max_steps=24)


class World:
    """What the policy knows of the simulator: how many steps it has made."""

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self.changed = threading.Condition()
        self.steps = 0

    def step(self, _record: object) -> None:
        with self.changed:
            self.steps += 1
            self.changed.notify_all()

    def has_made(self, steps: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.steps >= steps, self.patience_s)


class Waiting:
    """Answers an observation no sooner than the simulator has made so many more steps."""

    def __init__(self, world: World, steps: int) -> None:
        self.spec = PolicySpec("waiting", (STATE,), 8)
        self._world = world
        self._steps = steps

    def infer_batch(self, observations):
        (observation,) = observations
        if not self._world.has_made(observation.step + self._steps):
            raise EpisodeError(f"expected {self._steps} steps behind {observation.step}, got {self._world.steps}")
        return [ActionChunk(np.zeros((8, 7), np.float32))]


def play(tmp_path: Path, policy_waits_for_steps: int, latency: int, patience_s: float = 20):
    world = World(patience_s)
    policy = Waiting(world, policy_waits_for_steps)
    address = f"unix:{tmp_path}/s"
    env = make_env("fake", 0, EnvSettings(ObservationRecipe((STATE,))))
    rules = QueueRules(8, 8, 7, chunk_size_threshold=0.5)
    with serve_in_thread(policy, ListenSection(address), BatchingSection()):
        client = PolicyClient(lambda: ConnectSection(address))
        arguments = (env, client, SPEC, rules, FixedLatency(latency))
        try:
            return Episode(*arguments, request_prefix="x", on_record=world.step).run()
        finally:
            client.close()


def test_a_policy_that_answers_only_after_three_more_steps_is_waited_for_at_the_fourth(tmp_path):
    result = play(tmp_path, policy_waits_for_steps=3, latency=3)
    assert result.steps == 24
    assert result.requests == 6


def test_without_latency_the_simulator_stands_still_until_the_answer_is_there(tmp_path):
    with pytest.raises(EpisodeError, match="expected 1 steps behind 0, got 0"):
        play(tmp_path, policy_waits_for_steps=1, latency=0, patience_s=0.5)

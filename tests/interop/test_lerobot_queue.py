"""`queue: lerobot` against LeRobot's real client, and the observation filter against its real server."""

import json
import os
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
from lerobot_environment import PYTHON

from ray_eval.rollout.chunk_queue import AGGREGATIONS, LerobotQueue, ObservationFilter
from ray_eval.sections import QueueRules
from ray_eval.types import ActionChunk

INTERLEAVINGS = 400
NIGHTLY_INTERLEAVINGS = 10_000


class Peer:
    """LeRobot in its own interpreter."""

    def __init__(self) -> None:
        command = [str(PYTHON), str(Path(__file__).with_name("lerobot_peer.py"))]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, *question: object) -> list:
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def peer(lerobot_python):
    peer = Peer()
    yield peer
    peer.close()


class Answer:
    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def result(self) -> ActionChunk:
        return ActionChunk(self.rows)

    def cancel(self) -> None:
        pass


class Interleaving:
    """Random captures, arrivals and steps on our queue; what LeRobot has to be asked for the same."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.horizon = chance.randint(1, 12)
        self.is_ragged = chance.random() < 0.3
        self.threshold = chance.choice([0.0, 0.3, 0.5, 0.58, 0.8, 1.0])
        self.aggregate = chance.choice(list(AGGREGATIONS))
        self.queue = LerobotQueue(
            QueueRules(
                self.horizon,
                chunk_len=1 if self.is_ragged else self.horizon,
                action_dim=2,
                chunk_size_threshold=self.threshold,
                aggregate=self.aggregate,
                kind="lerobot",
            )
        )
        self.operations: list[list] = []
        self.states: list[list] = []
        self.executed = None
        self.due = None

    def play(self, steps: int) -> None:
        for step in range(steps):
            self.arrive(step)
            if self.due is None and (self.queue.wants_chunk() or self.chance.random() < 0.1):
                self.capture(step)
            self.pop(step)

    def arrive(self, step: int) -> None:
        if self.due is not None and step >= self.due[0]:
            _, label, rows = self.due
            self.due = None
            self.queue.arrive(step)
            self.note(["merge", label, rows.tolist()], None)

    def capture(self, step: int) -> None:
        is_ready = None if self.is_ragged else self.queue.wants_chunk()
        latency = self.chance.choice([0, 1, 2, 5, self.chance.randint(0, 20)])
        count = self.chance.randint(1, self.horizon) if self.is_ragged else self.horizon
        drawn = [[self.chance.gauss(0, 1), self.chance.gauss(0, 1)] for _ in range(count)]
        rows, label = np.array(drawn, dtype=np.float32), self.queue.label(step)
        self.note(["capture"], label, is_ready)
        # Latency 0 is merged by `arrive`, so that the state before it can be compared as well.
        self.queue.expect(Answer(rows), step, max(latency, 1))
        self.due = (step + max(latency, 1), label, rows)
        if latency == 0:
            self.due = (step, label, rows)
            self.queue.arrive(step + 1)
            self.due = None
            self.note(["merge", label, rows.tolist()], None)

    def pop(self, step: int) -> None:
        planned = self.queue.pop(step)
        if planned is not None:
            self.executed = planned.action.tolist()
        self.note(["pop"], None)

    def note(self, operation: list, label: int | None, is_ready: bool | None = None) -> None:
        self.operations.append(operation)
        queue = [[planned.step, planned.action.tolist()] for planned in self.queue.actions]
        self.states.append([queue, self.executed, label, is_ready])


def differences(peer: Peer, interleaving: Interleaving) -> list[str]:
    theirs = peer.ask("queue", interleaving.threshold, interleaving.aggregate, interleaving.operations)
    pairs = zip(interleaving.operations, interleaving.states, theirs, strict=True)
    found = []
    for operation, ours, other in pairs:
        if ours[3] is None:
            other[3] = None
        if ours != other:
            found.append(f"{operation[0]}: {ours} here, {other} there")
    return found


def compare(peer: Peer, count: int) -> int:
    """Operations compared; fails at the first interleaving that differs."""
    compared = 0
    for seed in range(count):
        interleaving = Interleaving(random.Random(seed))
        interleaving.play(steps=40)
        assert differences(peer, interleaving) == [], f"seed {seed}"
        compared += len(interleaving.operations)
    return compared


def test_the_queue_is_lerobots_after_every_operation(peer):
    assert compare(peer, INTERLEAVINGS) > 40 * INTERLEAVINGS


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_the_queue_is_lerobots_in_ten_thousand_interleavings(peer):
    print(f"\n{NIGHTLY_INTERLEAVINGS} interleavings, {compare(peer, NIGHTLY_INTERLEAVINGS)} operations, 0 differences")


def test_a_queue_with_the_designs_own_labels_is_not_lerobots(peer):
    interleaving = Interleaving(random.Random(1))
    interleaving.queue.label = lambda step: step
    interleaving.play(steps=40)
    assert differences(peer, interleaving) != []


def test_the_filter_takes_what_lerobots_server_takes(peer):
    for seed in range(200):
        chance = random.Random(seed)
        state, observations, ours = np.zeros(8), [], []
        filtering = ObservationFilter(1.0)
        for _ in range(30):
            state = state + np.array([chance.gauss(0, 0.25) for _ in range(8)])
            values = np.array(state, dtype=np.float32)
            observation = (chance.randint(0, 40), values.tolist(), chance.random() < 0.2)
            observations.append(observation)
            ours.append(filtering.takes(observation[0], values, must_go=observation[2]))
        assert peer.ask("filter", observations) == ours
        assert 0 < sum(ours) < 30

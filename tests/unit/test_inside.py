"""What is recorded of the queue's life: on whole episodes of the fake env, without a server."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from ray_eval.envs import make_env
from ray_eval.rollout.episode import Episode
from ray_eval.rollout.inside import InsideRecorder, rotation_between
from ray_eval.rollout.latency import FixedLatency
from ray_eval.sections import EnvSettings, ObservationRecipe, QueueRules
from ray_eval.types import STATE, ActionChunk, EpisodeSpec, Observation, StepRecord

SPEC = EpisodeSpec("fake", 0, 0, env_seed=0, max_steps=30)


class Answer:
    elapsed_ms = 1.0
    is_done = True

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = rows

    def result(self) -> ActionChunk:
        return ActionChunk(self._rows)

    def cancel(self) -> None:
        pass


class Caller:
    """A policy in this process whose chunk number k moves sideways by `moves(k)`."""

    def __init__(self, moves: Callable[[int], float]) -> None:
        self._moves = moves
        self.asked: list[Observation] = []

    def infer(self, observation: Observation, request_id: str, *, is_awaited: bool) -> Answer:
        rows = np.zeros((8, 7), np.float32)
        rows[:, 0] = self._moves(len(self.asked))
        rows[:, 6] = -1
        self.asked.append(observation)
        return Answer(rows)


def play(rules: QueueRules, latency: int, moves=lambda k: 0.0):
    records: list[StepRecord] = []
    caller = Caller(moves)
    env = make_env("fake", 0, EnvSettings(ObservationRecipe((STATE,))))
    episode = Episode(env, caller, SPEC, rules, FixedLatency(latency), request_prefix="x", on_record=records.append)
    return episode.run(), records, caller


RULES = QueueRules(8, 8, 7, chunk_size_threshold=0.5)


def test_every_step_has_its_record_and_the_figures_are_their_sums():
    result, records, caller = play(RULES, latency=2)
    assert [record.step for record in records] == list(range(30))
    assert result.inside.queue_lengths == tuple(record.queue_length for record in records)
    assert sum(record.source is None for record in records) == result.underrun_steps == 2
    captured = [record.step for record in records if record.is_captured]
    assert captured == [observation.step for observation in caller.asked]
    assert result.inside.request_span_steps == captured[-1] - captured[0]
    assert [record.label for record in records[2:]] == list(range(2, 30))


def test_queue_lengths_are_those_that_the_rules_give():
    # 8 rows from step 0, 2 of them stale at step 2; asked for again at 4 left, two steps before the next arrive.
    result, _, _ = play(RULES, latency=2)
    assert result.inside.queue_lengths[:12] == (0, 0, 6, 5, 4, 3, 6, 5, 4, 3, 6, 5)


def test_a_record_says_from_which_chunk_and_whether_chunks_overlapped():
    _, records, _ = play(RULES, latency=2)
    # The chunk captured at 4 arrives at 6 and meets the rows for 6 and 7.
    assert [(r.source, r.is_aggregated) for r in records[5:10]] == [
        (0, False),
        (1, True),
        (1, True),
        (1, False),
        (1, False),
    ]


def test_the_jump_at_a_seam_is_what_the_commanded_translation_changes_by():
    result, _, caller = play(dataclasses.replace(RULES, chunk_size_threshold=0.0), latency=0, moves=lambda k: 0.4 * k)
    inside = result.inside
    assert (len(caller.asked), inside.seams) == (4, 3)
    # From 0 to 0.4 to 0.8 to 1.2, which the controller takes for 1: 0.05 m each.
    assert inside.seam_jump_m_sum == pytest.approx((0.4 + 0.4 + 0.2) * 0.05, abs=1e-6)
    assert inside.seam_jump_m_max == pytest.approx(0.02, abs=1e-6)
    assert inside.seam_jump_rad_sum == 0


def record(step: int, action: list[float], source: int | None) -> StepRecord:
    return StepRecord(step, 1, np.array([*action, 0.0]), source, step, False, False, False)


def test_an_underrun_between_two_chunks_does_not_hide_their_seam():
    recorder = InsideRecorder("delta_pose")
    recorder.note(record(0, [0, 0, 0, 0, 0, 0.2], 0))
    recorder.note(record(1, [0, 0, 0, 0, 0, 0.2], None))
    recorder.note(record(2, [0, 0, 0, 0, 0, -0.2], 1))
    figures = recorder.figures()
    assert figures.seams == 1
    assert figures.seam_jump_rad_max == pytest.approx(0.2)


def test_absolute_poses_are_metres_and_radians_already():
    recorder = InsideRecorder("absolute_pose")
    recorder.note(record(0, [0.1, 0, 1.0, 3.1, 0, 0], 0))
    recorder.note(record(1, [0.1, 0, 1.3, -3.1, 0, 0], 1))
    figures = recorder.figures()
    assert figures.seam_jump_m_sum == pytest.approx(0.3)
    # The short way round: 3.1 rad and -3.1 rad are 0.083 rad apart.
    assert figures.seam_jump_rad_sum == pytest.approx(2 * np.pi - 6.2, abs=1e-6)


def test_rotations_are_compared_as_rotations():
    x, y = np.array([0.3, 0, 0]), np.array([0, 0.4, 0])
    assert rotation_between(x, x) == 0
    assert rotation_between(np.zeros(3), y) == pytest.approx(0.4)
    assert rotation_between(x, y) == pytest.approx(2 * np.arccos(np.cos(0.15) * np.cos(0.2)))


def test_similar_observations_are_left_out_until_the_queue_is_empty():
    # The point does not move, so every observation is like the one before.
    rules = dataclasses.replace(RULES, similarity_atol=1.0)
    result, records, caller = play(rules, latency=0)
    assert [observation.step for observation in caller.asked] == [0, 8, 16, 24]
    assert result.requests == 4
    # Asked for at four left, three left, ... but not sent; the one at an empty queue must go.
    assert [r.step for r in records if r.is_filtered][:4] == [4, 5, 6, 7]
    assert result.inside.filtered_observations == sum(r.is_filtered for r in records)


def test_observations_that_differ_enough_are_sent():
    rules = dataclasses.replace(RULES, similarity_atol=0.1)
    _, _, caller = play(rules, latency=0, moves=lambda k: 1.0)
    assert [observation.step for observation in caller.asked][:3] == [0, 4, 8]

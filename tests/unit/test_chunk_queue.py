"""The chunk queue's rules: the table of examples, and the invariants that hold for every setting."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_eval.errors import ConfigError, ContractError, EpisodeError
from ray_eval.rollout.chunk_queue import AGGREGATIONS, ChunkQueue, load_aggregation, make_queue
from ray_eval.rollout.latency import FixedLatency, steps_of_ms
from ray_eval.sections import QueueRules
from ray_eval.types import ActionChunk, EpisodeSpec

EPISODE = EpisodeSpec("fake", 0, 0, env_seed=0, max_steps=100)


@dataclass
class Answer:
    """An answer that is there at once; column 0 says for which step a row is, column 1 when it was captured."""

    rows: np.ndarray
    is_cancelled: bool = False

    def result(self) -> ActionChunk:
        return ActionChunk(self.rows)

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass
class Played:
    """What an episode of `play` did."""

    executed: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    underruns: list = field(default_factory=list)
    queue: ChunkQueue | None = None


def answer(step: int, chunk_len: int) -> Answer:
    rows = np.zeros((chunk_len, 2), dtype=np.float32)
    rows[:, 0] = step + np.arange(chunk_len)
    rows[:, 1] = step
    return Answer(rows)


def play(rules: QueueRules, steps: int = 60, latency=None) -> Played:
    """The episode loop's order of events, on steps instead of a simulator."""
    latency = latency or FixedLatency(0)
    queue, played = make_queue(rules), Played()
    played.queue = queue
    for step in range(steps):
        queue.arrive(step)
        if queue.wants_chunk():
            drawn = latency.draw(EPISODE, queue.counts.requests)
            played.requests.append(step)
            queue.expect(answer(step, rules.chunk_len), step, drawn)
        planned = queue.pop(step)
        if planned is None:
            played.underruns.append(step)
        played.executed.append(None if planned is None else planned.action)
    queue.cancel()
    return played


def rules(horizon: int = 10, threshold: float = 0.5, **others) -> QueueRules:
    others = {"chunk_len": horizon, "action_dim": 2, "aggregate": "latest_only", **others}
    return QueueRules(horizon=horizon, chunk_size_threshold=threshold, **others)


STEPS = range(60)


@pytest.mark.parametrize(
    ("threshold", "latency", "requests", "underruns"),
    [
        (0.5, 4, range(0, 60, 5), range(4)),
        (1.0, 4, range(0, 60, 4), range(4)),
        (1.0, 0, STEPS, []),
        (0.0, 4, range(0, 60, 10), [step for step in STEPS if step % 10 < 4]),
        # Ten rows captured six steps ago leave four: two of every six steps go without.
        (0.5, 6, range(0, 60, 6), [step for step in STEPS if step < 6 or step % 6 >= 4]),
        (0.8, 8, range(0, 60, 8), [step for step in STEPS if step < 8 or step % 8 >= 2]),
        (0.5, 16, range(0, 60, 16), STEPS),
    ],
)
def test_the_designs_table_of_examples(threshold, latency, requests, underruns):
    played = play(rules(10, threshold), 60, FixedLatency(latency))
    assert played.requests == list(requests)
    assert played.underruns == list(underruns)


def test_one_overlapping_row_in_each_later_chunk():
    played = play(rules(10, 0.5), 50, FixedLatency(4))
    assert played.queue.counts.aggregated_actions == len([s for s in played.requests if s > 0 and s + 4 < 50])


@given(st.integers(1, 20), st.floats(0, 1), st.integers(0, 25), st.integers(1, 80))
def test_each_action_runs_at_the_step_it_was_planned_for(horizon, threshold, latency, steps):
    for step, action in enumerate(play(rules(horizon, threshold), steps, FixedLatency(latency)).executed):
        assert action is None or action[0] == step


@given(st.integers(1, 20), st.floats(0, 1), st.integers(0, 25), st.integers(1, 80))
def test_no_row_is_lost_or_run_twice(horizon, threshold, latency, steps):
    played = play(rules(horizon, threshold), steps, FixedLatency(latency))
    counts = played.queue.counts
    arrived = [step for step in played.requests if step + latency < steps]
    executed = sum(action is not None for action in played.executed)
    accounted = executed + len(played.queue) + counts.stale_actions + counts.aggregated_actions
    assert accounted == len(arrived) * horizon
    assert counts.requests == len(played.requests)
    assert counts.underrun_steps == steps - executed


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 60))
def test_latency_zero_with_threshold_zero_is_sync_action_for_action(chunk_len, cut, steps):
    replan_steps = min(chunk_len, cut)
    played = play(rules(replan_steps, 0.0, chunk_len=chunk_len), steps)
    assert played.requests == list(range(0, steps, replan_steps))
    assert [(int(a[0]), int(a[1])) for a in played.executed] == [(s, s - s % replan_steps) for s in range(steps)]


class Drawn:
    """A latency that changes from request to request."""

    def __init__(self, draws: list[int]) -> None:
        self._draws = draws

    def draw(self, episode: EpisodeSpec, request_index: int) -> int:
        return self._draws[request_index % len(self._draws)]


@given(st.integers(1, 12), st.floats(0, 1), st.lists(st.integers(0, 20), min_size=1, max_size=9))
def test_under_wait_every_step_has_its_own_action(horizon, threshold, draws):
    played = play(rules(horizon, threshold, underrun="wait"), steps=50, latency=Drawn(draws))
    assert [int(action[0]) for action in played.executed] == list(range(50))
    assert played.queue.counts.underrun_steps == 0


def test_waiting_counts_the_steps_for_which_the_simulator_was_frozen():
    played = play(rules(10, 0.0, underrun="wait"), 30, FixedLatency(4))
    assert played.requests == [0, 10, 20]
    assert played.queue.counts.waited_steps == 12
    assert played.queue.counts.stale_actions == 0


@given(st.integers(1, 12), st.floats(0, 1), st.lists(st.integers(0, 20), min_size=1, max_size=9))
def test_drawn_latencies_keep_the_queue_contiguous(horizon, threshold, draws):
    played = play(rules(horizon, threshold), steps=60, latency=Drawn(draws))
    assert all(action is None or action[0] == step for step, action in enumerate(played.executed))


class LateAnswer(Answer):
    """An answer that must not be looked at before its arrival step."""

    clock = 0
    due = 0

    def result(self) -> ActionChunk:
        assert LateAnswer.clock >= self.due
        return super().result()


def test_an_answer_is_looked_at_no_earlier_than_its_arrival_step():
    queue = ChunkQueue(rules(10, 0.5))
    early = LateAnswer(answer(0, 10).rows)
    early.due = 7
    LateAnswer.clock = 0
    queue.expect(early, 0, 7)
    for step in range(7):
        LateAnswer.clock = step
        queue.arrive(step)
        assert queue.pop(step) is None
    LateAnswer.clock = 7
    queue.arrive(7)
    assert queue.pop(7).action[0] == 7


class Broken(Answer):
    def result(self) -> ActionChunk:
        raise EpisodeError("policy: expected an answer, got none")


def test_an_error_takes_effect_at_its_arrival_step_and_not_before():
    queue = ChunkQueue(rules(10, 0.5))
    queue.expect(Broken(answer(0, 10).rows), 0, 3)
    for step in range(3):
        queue.arrive(step)
        queue.pop(step)
    with pytest.raises(EpisodeError):
        queue.arrive(3)


def test_an_outstanding_request_is_cancelled_with_its_episode():
    queue, outstanding = ChunkQueue(rules(10, 0.5)), answer(0, 10)
    queue.expect(outstanding, 0, 3)
    queue.cancel()
    assert outstanding.is_cancelled
    queue.arrive(10)
    assert len(queue) == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [("latest_only", 2.0), ("weighted_average", 1.7), ("average", 1.5), ("conservative", 1.3)],
)
def test_aggregations_are_float32(name, expected):
    merged = AGGREGATIONS[name](np.full(7, 1, np.float32), np.full(7, 2, np.float32))
    assert merged.dtype == np.float32
    np.testing.assert_allclose(merged, expected, rtol=1e-6)


def test_aggregation_works_on_what_is_queued_now_aggregated_before_or_not():
    queue = ChunkQueue(rules(4, 1.0, aggregate="average"))
    for value in (0.0, 4.0, 8.0):
        queue.expect(Answer(np.full((4, 2), value, np.float32)), 0, 0)
    assert queue.pop(0).action[0] == pytest.approx((0 + 4) / 2 / 2 + 4)
    assert queue.counts.aggregated_actions == 8


def test_an_import_string_names_an_aggregation():
    assert load_aggregation("ray_eval.rollout.chunk_queue:conservative") is AGGREGATIONS["conservative"]


@pytest.mark.parametrize("name", ["wieghted_average", "nowhere:function", "math:nothing", "math:pi"])
def test_an_unknown_aggregation_is_a_config_error(name):
    with pytest.raises(ConfigError, match=r"execution\.aggregate: expected"):
        load_aggregation(name)


@pytest.mark.parametrize("text", ["def (", "undefined_name", "import sys; sys.exit(3)", "raise KeyError('x')"])
def test_an_aggregations_module_that_cannot_be_imported_is_a_config_error(text, tmp_path, monkeypatch):
    (tmp_path / "users_aggregation.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"execution\.aggregate: .*users_aggregation\.py:1.*traceback is in"):
        load_aggregation("users_aggregation:aggregate")


@pytest.mark.parametrize(
    "rows",
    [np.zeros((9, 2)), np.zeros((10, 3)), np.zeros(10), np.full((10, 2), np.nan), np.full((10, 2), np.inf)],
    ids=["too few rows", "too many columns", "no matrix", "NaN", "inf"],
)
def test_a_bad_chunk_is_a_contract_error(rows):
    queue = ChunkQueue(rules(10, 0.5))
    with pytest.raises(ContractError, match="policy answer: expected"):
        queue.expect(Answer(rows.astype(np.float32)), 0, 0)


def test_a_chunk_is_cut_to_the_horizon_but_must_be_whole():
    queue = ChunkQueue(rules(4, 0.0, chunk_len=10))
    queue.expect(answer(0, 10), 0, 0)
    assert len(queue) == 4


def test_the_threshold_is_compared_by_division():
    queue = ChunkQueue(rules(50, 0.58))
    queue.expect(answer(0, 50), 0, 0)
    for step in range(21):
        queue.pop(step)
    assert len(queue) == 29
    assert queue.wants_chunk()


def test_milliseconds_round_up_to_whole_control_steps():
    assert [steps_of_ms(ms, 20) for ms in (0, 1, 50, 50.1, 190, 200)] == [0, 1, 1, 2, 4, 4]
    assert steps_of_ms(100, control_hz=30) == math.ceil(3.0)


def lerobot(**others) -> QueueRules:
    return rules(10, 0.5, kind="lerobot", **others)


def test_lerobots_chunks_but_the_first_lose_their_first_action():
    played = play(lerobot(), 40, FixedLatency(0))
    # Captured at 5 the label is 4, the last one executed: rows 4 to 13 arrive, 4 is stale, 14 comes from the next.
    assert played.requests == [0, 5, 9, 13, 17, 21, 25, 29, 33, 37]
    assert played.queue.counts.stale_actions == 9
    # Each row runs one step later than it was planned for, once its chunk was captured behind an executed action.
    assert [int(action[1]) for action in played.executed[:12]] == [0] * 5 + [5] * 4 + [9] * 3


def test_lerobots_underruns_make_nothing_stale():
    played = play(lerobot(), 12, FixedLatency(4))
    assert played.underruns == [0, 1, 2, 3]
    assert [int(action[0]) for action in played.executed[4:9]] == [0, 1, 2, 3, 4]


def test_lerobot_forgets_what_a_new_chunk_does_not_cover():
    queue = make_queue(lerobot())
    queue.expect(answer(0, 10), 0, 0)
    for step in range(3):
        queue.pop(step)
    queue.expect(answer(3, 10), 3, 0)
    assert [planned.step for planned in queue.actions] == list(range(3, 12))
    for step in range(3, 9):
        queue.pop(step)
    # Captured when 2 was the last one executed, but here only now: 2 to 11 against a queue that ends with 11.
    assert [planned.step for planned in queue.actions] == [9, 10, 11]

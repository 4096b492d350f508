"""Realtime's clock: injected, so that a fast machine, a slow one and one with a hiccup can be told apart."""

import numpy as np
import pytest

from ray_eval.config import load_config
from ray_eval.envs import make_env
from ray_eval.errors import ConfigError, EpisodeError
from ray_eval.rollout.chunk_queue import ChunkQueue
from ray_eval.rollout.episode import Episode
from ray_eval.rollout.latency import EndlessLatency
from ray_eval.rollout.pacing import Pacer
from ray_eval.sections import EnvSettings, ObservationRecipe, QueueRules
from ray_eval.types import STATE, ActionChunk, EpisodeSpec


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def play(fps: int, step_s: list[float]) -> Pacer:
    """Steps that take so long each."""
    clock = Clock()
    pacer = Pacer(fps, clock, clock.sleep)
    for seconds in step_s:
        pacer.tick()
        clock.now += seconds
    return pacer


def test_quick_steps_begin_at_the_rate_asked_for():
    pacing = play(20, [0.01, 0.049, 0.0] * 20).pacing()
    assert (pacing.achieved_fps, pacing.missed_ticks) == (20.0, 0)


def test_a_short_delay_is_slept_away_and_is_no_missed_tick():
    assert play(20, [0.06, 0.01] * 20).pacing().missed_ticks == 0


def test_a_hiccup_is_a_missed_tick_and_is_not_caught_up_with():
    pacing = play(20, [0.01] * 50 + [0.11] + [0.01] * 50).pacing()
    assert pacing.missed_ticks == 1
    # 101 periods of 50 ms, and 60 ms that the slow step took longer.
    assert pacing.achieved_fps == pytest.approx(101 / (101 * 0.05 + 0.06), abs=1e-3)


@pytest.mark.parametrize(
    "steps", [[0.06] * 40, [0.01] * 18 + [0.2], [0.055] * 100], ids=["too slow", "one in twenty", "always a little"]
)
def test_a_rate_that_is_not_held_gives_an_error_and_no_number(steps):
    with pytest.raises(EpisodeError, match="realtime: expected 20 control steps per second, got 1"):
        play(20, steps).pacing()


class Answer:
    is_done = False
    rows = np.zeros((4, 7), np.float32)

    def result(self) -> ActionChunk:
        assert self.is_done
        return ActionChunk(self.rows)

    def cancel(self) -> None:
        pass


def test_a_chunk_is_merged_at_the_step_at_which_it_is_here():
    queue, answer = ChunkQueue(QueueRules(4, 4, 2)), Answer()
    answer.rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    queue.expect(answer, 0, 1000)
    for step in range(2):
        queue.arrive_by_itself(step)
        assert queue.pop(step) is None
    answer.is_done = True
    queue.arrive_by_itself(2)
    assert queue.pop(2).action.tolist() == [4.0, 5.0]
    assert queue.counts.stale_actions == 2


class Caller:
    def infer(self, observation, request_id, *, is_awaited):
        answer = Answer()
        answer.is_done, answer.elapsed_ms = True, 1.0
        return answer


def run_episode(step_s: float):
    clock = Clock()
    env = make_env("fake", 0, EnvSettings(ObservationRecipe((STATE,))))
    spec, rules = EpisodeSpec("fake", 0, 0, env_seed=0, max_steps=40), QueueRules(4, 4, 7)
    pacer = Pacer(20, clock, clock.sleep)
    return Episode(
        env,
        Caller(),
        spec,
        rules,
        EndlessLatency(),
        request_prefix="x",
        pacer=pacer,
        on_record=lambda _record: clock.sleep(step_s),
    ).run()


def test_an_episode_by_the_clock_tells_its_rate_or_ends_in_an_error():
    result = run_episode(step_s=0.02)
    assert (result.pacing.achieved_fps, result.pacing.missed_ticks, result.steps) == (20.0, 0, 40)
    # An answer is looked at when the next step begins, even one that is there at once.
    assert result.inside.queue_lengths[:6] == (0, 3, 2, 1, 0, 3)
    with pytest.raises(EpisodeError, match="expected 20 control steps per second, got 10"):
        run_episode(step_s=0.1)


BASE = ["suite=fake", "policy=random", "execution.mode=realtime"]


def test_realtime_has_a_rate_and_no_latency_of_its_own():
    execution = load_config(None, BASE).execution
    assert (execution.fps, execution.chunk_size_threshold, execution.latency.kinds) == (20, None, ())
    assert load_config(None, [*BASE, "execution.fps=30"]).execution.fps == 30
    assert load_config("latency", ["execution.mode=realtime"]).execution.latency.kinds == ()


@pytest.mark.parametrize(
    ("suite", "fps"), [("libero_goal", 20), ("metaworld_mt10", 80), ("aloha", 50), ("pusht", 10), ("fake", 20)]
)
def test_realtime_has_the_simulators_own_rate_unless_told(suite, fps):
    assert load_config(None, [f"suite={suite}", "policy=random", "execution.mode=realtime"]).execution.fps == fps


def test_of_a_gymnasium_env_the_rate_is_what_its_keys_say():
    words = ["simulator=gymnasium", "simulator.id=X-v0", "policy=random", "execution.mode=realtime"]
    assert load_config(None, [*words, "simulator.control_hz=12.4"]).execution.fps == 12
    with pytest.raises(ConfigError, match=r"fps: .* simulator gymnasium does not say .* write execution\.fps=N"):
        load_config(None, words)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("execution.fps=0", "1 to 1000"),
        ("execution.underrun=wait", "hold or noop in realtime"),
        ("execution.latency.steps=4", "execution.mode=async"),
    ],
)
def test_what_realtime_does_not_have_is_said(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, [*BASE, override])


def test_a_rate_belongs_to_realtime():
    with pytest.raises(
        ConfigError, match=r"execution\.fps: expected nothing in async mode, .* execution\.mode=realtime"
    ):
        load_config(None, [*BASE[:2], "execution.mode=async", "execution.fps=30"])

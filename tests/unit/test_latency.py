"""Latencies: pure functions of the episode and the request, with the distribution that was asked for."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_eval.config import load_config
from ray_eval.driver.latency import resolve_latency
from ray_eval.driver.resolve import is_starved
from ray_eval.errors import ConfigError
from ray_eval.rollout.latency import lognormal_ms, make_latency, shortest_steps, uniform_ms
from ray_eval.sections import LognormalLatency, QueueRules, RecordedLatency, StepsLatency, UniformLatency
from ray_eval.types import EpisodeSpec

HZ = 20
BASE = ["suite=fake", "policy=oracle", "execution.mode=async"]
SECTIONS = {
    "steps": StepsLatency(3),
    "uniform": UniformLatency(20, 480),
    "lognormal": LognormalLatency(120, 300),
    "recorded": RecordedLatency((10.0, 60.0, 110.0, 400.0, 1.0)),
}

EXPECTED_DRAWS = {
    "steps": [3, 3, 3, 3, 3, 3, 3, 3],
    "uniform": [9, 4, 3, 3, 7, 3, 9, 1],
    "lognormal": [5, 2, 2, 2, 3, 2, 5, 1],
    "recorded": [3, 8, 1, 1, 2, 3, 8, 1],
}


def episode(init_state_id: int = 0, seed: int = 0, repeat: int = 0) -> EpisodeSpec:
    return EpisodeSpec("libero_object", 3, init_state_id, env_seed=0, max_steps=9, seed=seed, repeat=repeat)


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_a_draw_depends_on_the_episode_and_the_request_alone(section):
    backwards = [make_latency(section, HZ).draw(episode(4), index) for index in reversed(range(50))]
    model = make_latency(section, HZ)
    [model.draw(episode(other), 7) for other in range(5)]
    assert [model.draw(episode(4), index) for index in range(50)] == backwards[::-1]


@pytest.mark.parametrize("name", ["uniform", "lognormal", "recorded"])
@pytest.mark.parametrize(
    "other", [episode(5), episode(4, seed=1), episode(4, repeat=1)], ids=["state", "seed", "repeat"]
)
def test_other_episodes_draw_other_latencies(name, other):
    model = make_latency(SECTIONS[name], HZ)
    drawn = [[model.draw(spec, index) for index in range(40)] for spec in (episode(4), other)]
    assert drawn[0] != drawn[1]


def test_draws_are_the_same_on_every_machine():
    drawn = {name: [make_latency(SECTIONS[name], HZ).draw(episode(), index) for index in range(8)] for name in SECTIONS}
    assert drawn == EXPECTED_DRAWS


def test_a_lognormal_latency_has_the_median_and_the_95th_percentile_asked_for():
    quantile = lognormal_ms(LognormalLatency(120, 300))
    assert quantile(0.5) == pytest.approx(120)
    assert quantile(0.95) == pytest.approx(300)
    drawn = [make_latency(LognormalLatency(120, 300), HZ).draw(episode(i % 50, i // 50), i) for i in range(4000)]
    # 120 ms are 2.4 steps, 300 ms are 6.
    assert statistics.median(drawn) == 3
    assert sum(steps > 6 for steps in drawn) / len(drawn) == pytest.approx(0.05, abs=0.015)


@given(st.floats(0, 1000), st.floats(0, 1000), st.floats(0, 1, exclude_max=True))
def test_a_uniform_latency_stays_between_its_bounds(low, width, share):
    value = uniform_ms(UniformLatency(low, low + width))(share)
    assert low <= value <= low + width


def test_a_uniform_latency_covers_its_range_evenly():
    drawn = [make_latency(UniformLatency(0, 400), HZ).draw(episode(i % 50, i // 50), i) for i in range(4000)]
    counts = [drawn.count(steps) for steps in range(1, 9)]
    assert sum(counts) == 4000
    assert all(abs(count - 500) < 5 * math.sqrt(500) for count in counts)


def test_a_trace_is_replayed_in_its_order_and_around_again():
    steps = [1, 2, 3, 8, 1]
    model = make_latency(SECTIONS["recorded"], HZ)
    drawn = [model.draw(episode(), index) for index in range(12)]
    assert any(drawn == [(steps * 4)[first + index] for index in range(12)] for first in range(5))
    assert len({model.draw(episode(state), 0) for state in range(40)}) == 4


def test_a_trace_is_known_by_its_content(tmp_path):
    path = tmp_path / "trace.txt"
    path.write_text("# measured on a desk\n80\n\n120.5\n")
    latency = load_config(None, [*BASE, f"execution.latency.trace={path}"]).execution.latency
    found = resolve_latency(latency, None, pytest.fail, HZ)
    assert found.section == RecordedLatency((80.0, 120.5))
    path.write_text("80\n120\n")
    assert resolve_latency(latency, None, pytest.fail, HZ).identity != found.identity


@pytest.mark.parametrize(
    ("text", "message"), [("80\nfast\n", "line 2"), ("-1", "line 1"), ("nan", "line 1"), ("# no\n", "got 0")]
)
def test_a_broken_trace_is_a_config_error(tmp_path, text, message):
    path = tmp_path / "trace.txt"
    path.write_text(text)
    latency = load_config(None, [*BASE, f"execution.latency.trace={path}"]).execution.latency
    with pytest.raises(ConfigError, match=message):
        resolve_latency(latency, None, pytest.fail, HZ)
    path.unlink()
    with pytest.raises(ConfigError, match=r"execution\.latency\.trace"):
        resolve_latency(latency, None, pytest.fail, HZ)


def test_a_calibration_is_measured_once_and_read_back_afterwards():
    latency = load_config(None, [*BASE, "execution.latency.calibrated=true"]).execution.latency
    measured = resolve_latency(latency, None, lambda: 123.45678, HZ)
    assert (measured.section, dict(measured.identity)) == (StepsLatency(3), {"calibrated_latency_ms": 123.457})
    recorded = {f"environment.{key}": value for key, value in measured.identity.items()}
    assert resolve_latency(latency, recorded, pytest.fail, HZ) == measured


@pytest.mark.parametrize(
    ("overrides", "section"),
    [
        ((), StepsLatency(0)),
        (("latency.steps=4",), StepsLatency(4)),
        (("latency.ms=190",), StepsLatency(4)),
        (("latency.calibrated=false", "latency.steps=2"), StepsLatency(2)),
        (("latency.uniform.low_ms=50", "latency.uniform.high_ms=200"), UniformLatency(50, 200)),
        (("latency.lognormal.median_ms=90", "latency.lognormal.p95_ms=240"), LognormalLatency(90, 240)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_every_kind_of_latency_can_be_written(overrides, section):
    config = load_config(None, [*BASE, *(f"execution.{text}" for text in overrides)])
    assert resolve_latency(config.execution.latency, None, pytest.fail, HZ).section == section
    assert load_config(config.resolved()) == config


def test_a_distribution_of_the_command_line_takes_the_place_of_a_files_steps():
    words = ["execution.latency.uniform.low_ms=50", "execution.latency.uniform.high_ms=200"]
    assert load_config("latency", words).execution.latency.kinds == ("uniform",)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("uniform.low_ms=50",), r"uniform\.high_ms: expected a value, got none"),
        (("uniform.low_ms=50", "uniform.high_ms=20"), r"50 \(low_ms\)"),
        (("lognormal.median_ms=50", "lognormal.p95_ms=20"), r"50 \(median_ms\)"),
        (("steps=1", "calibrated=true"), "steps and calibrated, got both"),
        (("steps=1", "ms=3", "trace=x"), "got all"),
    ],
)
def test_a_mistaken_latency_is_answered_with_what_to_write(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, [*BASE, *(f"execution.latency.{text}" for text in overrides)])


def test_a_policy_is_starved_when_even_the_shortest_latency_outlasts_its_chunk():
    rules = QueueRules(horizon=4, chunk_len=4, action_dim=7)
    assert is_starved(rules, StepsLatency(4), HZ)
    assert not is_starved(rules, StepsLatency(3), HZ)
    assert is_starved(rules, UniformLatency(151, 900), HZ)
    assert not is_starved(rules, UniformLatency(150, 900), HZ)
    assert not is_starved(rules, LognormalLatency(900, 2000), HZ)
    assert not is_starved(QueueRules(4, 4, 7, underrun="wait"), StepsLatency(9), HZ)
    # No spread at all, and hardly any.
    assert is_starved(QueueRules(12, 12, 7), LognormalLatency(600, 600), HZ)
    assert not is_starved(QueueRules(13, 13, 7), LognormalLatency(600, 600), HZ)
    assert is_starved(rules, LognormalLatency(900, 910), HZ)


def test_lerobots_queue_starves_a_policy_whose_chunks_have_one_action_at_any_latency():
    assert is_starved(QueueRules(1, 1, 7, kind="lerobot"), StepsLatency(0), HZ)
    assert is_starved(QueueRules(1, 1, 7, kind="lerobot", underrun="wait"), StepsLatency(3), HZ)
    assert not is_starved(QueueRules(2, 2, 7, kind="lerobot"), StepsLatency(9), HZ)


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_nothing_drawn_is_shorter_than_the_shortest(section):
    model = make_latency(section, HZ)
    assert min(model.draw(episode(i % 50, i), i) for i in range(500)) >= shortest_steps(section, HZ)

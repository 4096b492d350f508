"""The benches on small counts: every row is there, with what it is compared with; no clock is asserted."""

import json
import os
import sys

import numpy as np
import pytest

from ray_eval.bench.command import BENCHES, bench_parser, run_bench, table_of
from ray_eval.bench.crowd import SPREAD, SleepingEnv, Turn
from ray_eval.bench.driver import Moment, bench_driver, figures, rows_of
from ray_eval.bench.e2e import Finished, Workload
from ray_eval.bench.forward import bench_policy
from ray_eval.bench.others import bench_other
from ray_eval.bench.pi05 import Pi05Policy, Pi05Size
from ray_eval.bench.pipeline import bench_pipeline
from ray_eval.bench.policies import TimedPolicy, observation_of
from ray_eval.bench.rows import Row, interleaved
from ray_eval.bench.serve import _check_counts, bench_serve
from ray_eval.bench.tasks import BenchTask
from ray_eval.envs.fake import FakeEnv
from ray_eval.errors import ConfigError, ContractError, SetupError
from ray_eval.policies.contract import trial_observation
from ray_eval.types import EpisodeResult, Outcome


def test_a_ratio_is_the_figure_over_the_references():
    assert Row("s", "w", 3.0, "ms", 1, "r", 6.0).ratio == 0.5
    assert Row("s", "w", 3.0, "ms", 1).ratio is None


def test_measurements_are_taken_in_turn_and_the_warm_up_is_left_out():
    called = []

    def measure(name, value):
        called.append(name)
        return value

    found = interleaved({"a": lambda: measure("a", 1.0), "b": lambda: measure("b", 2.0)}, repeats=2, warmups=1)
    assert called == ["a", "b"] * 3
    assert found == {"a": [1.0, 1.0], "b": [2.0, 2.0]}


def test_a_timed_policy_answers_each_request_with_its_own_seed():
    chunks = TimedPolicy(0, 0).infer_batch([observation_of(3), observation_of(5)])
    assert [chunk.actions[0, 0] for chunk in chunks] == [3, 5]


def test_serving_says_what_it_is_compared_with_and_loses_no_request():
    rows = bench_serve([3], requests_per_client=4, repeats=2)
    assert [row.reference for row in rows] == [
        "bare forward",
        "bare forward",
        "bare forward",
        "bare forward",
        "forward upon forward",
        "one batch of all clients at a time",
        "wall time",
        "wall time",
        "clients",
    ]
    assert all(row.ratio is not None for row in rows)
    assert rows[4].repeats == 12
    # With 20 ms a forward and 0.5 ms a row: three rows in two forwards, or in one.
    assert [round(row.reference_value, 1) for row in rows[4:6]] == [72.3, 139.5]
    assert 1 <= rows[8].value <= 3


@pytest.mark.parametrize("counts", [(12, 11, 12), (12, 12, 13), (12, 12, 11)])
def test_a_lost_or_repeated_answer_ends_the_bench(counts):
    with pytest.raises(ContractError, match="expected 12 answers"):
        _check_counts(*counts)


def test_the_parts_of_an_episode_add_up_to_the_whole():
    rows = bench_pipeline(BenchTask("fake", 0), step_count=20, repeats=2)
    parts = [row for row in rows if row.reference == "whole episode"]
    assert {row.what for row in parts} >= {"env.reset", "env.step", "env.observe"}
    assert sum(row.ratio for row in parts) == pytest.approx(1)
    assert len([row for row in rows if row.subject.startswith("codec")]) == 4


def test_the_rates_of_a_side_come_from_when_its_episodes_were_done():
    finished = Finished((10.0, 20.0, 30.0))
    assert finished.per_hour == pytest.approx(360)
    assert finished.steady_per_hour == pytest.approx(360)


def test_a_workload_records_the_actions_that_both_sides_execute(tmp_path):
    workload = Workload((BenchTask("libero_object", 0), BenchTask("libero_object", 1)), 2, 5)
    workload.record(tmp_path)
    recorded = [path.relative_to(tmp_path).with_suffix("").as_posix() for path in sorted(tmp_path.rglob("*.npy"))]
    assert recorded == workload.names


def test_a_task_is_written_with_its_suite():
    assert str(BenchTask.parse("libero_10/2")) == "libero_10 2"
    with pytest.raises(ConfigError, match="suite/task_id"):
        BenchTask.parse("libero_10")


def test_the_command_shows_a_table_and_writes_json(tmp_path, capsys):
    path = tmp_path / "rows.json"
    run_bench(bench_parser().parse_args(["pipeline", "--repeats", "1", "--steps", "10", "--json", str(path)]))
    assert "whole episode" in capsys.readouterr().out
    report = json.loads(path.read_text())
    assert report["bench"] == "pipeline"
    assert all({"subject", "what", "value", "unit", "reference", "ratio"} <= row.keys() for row in report["rows"])


def test_the_policy_bench_serves_a_network_and_compares_it_with_its_bare_loop():
    tiny = Pi05Size(1, 1, 28, 2, 10, 2, "float32", eye=(32, 64), mind=(64, 128), hand=(32, 64))
    policy = Pi05Policy(tiny, "cpu")
    observations = [trial_observation(policy.spec, seed) for seed in range(3)]
    arrays = [np.stack([row.arrays[key] for row in observations]) for key in policy.spec.keys]
    staged, bare = policy.infer_batch(observations), policy.predict_action_chunk(arrays, range(3))
    assert all(np.array_equal(one.actions, other.actions) for one, other in zip(staged, bare, strict=True))
    staging, serving = bench_policy(tiny, "cpu", [2], repeats=1)
    assert (staging.reference, serving.reference) == ("all rows at once", "bare loop")
    assert min(staging.value, serving.value, staging.reference_value, serving.reference_value) > 0


@pytest.mark.parametrize("there", [(), (f"simulator.python={sys.executable}",)], ids=["here", "there"])
def test_another_simulator_is_measured_in_the_interpreter_that_is_named(there):
    (row,) = bench_other("step", [BenchTask("pusht", 0)], 3, there)
    assert (row.subject, row.what, row.repeats, row.reference) == ("pusht 0", "control step", 3, "")
    assert row.value > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("step", "simulator.python=x"), "expected no simulator.python=x with the task libero_object 0"),
        (("serve", "simulator.python=x"), "with bench serve"),
        (("step", "--task", "pusht/0", "simulator.nothing=1"), "simulator.nothing: expected one of"),
        (("e2e", "--task", "fake/0"), "expected a task of libero, metaworld, aloha, pusht"),
    ],
)
def test_words_that_mean_nothing_there_are_refused(words, message, monkeypatch):
    monkeypatch.setattr(os, "execve", lambda *_: None)  # the variables of a worker are not wanted here
    with pytest.raises(ConfigError, match=message):
        run_bench(bench_parser().parse_intermixed_args(words))


def test_every_bench_is_named_in_the_help_and_fits_a_table():
    text = bench_parser().format_help()
    assert all(says in text for _, says in BENCHES.values())
    assert table_of("step", [Row("s", "w", 1.0, "ms", 1)]).row_count == 1


def slept_env(budget):
    slept = []
    env = SleepingEnv(FakeEnv("fake", 0, BenchTask("fake", 0).settings()), 0.1, slept.append)
    env.reset(BenchTask("fake", 0).spec(max_steps=budget))
    return env, slept


def test_a_sleeping_env_owes_its_steps_until_a_policy_looks_and_ends_at_its_budget():
    env, slept = slept_env(budget=5)
    env.observe()
    assert slept == []
    results = [env.step(env.noop_action()) for _ in range(3)]
    env.observe()
    results += [env.step(env.noop_action()) for _ in range(2)]
    assert not any(result.is_success for result in results)
    assert slept[0] == pytest.approx(1.5 * slept[1])
    assert 0.5 * (1 - SPREAD) <= sum(slept) <= 0.5 * (1 + SPREAD)


def test_a_sleeping_env_keeps_an_episodes_pace():
    (first, slept), (again, slept_again) = slept_env(budget=1), slept_env(budget=1)
    first.step(first.noop_action())
    again.step(again.noop_action())
    assert slept == slept_again != []


def test_what_a_crowd_showed_leaves_out_the_first_and_the_last_episode_of_each_worker():
    moments = [Moment(float(at), 0.25 * at) for at in range(10)]
    turns = [Turn(1.0, 9.0), Turn(3.0, 0.002), Turn(5.0, 0.004), Turn(8.5, 9.0)]
    results = [EpisodeResult(BenchTask("fake", 0).spec(), Outcome.FAILURE, wall_s=2.0)]
    found = figures(2, moments, turns, results)
    assert (found.episodes, found.per_s, found.bound_per_s, found.cpu_share) == (5, 1.0, 1.0, 0.25)
    assert found.delays_s == (0.002, 0.004)
    rows = {row.what: row for row in rows_of(found, "two")}
    assert rows["result to next lease, median"].value == pytest.approx(3)
    with pytest.raises(SetupError, match="more than two episodes"):
        figures(5, moments, turns, results)


@pytest.mark.nightly
def test_a_crowd_of_simulated_workers_runs_by_the_drivers_own_code():
    rows = bench_driver(8, episodes_per_worker=4, steps=10, step_ms=5)
    assert [row.unit for row in rows] == ["1/s", "", "ms", "ms", "MB"]
    assert all(row.value > 0 for row in rows)

import dataclasses
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from ray_eval.driver.compare import Asked, compare
from ray_eval.driver.evaluation import Evaluation
from ray_eval.report.axes import axes_values, axis_rows, mean_of_axes
from ray_eval.report.evidence import about
from ray_eval.report.export import ExportedRun, eval_info
from ray_eval.report.html.run_page import task_rows
from ray_eval.report.html.shown import ShownRun
from ray_eval.report.metrics import is_control, summary_text
from ray_eval.report.progress import RunView, axes_table, result_table
from ray_eval.report.question import Arm
from ray_eval.report.requirements import Requirement, answers
from ray_eval.report.sweep import SweptPoint, sweep_summary_text
from ray_eval.types import EpisodeResult, EpisodeSpec, Outcome

TOLD = {
    "camera/0": {"axis": "camera", "level": 1, "control": "control/0"},
    "camera/1": {"axis": "camera", "level": 3, "control": "control/0"},
    "robot/0": {"axis": "robot", "level": 3, "control": "control/1"},
}


def result(suite, task_id, init, outcome):
    return EpisodeResult(EpisodeSpec(suite, task_id, init, 7, 300), Outcome(outcome), task="t", steps=10)


RESULTS = [
    result("control", 0, 0, "success"),
    result("control", 0, 1, "failure"),
    result("control", 1, 0, "success"),
    result("camera", 0, 0, "success"),
    result("camera", 0, 1, "success"),
    result("camera", 1, 0, "failure"),
    result("camera", 1, 1, "error"),
    result("robot", 0, 0, "failure"),
]


def test_each_perturbed_episode_is_paired_with_its_controls_of_the_same_start():
    rows = axis_rows(RESULTS, TOLD)
    camera, level1, level3 = rows["camera"]
    assert [row.level for row in rows["camera"]] == [None, 1, 3]
    assert (camera.rate.successes, camera.rate.n, camera.rate.errors) == (2, 3, 1)
    assert (camera.pairs.n, camera.pairs.only_first, camera.pairs.only_second) == (3, 1, 1)
    assert camera.control_rate == pytest.approx(2 / 3)
    assert camera.pairs.difference == 0
    assert (level1.pairs.both, level1.pairs.only_second) == (1, 1)
    assert (level3.rate.errors, level3.pairs.only_first) == (1, 1)


def test_the_mean_counts_each_axis_the_same_and_is_none_where_one_has_no_episode():
    assert mean_of_axes(axis_rows(RESULTS, TOLD)) == pytest.approx((2 / 3 + 0) / 2)
    broken = [*RESULTS[:-1], result("robot", 0, 0, "error")]
    assert mean_of_axes(axis_rows(broken, TOLD)) is None


def test_without_controls_nothing_is_paired_and_without_perturbations_there_are_no_axes():
    (camera, *_), _ = axis_rows(RESULTS[3:], TOLD).values()
    assert (camera.rate.n, camera.pairs.n, camera.control_rate, camera.pairs.difference) == (3, 0, None, None)
    assert axes_values(RESULTS, {}) is None
    assert axes_table(RESULTS, {}) is None


def test_controls_are_in_no_overall_rate():
    evaluation = Evaluation(None, tuple(each.spec for each in RESULTS), tuple(RESULTS), False, perturbed=TOLD)
    assert (evaluation.rate.successes, evaluation.rate.n) == (2, 4)
    assert not evaluation.is_complete
    plan = tuple(each.spec for each in RESULTS)
    done = {each.spec.episode_id: each for each in RESULTS}
    controls = {spec.episode_id for spec in plan if is_control(spec, TOLD)}
    assert RunView(plan, done, controls).status().startswith("8/8 episodes · 2/4 succeeded (provisional)")
    by_id = {each.spec.episode_id: each for each in RESULTS}
    header = {"schema_version": 1, "identity": {"environment.perturbed": TOLD}, "identity_sha256": ""}
    summary = json.loads(summary_text(header, plan, by_id, axes=axes_values(RESULTS, TOLD)))
    assert (summary["overall"]["successes"], summary["overall"]["n"]) == (2, 4)
    assert summary["suites"]["control"]["n"] == 3
    assert summary["mean"] == 0.333333
    assert summary["axes"]["camera"]["levels"]["3"]["lost"] == 1
    plain = json.loads(summary_text({**header, "identity": {}}, plan, by_id))
    assert plain["overall"]["n"] == 7
    assert not {"axes", "mean"} & plain.keys()


def test_controls_are_in_no_rate_and_no_difference_of_a_sweep():
    won = tuple(dataclasses.replace(each, outcome=Outcome.SUCCESS) for each in RESULTS)
    points = [SweptPoint({"a": str(i)}, len(RESULTS), each, perturbed=TOLD) for i, each in enumerate((RESULTS, won))]
    first, second = json.loads(sweep_summary_text({"a": ("0", "1")}, points))["points"]
    assert [(each["successes"], each["n"], each["errors"]) for each in (first, second)] == [(2, 4, 1), (5, 5, 0)]
    assert (second["difference_to_first"]["n"], second["difference_to_first"]["only_this"]) == (4, 2)
    assert [point.is_complete for point in points] == [False, True]
    lost_control = (dataclasses.replace(won[0], outcome=Outcome.ERROR), *won[1:])
    assert not SweptPoint({}, len(RESULTS), lost_control, perturbed=TOLD).is_complete


def test_controls_are_no_evidence_of_a_comparison_nor_in_an_export():
    arm = Arm("run", {"environment.perturbed": TOLD}, {each.spec.episode_id: each for each in RESULTS})
    assert list(about(arm).results) == [each.spec.episode_id for each in RESULTS[3:]]
    assert about(dataclasses.replace(arm, identity={})).results == arm.results
    one, other = (dataclasses.replace(arm, name=name, results=arm.ended) for name in ("one", "other"))
    (pair,) = compare([one, other], Asked()).pairs
    assert (pair.overall.first_successes, pair.overall.first_n) == (2, 4)
    info = eval_info(ExportedRun(arm, {}, 1.0))
    assert (info["overall"]["n_success"], info["overall"]["n_episodes"]) == (2, 4)


def test_the_table_names_the_axes_their_levels_and_their_mean():
    console = Console(width=100, record=True, file=io.StringIO())
    table, mean = axes_table(RESULTS, TOLD)
    console.print(table)
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert any(line.startswith("camera 2/3 66.7 %") and line.endswith("66.7 % +0.0 1 1") for line in lines)
    assert any(line.startswith("level 3 0/1") for line in lines)
    assert mean == "mean of the axes camera, robot: 33.3 %"


def test_a_suite_of_very_many_tasks_is_one_row():
    many = [result("s", task, 0, "success") for task in range(101)]
    names = {"s": ["word"] * 101}
    assert result_table("t", many, names.__getitem__).row_count == 1
    assert result_table("t", many[:100], names.__getitem__).row_count == 101


def test_a_demand_on_all_episodes_is_none_on_controls():
    demands = [Requirement(None, 0.5), Requirement("control", 0.5)]
    perturbed, control = answers(demands, RESULTS, TOLD)
    assert ((perturbed.successes, perturbed.n), (control.successes, control.n)) == ((2, 4), (2, 3))
    assert answers(demands, RESULTS)[0].n == 7


def test_the_report_has_a_row_per_axis_and_level_and_all_without_controls():
    arm = Arm("run", {"environment.perturbed": TOLD}, {each.spec.episode_id: each for each in RESULTS})
    run = ShownRun(arm, Path(), {}, {})
    rows = {row.name: row.counts for row in task_rows(run)}
    assert rows["axis camera (unperturbed 66.7 %)"] == "2/3"
    assert rows["axis camera, level 3 (unperturbed 100.0 %)"] == "0/1"
    assert rows["all"] == "2/4"

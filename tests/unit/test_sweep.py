"""Sweeps: which points there are, how they compare, what is written and drawn."""

import csv
import dataclasses
import io
import itertools
import json
import math
import re

import pytest
from rich.console import Console

from ray_eval.driver.sweep import create_sweep, plan_sweep, read_sweep, split_axes
from ray_eval.errors import ConfigError
from ray_eval.report.figures import draw_queue_lengths, draw_success, horizontal_key, mean_lengths
from ray_eval.report.paired import paired_counts
from ray_eval.report.sweep import SweptPoint, sweep_csv_text, sweep_summary_text, sweep_table
from ray_eval.types import EpisodeResult, EpisodeSpec, Inside, Outcome, Pacing

BASE = ["suite=fake", "policy=random", "execution.mode=async"]


def test_a_comma_outside_brackets_makes_an_axis():
    plain, axes = split_axes(["suite=fake", "tasks=[0,1]", "init_states=[0,1],[2]", "execution.latency.steps=0,4"])
    assert plain == ["suite=fake", "tasks=[0,1]"]
    assert axes == {"init_states": ("[0,1]", "[2]"), "execution.latency.steps": ("0", "4")}


def test_every_combination_is_a_point_and_the_first_axis_changes_slowest():
    plan = plan_sweep(None, [*BASE, "execution.latency.steps=0,4", "execution.aggregate=average,latest_only"])
    found = [(p.config.execution.latency.steps, p.config.execution.aggregate) for p in plan.points]
    assert found == [(0, "average"), (0, "latest_only"), (4, "average"), (4, "latest_only")]
    assert plan.points[3].folder == "points/3-latency.steps=4-aggregate=latest_only"


@pytest.mark.parametrize("key", ["policy=random,noop", "protocol=openpi,lerobot", "seed=1,2", "tasks=[0],[1,2]"])
def test_any_key_can_be_swept(key):
    words = [word for word in BASE if word.partition("=")[0] != key.partition("=")[0]]
    assert len(plan_sweep(None, [*words, key]).points) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "execution.latency.steps=0,2,4,8"),
        (["workers=1,2"], "which are one"),
        (["seed=1,1"], "values that differ"),
        (["seed=1,"], "values that differ"),
        (["seed=1,2", "seed=3,4"], "got it twice"),
        (["seed=3", "seed=1,2"], "got it twice"),
        (["execution.latency.stebs=1,2"], "Did you mean 'steps'"),
        (["execution.aggregate=average,avrage"], "Did you mean 'average'"),
        (["execution.latency.trace=nowhere.txt", "seed=1,2"], "a readable text file"),
        ([f"seed={','.join(map(str, range(1001)))}"], "at most 1000"),
    ],
)
def test_a_mistaken_sweep_is_answered_with_what_to_write(words, message):
    with pytest.raises(ConfigError, match=message):
        plan_sweep(None, [*BASE, *words])


def test_a_sweeps_folder_reads_back_to_its_plan(tmp_path):
    plan = plan_sweep("latency", ["execution.latency.ms=0,120", "protocol=openpi,lerobot", "protocol.settle_steps=3"])
    create_sweep(plan, tmp_path / "sweep")
    assert read_sweep(tmp_path / "sweep") == plan
    assert read_sweep(tmp_path / "sweep", ["workers=7"]).points[2].config.workers == 7
    with pytest.raises(ConfigError, match=r"execution\.latency\.steps: None there, 9 now"):
        read_sweep(tmp_path / "sweep", ["execution.latency.steps=9"])
    with pytest.raises(ConfigError, match="--resume"):
        create_sweep(plan, tmp_path / "sweep")
    with pytest.raises(ConfigError, match="expected a sweep's folder"):
        read_sweep(tmp_path)


def result(init_state_id: int, outcome: Outcome, underrun_steps: int = 0, lengths: tuple[int, ...] = (2, 1)):
    spec = EpisodeSpec("fake", 0, init_state_id, env_seed=0, max_steps=10)
    inside = Inside(queue_lengths=lengths, request_span_steps=4, seams=1, seam_jump_m_sum=0.01, seam_jump_m_max=0.01)
    return EpisodeResult(spec, outcome, steps=10, requests=3, underrun_steps=underrun_steps, inside=inside)


S, F, E = Outcome.SUCCESS, Outcome.FAILURE, Outcome.ERROR


def by_id(*outcomes: Outcome) -> dict[str, EpisodeResult]:
    results = [result(index, outcome) for index, outcome in enumerate(outcomes)]
    return {r.spec.episode_id: r for r in results}


def test_only_episodes_that_both_ended_are_paired():
    found = paired_counts(by_id(S, S, F, E, S, F), by_id(S, F, S, S, E))
    assert (found.both, found.only_first, found.only_second, found.neither) == (1, 1, 1, 0)


def test_several_configurations_and_arms_with_keys_of_their_own_are_axes(tmp_path):
    for name, policy in (("a", "random"), ("b", "{type: fake, chunk_len: 4}")):
        (tmp_path / f"{name}.yaml").write_text(f"suite: fake\npolicy: {policy}\nepisodes_per_task: 1\n")
    files = [str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]
    plan = plan_sweep(files, ["seed=0,1"])
    assert list(plan.axes) == ["configuration", "seed"]
    assert [(p.config.policy_type, p.config.seed) for p in plan.points] == [
        ("random", 0), ("random", 1), ("fake", 0), ("fake", 1)
    ]  # fmt: skip
    arms = ["policy=noop", "policy.type=fake policy.chunk_len=3"]
    points = plan_sweep(None, ["suite=fake"], arms).points
    assert [(p.config.policy_type, p.config.policy.chunk_len) for p in points] == [("noop", 10), ("fake", 3)]
    assert [p.values for p in points] == [{"arm": arms[0]}, {"arm": arms[1]}]


def test_servers_at_other_addresses_are_other_points():
    words = ["suite=fake", "policy=openpi", "policy.addresses=[a:1],[b:1]"]
    assert [p.config.policy.addresses for p in plan_sweep(None, words).points] == [("a:1",), ("b:1",)]


@pytest.mark.parametrize(
    ("words", "arms", "says"),
    [
        (["suite=fake"], ["policy=noop", "policy=noop"], "expected each arm once"),
        (["suite=fake"], ["policy=noop", "policy='noop"], "No closing quotation"),
        (["policy=noop"], ["suite=fake", "suite=pusht"], "one simulator, got fake and pusht"),
        (["suite=fake"], ["policy=noop", "policy.type=noop"], "which are one"),
    ],
)
def test_arms_that_cannot_be_swept_are_refused(words, arms, says):
    with pytest.raises(ConfigError, match=says):
        plan_sweep(None, words, arms)


AXES = {"execution.chunk_size_threshold": ("0", "0.5"), "execution.latency.steps": ("0", "16")}


def points() -> list[SweptPoint]:
    outcomes = {("0", "0"): (S, S, S), ("0", "16"): (F, F, F), ("0.5", "0"): (S, F, S), ("0.5", "16"): (S, E)}
    return [
        SweptPoint(
            dict(zip(AXES, values, strict=True)),
            planned=3,
            results=tuple(result(i, o, 10 if values == ("0", "16") else 2) for i, o in enumerate(which)),
        )
        for values, which in outcomes.items()
    ]


def test_a_sweeps_summary_tells_every_point_with_its_difference_to_the_first():
    summary = json.loads(sweep_summary_text(AXES, points()))
    assert summary["is_complete"] is False
    assert [point["success_rate"] for point in summary["points"]] == [1.0, 0.0, 0.666667, 1.0]
    assert [point["difference_to_first"]["value"] for point in summary["points"]] == [0.0, -1.0, -0.333333, 0.0]
    assert [point["is_starved"] for point in summary["points"]] == [False, True, False, False]
    assert summary["points"][0]["underrun_share"] == 0.2
    assert summary["points"][0]["inside"]["replan_interval_steps"] == 2.0
    assert math.isclose(summary["points"][0]["inside"]["seam_jump_m_mean"], 0.01)
    assert len(sweep_csv_text(points()).splitlines()) == 5


@pytest.mark.parametrize(("width", "has_seams"), [(50, False), (80, False), (160, True)])
def test_a_narrow_table_leaves_columns_out_and_cuts_no_figure_short(width, has_seams):
    console = Console(file=io.StringIO(), width=width)
    console.print(sweep_table("random on fake", points(), width))
    lines = console.file.getvalue()
    assert "\N{HORIZONTAL ELLIPSIS}" not in lines
    assert all(text in lines for text in ("3/3", "29.2-100.0 %", "0/3", "1/1"))
    assert ("seam" in lines) is has_seams


def test_a_point_of_errors_alone_and_one_by_the_clock_have_a_row_like_every_other():
    broken = SweptPoint({"execution.fps": "60"}, planned=1, results=(result(0, E),))
    paced = dataclasses.replace(result(0, S), pacing=Pacing(achieved_fps=15.0, missed_ticks=1))
    held = SweptPoint({"execution.fps": "15"}, 1, (paced,), machine_dependence="paced by the clock at 15 fps")
    rows = list(csv.DictReader(io.StringIO(sweep_csv_text([broken, held]))))
    assert [row["errors"] for row in rows] == ["1", "0"]
    assert [row["achieved_fps_mean"] for row in rows] == ["", "15.0"]
    assert [row["seams"] for row in rows] == ["", "1"]


def test_a_point_that_depends_on_the_machine_is_marked_wherever_it_is_shown(tmp_path):
    first, *others = points()
    marked = [first, *(dataclasses.replace(point, machine_dependence="latency as timed, 61 ms") for point in others)]
    console = Console(file=io.StringIO(), width=160)
    console.print(sweep_table("random on fake", marked, 160))
    assert console.file.getvalue().count("*") == 1 + len(others)
    assert "* depends on the machine: latency as timed, 61 ms" in console.file.getvalue()
    told = [point["machine_dependence"] for point in json.loads(sweep_summary_text(AXES, marked))["points"]]
    assert told == [None, *["latency as timed, 61 ms"] * len(others)]
    draw_success(AXES, marked, tmp_path / "marked", "random on fake")
    assert "depends on the machine" in (tmp_path / "marked.svg").read_text()
    draw_success(AXES, points(), tmp_path / "plain", "random on fake")
    assert "depends on the machine" not in (tmp_path / "plain.svg").read_text()


def test_the_latency_goes_along_the_horizontal_axis():
    assert horizontal_key(AXES) == "execution.latency.steps"
    assert horizontal_key({"policy": ("a", "b"), "seed": ("1", "2")}) == "seed"
    assert horizontal_key({"policy": ("a", "b")}) == "policy"


def test_a_legend_of_long_names_is_as_wide_as_the_plot_and_the_eighth_line_is_not_the_first(tmp_path):
    axes = {
        "execution.latency.steps": ("0", "4"),
        "execution.chunk_size_threshold": ("0.5", "0.8"),
        "execution.aggregate": ("weighted_average", "latest_only", "average", "conservative"),
    }
    combinations = itertools.product(*axes.values())
    swept = [SweptPoint(dict(zip(axes, values, strict=True)), 1, (result(0, S),)) for values in combinations]
    draw_success(axes, swept, tmp_path / "wide", "oracle on libero_object")
    svg = (tmp_path / "wide.svg").read_text()
    figure, plot = (re.search(rf'id="patch_{n}">\s*<path d="M ([0-9.]+) [0-9.]+\s*L ([0-9.]+) ', svg) for n in (1, 2))
    # Long names side by side once left the plot a third of the figure.
    assert float(plot[2]) - float(plot[1]) > 0.8 * float(figure[2])
    assert "stroke-dasharray" in svg


def test_queue_lengths_are_averaged_over_the_episodes_that_still_go_on():
    results = [result(0, S, lengths=(4, 3)), result(1, F, lengths=(2, 1, 0))]
    assert mean_lengths(results) == [3.0, 2.0, 0.0]


def test_figures_are_the_same_bytes_for_the_same_results(tmp_path):
    for name in ("first", "second"):
        draw_success(AXES, points(), tmp_path / f"{name}-success", "random on fake")
        draw_queue_lengths(points(), tmp_path / f"{name}-queue")
    for kind in ("success.png", "success.svg", "queue.png", "queue.svg"):
        first, second = ((tmp_path / f"{name}-{kind}").read_bytes() for name in ("first", "second"))
        assert first == second
    svg = (tmp_path / "first-success.svg").read_text()
    for text in ("success rate (%)", "chunk size threshold", "800 ms", "Clopper-Pearson", "random on fake"):
        assert text in svg

"""What other tools are given: strict booleans, no error among the outcomes, numbers that pair the same episodes."""

import csv
import json

import pyarrow.parquet as pq
import pytest
import robostats
from made_runs import made_run

from ray_eval.cli import main
from ray_eval.report.export import distinct

FIRST, SECOND = "sssffsesssfsffs", "ssfsfsssesssfss"
"""Ten pairs or so with successes, failures and an error on either side; 13 ended in both, 4 of them differ."""


@pytest.fixture
def runs(tmp_path):
    return made_run(tmp_path / "A", FIRST), made_run(tmp_path / "B", SECOND, "policy.chunk_len=4")


def exported(runs, to, out):
    assert main(("export", *map(str, runs), "--to", to, "--out", str(out))) == 0
    return out


def test_an_error_is_no_outcome_anywhere(runs, tmp_path, capsys):
    for to in ("verdikt", "robostats", "eval_info", "arisole"):
        exported(runs, to, tmp_path / to)
        assert "28 episodes; 2 episodes ended in errors, which are no outcome" in capsys.readouterr().out
    table = list(csv.DictReader((tmp_path / "verdikt" / "verdikt.csv").read_text().splitlines()))
    assert [row["success"] for row in table if row["policy_id"] == "A"] == [
        {"s": "true", "f": "false"}[letter] for letter in FIRST if letter != "e"
    ]
    lines = (tmp_path / "robostats" / "A.jsonl").read_text().splitlines()
    assert [json.loads(line)["success"] for line in lines] == [letter == "s" for letter in FIRST if letter != "e"]


def test_a_seed_is_unique_over_a_run_and_the_same_for_the_same_episode_of_another_one(runs, tmp_path):
    exported(runs, "csv", tmp_path / "csv")
    table = list(csv.DictReader((tmp_path / "csv" / "episodes.csv").read_text().splitlines()))
    seeds = {name: {row["episode_id"]: row["seed"] for row in table if row["policy_id"] == name} for name in "AB"}
    assert seeds["A"] == seeds["B"]
    assert len(set(seeds["A"].values())) == len(FIRST)
    assert [row["success"] for row in table if row["outcome"] == "error"] == ["", ""]
    part = made_run(tmp_path / "part", "sf", "tasks=[1]", "episodes_per_task=2")
    exported([part], "csv", tmp_path / "other")
    for row in csv.DictReader((tmp_path / "other" / "episodes.csv").read_text().splitlines()):
        assert row["seed"] == seeds["A"][row["episode_id"]]


def test_eval_info_has_lerobots_keys_and_ours_beside_them(runs, tmp_path):
    values = json.loads((exported(runs[:1], "eval_info", tmp_path / "x") / "eval_info.json").read_text())
    assert set(values) == {"per_task", "per_group", "overall"}
    task = values["per_task"][0]
    assert (task["task_group"], task["task_id"]) == ("fake", 0)
    assert task["metrics"]["successes"] == [True, True, True, False, False]
    assert set(task["metrics"]) == {"sum_rewards", "max_rewards", "successes", "video_paths"}
    assert [episode["success"] for episode in task["per_episode"]] == task["metrics"]["successes"]
    overall = values["overall"]
    assert (overall["n_episodes"], overall["n_success"], overall["n_errors"]) == (14, 9, 1)
    assert overall["pc_success"] == pytest.approx(100 * 9 / 14)
    assert overall["pc_success_ci95"] == pytest.approx([35.14, 87.24], abs=0.01)


def test_robostats_reads_its_export_and_says_what_compare_says(runs, tmp_path, capsys):
    folder = exported(runs, "robostats", tmp_path / "x")
    first, second = (
        robostats.load_jsonl(
            folder / f"{name}.jsonl",
            protocol=robostats.Protocol(),
            success_field="success",
            policy_id_field="policy_id",
            task_id_field="task_id",
            scenario_fields=("scenario_id",),
            strict=True,
        )
        for name in "AB"
    )
    found = robostats.pair(second, first)
    assert (found.n_a_success_b_failure, found.n_b_success_a_failure, found.dropped_from_a) == (3, 1, 1)
    interval = robostats.paired_difference(found)
    main(("compare", *map(str, runs), "--allow", "incomplete", "--json", str(tmp_path / "ours.json")))
    ours = json.loads((tmp_path / "ours.json").read_text())["comparisons"][0]["groups"][-1]
    assert (ours["interval_low"], ours["interval_high"]) == pytest.approx((interval.lower, interval.upper), abs=1e-6)


def test_parquet_has_the_columns_of_the_table_with_their_types(runs, tmp_path):
    table = pq.read_table(exported(runs, "parquet", tmp_path / "x") / "episodes.parquet")
    assert str(table.schema.field("success").type) == "bool"
    assert table.column("success").to_pylist()[:7] == [True, True, True, False, False, True, None]


@pytest.mark.parametrize(
    ("to", "names"),
    [
        ("robostats", {"d1-r.jsonl", "d2-r.jsonl"}),
        ("eval_info", {"d1-r/eval_info.json", "d2-r/eval_info.json"}),
        ("arisole", {f"d{n}-r/{name}.json" for n in (1, 2) for name in ("eval_info", "run_meta")}),
    ],
)
def test_runs_of_one_name_are_told_apart_below_the_folder_that_was_asked_for(tmp_path, to, names):
    runs = [made_run(tmp_path / f"d{n}" / "r", FIRST) for n in (1, 2)]
    before = set(tmp_path.rglob("*"))
    out = exported(runs, to, tmp_path / "out")
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert {path.relative_to(out).as_posix() for path in written} == names


def test_names_that_a_format_takes_for_one_are_numbered(tmp_path):
    runs = [made_run(tmp_path / name, FIRST) for name in ("a.b", "a b", "A-b")]
    out = exported(runs, "fieldtrial", tmp_path / "out")
    assert [arm["id"] for arm in json.loads((out / "study.yaml").read_text())["arms"]] == ["a-b", "a-b-2", "A-b-3"]
    table = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
    assert len({(row["arm"], row["condition"]) for row in table}) == len(table) == 45
    assert distinct(["x", "x", "x-2"]) == ["x", "x-3", "x-2"]


def test_what_cannot_be_exported_is_said(runs, tmp_path, capsys):
    for words, says in (
        ((runs[0], "--to", "robostat"), "Did you mean 'robostats'?"),
        ((runs[0], "--to", "fieldtrial"), "expected two runs or more"),
        ((tmp_path / "nowhere", "--to", "csv"), "expected a run's folder"),
        ((runs[0], "--to", "csv", "--out", "/proc/x"), "expected a folder that can be made"),
    ):
        assert main(("export", *map(str, words))) == 2
        assert says in capsys.readouterr().err

"""Runs compared: what is a question, what is shown, what is said of it, and with which exit code."""

import argparse
import ast
import io
import itertools
import json
import re
from pathlib import Path

import pytest
from made_runs import made_run
from rich.console import Console

import ray_eval
from ray_eval.cli import decide, main
from ray_eval.errors import SetupError
from ray_eval.report.comparison import PairComparison, Verdict, compare_pair
from ray_eval.report.comparison_output import comparison_table
from ray_eval.report.question import Arm, Kind, Question, kind_of, question_of
from ray_eval.report.wording import refusal_lines, verdict_sentence
from ray_eval.types import EpisodeResult, EpisodeSpec, Outcome

ALL, NONE = "s" * 15, "f" * 15


def compared(capsys, *words):
    code = main(("compare", *map(str, words)))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def arm(name: str, outcomes: str, **identity) -> Arm:
    specs = [EpisodeSpec("fake", 0, index, 7, 100) for index in range(len(outcomes))]
    results = {
        spec.episode_id: EpisodeResult(spec, Outcome.SUCCESS if letter == "s" else Outcome.FAILURE, "t", 5)
        for spec, letter in zip(specs, outcomes, strict=True)
    }
    return Arm(name, identity, results, len(results))


def pair(first: str, second: str, margin: float | None = None) -> PairComparison:
    one, other = arm("A", first), arm("B", second)
    return compare_pair(one, other, question_of(one, other, (), is_paired=True), 0.05, margin)


def test_a_run_against_itself_cannot_be_told_and_says_that_it_is_the_same(tmp_path, capsys):
    one, other = made_run(tmp_path / "a", ALL), made_run(tmp_path / "b", ALL)
    code, out, _ = compared(capsys, one, other)
    assert code == 3
    assert "cannot tell: the two runs are identical, all 15 trajectories to the bit" in out
    assert "142 more episodes would show a difference of 5 points with probability 0.8" in out


def test_fewer_successes_on_the_same_episodes_are_worse_and_the_flips_are_named(tmp_path, capsys):
    one, other = made_run(tmp_path / "a", ALL), made_run(tmp_path / "b", "f" * 6 + "s" * 9, "policy.chunk_len=4")
    code, out, _ = compared(capsys, one, other)
    assert code == 1
    assert "b is worse than a: 6 pairs of 15 differ (0 for b, 6 for a), exact McNemar p = 0.031" in out
    assert "on purpose: policy.chunk_len: 10 | 4" in out
    assert "  fake/1: 0 success -> failure" in out
    assert compared(capsys, other, one)[0] == 0


@pytest.mark.parametrize(
    ("overrides", "environment", "key"),
    [
        ((), {"mujoco": "3.3.0"}, "environment.mujoco"),
        (("seed=3",), {}, "seed"),
        (("protocol.env_seed=8",), {}, "protocol.env_seed"),
        ((), {"content_bddl": "x"}, None),
        (("protocol.max_steps=8",), {}, "protocol.max_steps.fake"),
        (("protocol.settle_steps=3",), {}, "protocol.settle_steps"),
        (("tasks=[0,1]",), {}, "episodes"),
    ],
)
def test_what_is_no_question_is_refused_with_its_key_or_noted(tmp_path, capsys, overrides, environment, key):
    one, other = made_run(tmp_path / "a", ALL), made_run(tmp_path / "b", ALL, *overrides, **environment)
    code, out, err = compared(capsys, one, other)
    if key is None:
        assert code == 3
        assert "note: environment.content_bddl: not recorded | " in out
        return
    assert code == 4
    assert f"--allow {key}" in err
    code, out, _ = compared(capsys, one, other, "--allow", key)
    assert code == 3
    assert f"allowed to differ: {key}" in out


def test_another_simulator_may_be_compared_by_counts_and_another_budget_may_not(tmp_path, capsys):
    one, other = made_run(tmp_path / "a", ALL), made_run(tmp_path / "b", NONE, mujoco="3.3.0")
    code, _, err = compared(capsys, one, other)
    assert (code, "--unpaired compares the counts" in err) == (4, True)
    code, out, _ = compared(capsys, one, other, "--unpaired")
    assert code == 1
    assert "counts of other episodes, score test p" in out
    third = made_run(tmp_path / "c", ALL, "protocol.max_steps=8")
    assert compared(capsys, one, third, "--unpaired")[0] == 4


def test_unknown_keys_of_the_simulator_make_it_no_question_and_those_of_the_policy_are_it():
    def kind(key):
        return kind_of(key, {key: 1}, {key: 2})

    assert kind("environment.policy_torch") is Kind.QUESTION
    assert kind("environment.code_libero") is Kind.PAIRING
    assert kind("simulator.success") is Kind.CONFOUNDER
    assert kind("protocol.images.resize") is Kind.QUESTION
    assert kind_of("environment.renderer", {"environment.renderer": None}, {"environment.renderer": "x"}) is Kind.NOTE


def test_a_choice_that_an_older_ledger_could_not_name_is_known_or_a_note(tmp_path, capsys):
    runs = [made_run(tmp_path / "old", ALL), made_run(tmp_path / "new", ALL)]
    key, of_old = "protocol.instruction", {"policy": 1}
    assert kind_of(key, of_old, {**of_old, key: "bddl"}) is Kind.NOTE
    ledger = runs[0] / "episodes.jsonl"
    header, _, rest = ledger.read_text().partition("\n")
    fields = json.loads(header)
    assert fields["identity"].pop(key) == "filename"
    del fields["identity_version"]
    ledger.write_text(f"{json.dumps(fields)}\n{rest}")
    code, out, _ = compared(capsys, *runs)
    assert (code, key in out) == (3, False)


def test_what_follows_from_other_tasks_or_another_control_is_a_note():
    contents = {"environment.content_bddl": 1}, {"environment.content_bddl": 2}

    def kinds(first, second):
        return {d.key: d.kind for d in question_of(first, second, (), is_paired=True).differences}

    assert kinds(arm("A", "ss", **contents[0]), arm("B", "ss", **contents[1]))["environment.content_bddl"] == "pairing"
    assert kinds(arm("A", "ss", **contents[0]), arm("B", "s", **contents[1]))["environment.content_bddl"] == "note"
    one, other = ({"environment.simulator.spec": i, "protocol.control": i} for i in (1, 2))
    assert kinds(arm("A", "ss", **one), arm("B", "ss", **other))["environment.simulator.spec"] == "note"


@pytest.mark.parametrize(
    ("outcomes", "canary", "header", "key", "says"),
    [
        ("s" * 9, "", None, "incomplete", "6 of 15 episodes not run; finish it by ray-eval run --resume"),
        ("s" * 14 + "e", "", None, "incomplete", "1 errors"),
        (ALL, "0123", None, "mixed", "run it on machines of one kind"),
        (ALL, "", {"is_starved": True}, "starved", "shorten the latency"),
    ],
)
def test_a_run_in_a_bad_state_is_refused_with_what_to_do(tmp_path, capsys, outcomes, canary, header, key, says):
    one = made_run(tmp_path / "a", ALL)
    other = made_run(tmp_path / "b", outcomes, canary=canary, header=header)
    code, _, err = compared(capsys, one, other)
    assert code == 4
    assert says in err
    allowed = ["--allow", key, *(["--allow", "episodes"] if len(outcomes) < 15 else [])]
    assert compared(capsys, one, other, *allowed)[0] == 3


def test_what_is_not_reproducible_or_repeated_is_noted(tmp_path, capsys):
    one = made_run(tmp_path / "a", ALL, "repeats=2", "episodes_per_task=2")
    other = made_run(tmp_path / "b", ALL, "repeats=2", "episodes_per_task=2", is_reproducible=False)
    code, out, _ = compared(capsys, one, other, "--allow", "incomplete")
    assert code in {2, 3}
    code, out, _ = compared(capsys, one, other)
    assert code == 3
    assert "note: not reproducible: b | the same run again may differ; run it with repeats=3 to see by how much" in out
    assert "repeats of an init state are taken as independent" in out


def with_trajectories(folder: Path, of_index) -> Path:
    """The run, the trajectory of each episode given by its place in the ledger."""
    ledger = folder / "episodes.jsonl"
    header, *lines = map(json.loads, ledger.read_text().splitlines())
    for index, line in enumerate(lines):
        line["trajectory_sha256"] = of_index(index)
    ledger.write_text("".join(json.dumps(line) + "\n" for line in (header, *lines)))
    return folder


def test_repeats_that_only_say_again_what_one_did_count_once(tmp_path, capsys):
    few = ("tasks=[0]", "episodes_per_task=2", "repeats=8")
    one, other = made_run(tmp_path / "a", "s" * 16, *few), made_run(tmp_path / "b", "f" * 8 + "s" * 8, *few)
    for run in (one, other):
        with_trajectories(run, lambda index, name=run.name: f"{name} {index // 8}")
    code, out, _ = compared(capsys, one, other)
    assert code == 3
    assert "2 of 2 init states have the same trajectory in every repeat, and count once" in out
    assert "cannot tell: 1 pair of 2 differs (0 for b, 1 for a)" in out
    assert "counted as independent" not in out
    with_trajectories(other, lambda index: f"b {index // 8} {index % 8 if index < 8 else ''}")
    code, out, _ = compared(capsys, one, other)
    assert code == 1
    assert "1 of 2 init states have the same trajectory" in out
    assert "8 pairs of 9 differ" in out
    assert "; repeats of an init state are counted as independent" in out
    assert "  fake/0: 0 success -> failure, 0 (repeat 1) success -> failure, 0 (repeat 2)" in out
    out = compared(capsys, one, other, "--unpaired")[1]
    assert "a: 2 of 2 init states" in out
    assert "b: 1 of 2 init states" in out


def test_mistakes_are_one_line_and_exit_code_2(tmp_path, capsys):
    one, other = made_run(tmp_path / "a", ALL), made_run(tmp_path / "b", ALL)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "episodes.jsonl").write_text('{"kind": "hea')
    old = made_run(tmp_path / "old", ALL, header={"schema_version": 0})
    for words, says in (
        ([one], "expected two runs or more"),
        ([one, one], "got one twice"),
        ([one, tmp_path], "expected a run's folder"),
        ([one, tmp_path / "begun"], "ended before its first episode"),
        ([one, old], "use the version that wrote it"),
        ([one, other, "--allow", "seed"], "--allow seed: expected a key in which the runs differ"),
        ([one, other, "--margin", "-1"], "--margin: expected above 0"),
        ([one, other, "--json", "/proc/x.json"], "--json /proc/x.json: expected a file"),
    ):
        code, _, err = compared(capsys, *words)
        assert (code, says in err, err.count("\n")) == (2, True, 1), err


def test_nothing_in_common_and_nothing_at_all_are_not_comparable(tmp_path, capsys):
    one, other = made_run(tmp_path / "a", "", "tasks=[0]"), made_run(tmp_path / "b", "s" * 5, "tasks=[0]")
    code, _, err = compared(capsys, one, other, "--allow", "episodes", "--allow", "incomplete")
    assert (code, "no episode ended on both sides" in err) == (4, True)


def test_one_pair_is_compared_and_tells_nothing(tmp_path, capsys):
    few = ("tasks=[0]", "episodes_per_task=1")
    code, out, _ = compared(capsys, made_run(tmp_path / "a", "s", *few), made_run(tmp_path / "b", "f", *few))
    assert code == 3
    assert "cannot tell: 1 pair of 1 differs (0 for b, 1 for a)" in out


def test_three_runs_have_cochrans_q_and_the_set_that_cannot_be_told_from_the_best(tmp_path, capsys):
    runs = [
        made_run(tmp_path / "a", ALL),
        made_run(tmp_path / "b", "f" * 8 + "s" * 7),
        made_run(tmp_path / "c", "f" + "s" * 14),
    ]
    code, out, _ = compared(capsys, *runs)
    assert code == 1
    assert "they are not all the same" in out
    assert "cannot be told from the best: a, c" in out
    assert "b is worse than a: 8 pairs of 15 differ (0 for b, 8 for a), exact McNemar p = 0.0078, Holm p = 0.023" in out


def test_of_several_comparisons_none_is_a_finding_that_holm_takes_back(tmp_path, capsys):
    runs = [made_run(tmp_path / "a", ALL)]
    runs += [made_run(tmp_path / f"b{n}", "f" * 6 + "s" * 9) for n in range(2)]
    code, out, _ = compared(capsys, *runs)
    assert code == 3
    assert "exact McNemar p = 0.031, Holm p = 0.094" in out
    assert "worse" not in out


def test_every_sentence_about_two_of_three_runs_has_the_same_holm_p_and_the_same_conclusion(tmp_path, capsys):
    # Two of two would be found at 0.022 times 2; of the three pairs that there are none is.
    letters = ("f" * 7 + "s" * 8, "s" * 15, "f" * 3 + "s" * 12)
    runs = [made_run(tmp_path / name, outcomes) for name, outcomes in zip("abc", letters, strict=True)]
    file = tmp_path / "x.json"
    compared(capsys, *runs, "--json", file)
    found = json.loads(file.read_text())
    tests = {(test["first"], test["second"]): test for test in found["several"]["pairwise"]}
    for one in found["comparisons"]:
        test, overall = tests[one["first"], one["second"]], one["groups"][-1]
        assert (test["p_value"], test["adjusted_p_value"]) == (overall["p_value"], overall["adjusted_p_value"])
        assert (one["verdict"] == "better") == (test["adjusted_p_value"] <= 0.05)
    assert found["several"]["not_told_from_best"] == ["b", "c"]


def test_of_runs_that_ended_other_episodes_all_figures_are_of_those_that_all_ended(tmp_path, capsys):
    runs = [made_run(tmp_path / name, "s" * n) for name, n in (("a", 15), ("b", 12), ("c", 9))]
    code, out, _ = compared(capsys, *runs, "--allow", "incomplete", "--allow", "episodes")
    assert code == 3
    assert "over 9 episodes" in out
    assert "all 9 trajectories" in out
    assert "all 12 trajectories" not in out


def test_of_three_runs_the_second_and_the_third_must_be_comparable_too(tmp_path, capsys):
    runs = [made_run(tmp_path / "old", ALL), made_run(tmp_path / "m1", ALL), made_run(tmp_path / "m2", ALL)]
    for run, value in zip(runs, (None, "3.3.0", "3.2.9"), strict=True):
        ledger = run / "episodes.jsonl"
        header, _, rest = ledger.read_text().partition("\n")
        fields = json.loads(header)
        fields["identity"].pop("environment.mujoco")
        if value is not None:
            fields["identity"]["environment.mujoco"] = value
        ledger.write_text(f"{json.dumps(fields)}\n{rest}")
    code, _, err = compared(capsys, *runs)
    assert code == 4
    assert "m1 and m2 differ in more than what is compared" in err
    assert '  environment.mujoco: "3.3.0" | "3.2.9"' in err
    code, out, _ = compared(capsys, *runs, "--allow", "environment.mujoco")
    assert code == 3
    assert "m1 and m2: allowed to differ: environment.mujoco" in out


def test_a_sweep_stands_for_its_points(tmp_path, capsys):
    for name in ("0", "1"):
        made_run(tmp_path / "points" / name, ALL)
    points = [{"folder": f"points/{name}", "values": {}} for name in ("0", "1")]
    (tmp_path / "sweep.json").write_text(json.dumps({"axes": {}, "points": points}))
    assert compared(capsys, tmp_path)[0] == 3


def test_a_duel_stands_for_its_sides_by_their_names(tmp_path, capsys):
    for side in "ab":
        made_run(tmp_path / "duel" / side, ALL)
    (tmp_path / "duel" / "duel.json").write_text(json.dumps({"names": ["pi0", "pi05"]}))
    code, out, _ = compared(capsys, tmp_path / "duel")
    assert (code, "A = pi0, B = pi05" in out) == (3, True)


def test_runs_of_one_folder_name_are_called_by_the_ends_of_their_paths(tmp_path, capsys):
    runs = [made_run(tmp_path / place / "r", ALL) for place in ("x", "y")]
    assert "A = x/r, B = y/r" in compared(capsys, *runs)[1]


def test_the_files_hold_what_the_terminal_shows(tmp_path, capsys):
    one, other = made_run(tmp_path / "a<b>", ALL), made_run(tmp_path / "b", "f" * 6 + "s" * 9)
    files = [tmp_path / name for name in ("x.json", "x.csv", "x.html")]
    words = itertools.chain(*zip(("--json", "--csv", "--html"), files, strict=True))
    _, out, _ = compared(capsys, one, other, *words)
    values = json.loads(files[0].read_text())
    (found,) = values["comparisons"]
    assert found["verdict"] == "worse"
    assert found["sentence"] in out
    assert [flip["episode_id"] for flip in found["flipped"]] == [f"fake/0/{i}" for i in range(5)] + ["fake/1/0"]
    assert files[1].read_text().count("\n") == 1 + 3 + 1
    page = files[2].read_text()
    assert "a&lt;b&gt;" in page
    assert f"ray-eval episode {other} fake/0/0 --video" in page
    assert "<script" not in page


def test_a_margin_makes_as_good_what_is_not_much_worse():
    assert pair("s" * 200, "s" * 200, 0.03).verdict is Verdict.WITHIN_MARGIN
    assert pair("s" * 20, "s" * 20, 0.03).verdict is Verdict.CANNOT_TELL
    slightly = pair("s" * 1000, "f" * 12 + "s" * 988, 0.03)
    assert slightly.verdict is Verdict.WITHIN_MARGIN
    assert verdict_sentence(slightly).startswith("B succeeds less often than A, by less than the margin of 3 points")
    assert pair("f" * 30 + "s" * 30, "s" * 60, 0.03).verdict is Verdict.BETTER


def test_the_interval_and_the_margin_follow_the_level_of_the_tests(tmp_path, capsys):
    one, other = arm("A", "f" * 2 + "s" * 98), arm("B", "s" * 98 + "f" * 2)
    found = {}
    for alpha in (0.05, 0.2):
        question = question_of(one, other, (), is_paired=True)
        found[alpha] = compare_pair(one, other, question, alpha, 0.04)
    assert (found[0.05].verdict, found[0.2].verdict) == (Verdict.CANNOT_TELL, Verdict.WITHIN_MARGIN)
    assert "80 % interval" in verdict_sentence(found[0.2])
    runs = made_run(tmp_path / "a", ALL), made_run(tmp_path / "b", ALL)
    assert "90 % interval " in compared(capsys, *runs, "--alpha", "0.1")[1]
    assert "95 % interval" not in compared(capsys, *runs, "--alpha", "0.1", "--unpaired")[1]


WORDS = re.compile(r"\b(better|worse|superior|inferior|outperforms|beats|equal to)\b")


def test_better_and_worse_stand_only_where_a_test_rejected():
    for won, lost, margin in itertools.product(range(12), range(12), (None, 0.05, 0.5)):
        found = pair("s" * lost + "f" * won + "s" * 30, "f" * lost + "s" * won + "s" * 30, margin)
        said = WORDS.findall(verdict_sentence(found))
        rejected = found.overall.p_value <= 0.05
        assert not said or rejected, verdict_sentence(found)
        if said:
            assert said == ["better" if won > lost else "worse"]


def test_no_module_but_one_has_sentences_with_such_words():
    folder = Path(ray_eval.__file__).parent
    makers = [folder / name for name in ("cli/decide.py", "driver/compare.py", "report/comparison_output.py")]
    makers += [folder / "report" / name for name in ("question.py", "comparison.py", "paired.py", "sweep.py")]
    for path in makers:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                text = "".join(part.value for part in node.values if isinstance(part, ast.Constant))
                assert not WORDS.search(text), f"{path}: {text}"


def test_a_refusal_names_every_key_once():
    one, other = arm("A", "ss", seed=1, suite="x"), arm("B", "ss", seed=2, suite="x")
    found = question_of(one, other, (), is_paired=True)
    assert isinstance(found, Question)
    assert refusal_lines("A", "B", found.refused, is_paired=True)[-1].endswith("--allow seed")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--rate", "90", "--discordant", "15"], 0, "498 pairs show a difference of 5 points with probability 0.8"),
        (["--rate", "90", "--discordant", "15", "--episodes", "500"], 0, "500 pairs: 5 points with probability 0.80"),
        (["--rate", "90", "--discordant", "3"], 0, "no number of pairs shows a difference of 5 points"),
        (["--rate", "90", "--discordant", "3", "--episodes", "100"], 0, "\n100 pairs: with 0.8: none"),
        (["--rate", "90", "--difference", "0.1"], 0, "it takes more than 1,000,000 pairs to show a difference of 0.1"),
        (["--rate", "90"], 0, "as if the two outcomes of an episode were independent"),
        ([], 2, "write --rate 90 --discordant 10"),
        (["--rate", "90", "--episodes", "0"], 2, "--episodes: expected at least 1"),
        (["--rate", "90", "--discordant", "103"], 2, "--discordant: expected 0 to 100"),
        (["--rate", "90", "--difference", "0"], 2, "--difference: expected above 0"),
    ],
)
def test_power_says_how_many_episodes_show_a_difference(words, code, says, capsys):
    assert main(("power", *words)) == code
    shown = capsys.readouterr()
    assert says in shown.out + shown.err


@pytest.mark.parametrize(
    ("outcomes", "header", "environment", "says"),
    [
        (ALL, None, {"mujoco": "3.3.0"}, "a and b, which differ (environment.mujoco"),
        (ALL, {"is_starved": True}, {}, "which differ (starved: b"),
        ("e" * 15, None, {}, "ended in both, got none in a and b (15 errors left out)"),
    ],
)
def test_power_refuses_pilots_that_tell_nothing(tmp_path, capsys, outcomes, header, environment, says):
    one = made_run(tmp_path / "a", ALL)
    other = made_run(tmp_path / "b", outcomes, header=header, **environment)
    assert main(("power", str(one), str(other))) == 2
    assert says in capsys.readouterr().err
    is_fine_alone = bool(environment)
    assert main(("power", str(other))) == (0 if is_fine_alone else 2)


def test_power_says_which_episodes_of_a_pilot_are_left_out_and_has_limits(tmp_path, capsys):
    assert main(("power", str(made_run(tmp_path / "a", "s" * 12 + "e" * 3)))) == 0
    assert "a (3 errors left out), as if" in capsys.readouterr().out
    for words, says in (
        (["--rate", "101"], "--rate: expected 0 to 100, got 101"),
        (["--rate", "90", "--episodes", "2000000000"], "--episodes: expected at least 1, to 1000000, got 2000000000"),
    ):
        assert main(("power", *words)) == 2
        assert says in capsys.readouterr().err


def test_runs_without_a_common_episode_are_not_said_to_be_comparable_all_the_same(tmp_path, capsys):
    one = made_run(tmp_path / "a", ALL)
    other = made_run(tmp_path / "b", "s" * 20, "suite=libero_object", "episodes_per_task=2")
    code, _, err = compared(capsys, one, other)
    assert (code, "--allow" in err) == (4, False)
    assert "15 (3 tasks of fake) | 20 (10 tasks of libero_object); run the same suites, tasks and init states" in err
    code, _, err = compared(capsys, one, other, "--allow", "episodes")
    assert (code, "they have no episode in common; run the same suites" in err) == (4, True)


def test_power_takes_pilot_runs(tmp_path, capsys):
    one, other = made_run(tmp_path / "a", ALL), made_run(tmp_path / "b", "f" * 3 + "s" * 12)
    assert main(("power", str(one), str(other))) == 0
    assert "a and b: success 100.0 %, 20 % of pairs differ" in capsys.readouterr().out
    assert main(("power", str(other))) == 0
    assert "b, as if the two outcomes" in capsys.readouterr().out


def test_a_dry_run_says_what_it_could_show(capsys):
    assert main(("run", "suite=fake", "policy=random", "--dry-run")) == 0
    shown = capsys.readouterr().out
    assert "# 15 episodes: a rate is known to +-" in shown
    assert "smallest difference to another run on them that shows with probability 0.8: none if 10 % of the" in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--until", "halfwidth<=0"], "expected halfwidth<=X"),
        (["--until", "halfwidth<=0.6"], "expected halfwidth<=X"),
        (["--until", "halfwidth<=0.1", "--require", "success>=0.5"], "leave one of them out"),
    ],
)
def test_a_dry_run_reads_the_rule_too(words, says, capsys):
    assert main(("run", "suite=fake", "policy=random", "--dry-run", *words)) == 2
    assert says in capsys.readouterr().err


def test_a_run_that_has_not_stopped_yet_is_incomplete_and_one_that_has_is_stopped(tmp_path, capsys):
    one, other = made_run(tmp_path / "a", ALL), made_run(tmp_path / "b c", "s" * 8)
    order = [f"fake/{task}/{state}" for task in range(3) for state in range(5)]
    for counted, says in (
        (None, "7 of 15 episodes not run; finish it by ray-eval run --resume '"),
        (8, "stopped by halfwidth<=0.2"),
    ):
        rule = {"kind": "until", "rule": "halfwidth<=0.2", "order": order, "counted": counted}
        (other / "until.json").write_text(json.dumps(rule))
        code, _, err = compared(capsys, one, other)
        assert (code, says in err, "stopped by" in err) == (4, True, counted is not None)


def test_a_name_is_no_markup(tmp_path, capsys):
    runs = [made_run(tmp_path / name, ALL) for name in ("run[red]x", "m[bold")]
    assert "A = run[red]x, B = m[bold" in compared(capsys, *runs)[1]


@pytest.mark.parametrize(
    ("width", "name", "figures"),
    [
        (100, "fake/0", "9/15  15/15       0       6    +40  +11.5 to +64.3  0.031"),
        (60, "fake/0", "9/15  15/15    +40  +11.5 to +64.3  0.031"),
    ],
)
def test_a_narrow_terminal_cuts_names_and_no_figure(width, name, figures):
    console = Console(width=width, file=io.StringIO())
    console.print(comparison_table(pair("f" * 6 + "s" * 9, ALL), width))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    rows = [line.split(maxsplit=1) for line in lines if "9/15" in line]
    assert [row[1] for row in rows] == [f"{figures}   0.031", f"{figures}       -"]
    assert rows[0][0] == name


def _rewritten(folder, change):
    """A run whose ledger's lines went through `change`, which is given each as an object."""
    path = folder / "episodes.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(line)) + "\n" for line in lines))
    return folder


def _without(key):
    return lambda line: {name: value for name, value in line.items() if name != key}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_without("steps"), "episode fake/0/0: expected the record of an episode, got one without 'steps'"),
        (_without("task"), "got one without 'task'"),
        (lambda line: {**line, "steps": "9"}, "steps '9', which is no whole number"),
        (_without("episode_id"), "line 2: expected an episode's id"),
        (_without("outcome"), "outcome None"),
        (lambda line: {**line, **({"outcome": "won"} if "outcome" in line else {})}, "outcome 'won'"),
        (lambda line: {**line, "reward_sum": float("nan")}, "NaN is no JSON"),
        (_without("identity"), "line 1: expected a header with its identity"),
        (_without("config"), "line 1: expected a header with its config"),
    ],
)
def test_a_damaged_ledger_is_one_line_and_never_the_code_of_an_answer(tmp_path, capsys, change, says):
    one, other = made_run(tmp_path / "a", ALL), _rewritten(made_run(tmp_path / "b", ALL), change)
    code, _, err = compared(capsys, one, other)
    assert (code, says in err, err.count("\n")) == (2, True, 1), err
    assert main(("export", str(other), "--to", "eval_info", "--out", str(tmp_path / "o"))) == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sweep.json", "{}"),
        ("sweep.json", '{"points": [{}]}'),
        ("until.json", "{}"),
        ("until.json", '{"rule": "x", "order": 3, "counted": 4}'),
    ],
)
def test_damaged_files_beside_a_ledger_are_named(tmp_path, capsys, name, text):
    one, other = made_run(tmp_path / "a", ALL), made_run(tmp_path / "b", ALL)
    (other / name).write_text(text)
    code, _, err = compared(capsys, one, other)
    assert (code, f"b/{name}: expected" in err, err.count("\n")) == (2, True, 1), err


@pytest.mark.parametrize("text", ["{}", "[]", '{"names": ["a", "b"], "alpha": "x", "order": [], "prior": 8}'])
def test_a_damaged_duel_is_no_answer(tmp_path, capsys, text):
    (tmp_path / "duel.json").write_text(text)
    assert main(("duel", "--resume", str(tmp_path))) == 2
    assert "duel.json: expected names, alpha, order and prior" in capsys.readouterr().err


def test_what_nobody_foresaw_is_no_answer_either():
    def broken(_):
        raise ZeroDivisionError("0 of 0")

    named = argparse.Namespace(parser=argparse.ArgumentParser(prog="ray-eval compare"))
    with pytest.raises(SetupError, match=r"ray-eval compare: expected an answer, got ZeroDivisionError: 0 of 0"):
        decide.answering(broken)(named)

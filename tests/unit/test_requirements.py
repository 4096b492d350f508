"""Demands on a rate, published rows, and what each says and exits with."""

import pytest
from made_runs import made_run

from ray_eval.cli import main
from ray_eval.config import preset_names
from ray_eval.published import published_row, published_rows
from ray_eval.report.requirements import read_requirements

ALL = "s" * 15


@pytest.mark.parametrize(
    ("demands", "outcomes", "code", "says"),
    [
        (["success>=0.8"], ALL, 0, "success >= 0.8: met; 15/15 (100.0 %), at least 0.8190 (exact one-sided binomial"),
        (["success>=90%"], ALL, 3, "29 episodes at this rate would show it"),
        (["fake.success>=0.9"], "f" * 15, 1, "fake.success >= 0.9: missed; 0/15 (0.0 %), at most 0.1810"),
        (
            ["suites.success>=0.5", "success>=0.9"],
            "f" * 15,
            1,
            "at most 0.2180 (exact one-sided binomial test at 0.025)",
        ),
    ],
)
def test_a_demand_is_shown_refuted_or_neither_and_the_exit_code_says_which(
    tmp_path, capsys, demands, outcomes, code, says
):
    run = made_run(tmp_path / "run", outcomes)
    words = [word for demand in demands for word in ("--require", demand)]
    assert main(("run", "--resume", str(run), *words)) == code
    assert says in capsys.readouterr().out


@pytest.mark.parametrize(
    ("demand", "says"),
    [
        ("success>0.9", "expected success>=0.9 or SUITE.success>=0.9"),
        ("success>=1.5", "expected a rate above 0, to 1, got 1.5"),
        ("success>=0", "expected a rate above 0"),
        ("success>=1.2.3", "expected a rate above 0"),
        ("fakes.success>=0.5", "Did you mean 'fake'?"),
    ],
)
def test_a_demand_that_cannot_be_read_is_said_before_anything_runs(demand, says, capsys):
    assert main(("run", "suite=fake", "policy=random", "--require", demand)) == 2
    assert says in capsys.readouterr().err


def test_every_suite_is_demanded_of():
    found = read_requirements(["suites.success>=80%"], ["libero_goal", "libero_10"])
    assert [one.name for one in found] == ["libero_goal.success", "libero_10.success"]


def test_published_rows_have_counts_that_give_the_rates_back_and_protocols_that_exist():
    for row in published_rows().values():
        assert row.protocol is None or row.protocol in preset_names("protocols")
        assert row.source
        for suite, rate in row.rates.items():
            successes, n = row.counts(suite)
            assert abs(100 * successes / n - rate) <= 0.05 + 50 / n
    assert published_row("published:pi05_libero").counts("libero_10") == (462, 500)


def test_a_run_beside_a_published_row_says_what_differs_and_whether_the_interval_covers_it(tmp_path, capsys):
    words = ("suite=libero_object", "episodes_per_task=2", "protocol=lerobot")
    run = made_run(tmp_path / "run", "s" * 20, *words)
    assert main(("compare", str(run), "published:pi05_libero")) == 3
    shown = capsys.readouterr().out
    assert "not the same: protocol.env_seed: 1000 | 7" in shown
    assert "not the same: protocol.env_seed_per_episode: true | false" in shown
    assert "libero_object: 20/20 (100.0 %), Clopper-Pearson 83.2-100.0 %, covers the 98.2 % of pi05_libero" in shown
    poor = made_run(tmp_path / "poor", "f" * 20, *words)
    assert main(("compare", "published:pi05_libero", str(poor))) == 1
    shown = capsys.readouterr().out
    assert "does not cover" in shown
    assert "poor is worse than pi05_libero" in shown
    assert "not the same: protocol.env_seed, protocol.env_seed_per_episode" in shown


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("published:pi5_libero",), 2, "Did you mean 'pi05_libero'?"),
        (("published:pi05_libero", "published:pi0_libero"), 2, "expected one run beside a published row"),
        (("published:pi05_libero",), 4, "run one of its suites"),
    ],
)
def test_a_published_row_that_does_not_fit_says_what_to_do(tmp_path, capsys, words, code, says):
    run = made_run(tmp_path / "run", ALL)
    assert main(("compare", str(run), *words)) == code
    assert says in capsys.readouterr().err


def test_a_part_of_a_suite_is_no_published_rate(tmp_path, capsys):
    run = made_run(tmp_path / "run", "s" * 6, "suite=libero_object", "tasks=[0,1,2]", "episodes_per_task=2")
    assert main(("compare", str(run), "published:pi0_libero")) == 4
    assert "run all tasks of the suite" in capsys.readouterr().err
    assert main(("compare", str(run), "published:pi0_libero", "--allow", "tasks")) == 3


def test_a_key_that_is_allowed_beside_a_row_must_be_one_in_which_they_differ(tmp_path, capsys):
    run = made_run(tmp_path / "run", "s" * 20, "suite=libero_object", "episodes_per_task=2")
    assert main(("compare", str(run), "published:pi0_libero", "--allow", "tsaks")) == 2
    assert "--allow tsaks: expected a key in which the runs differ" in capsys.readouterr().err


def test_a_run_of_errors_alone_is_not_said_to_have_other_suites(tmp_path, capsys):
    run = made_run(tmp_path / "a run", "e" * 20, "suite=libero_object", "episodes_per_task=2")
    assert main(("compare", str(run), "published:pi0_libero")) == 4
    said = f"none of the 20 episodes of a run ended; finish it by ray-eval run --resume '{run}'"
    assert said in capsys.readouterr().err


def test_the_published_rows_are_listed(capsys):
    assert main(("list", "published")) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[0] == "pi05_libero"]
    assert row.split(maxsplit=1)[1].startswith("pi0.5, spatial 98.8")

"""Duels and runs that stop of themselves, on a real Ray and the fake env: the same answer whatever came first."""

import json
import shutil

import pytest
import ray

from ray_eval.cli import main
from ray_eval.report.ledger import LEDGER_NAME

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)
FILES = ("result.json", "a/summary.json", "b/summary.json", "a/until.json")


@pytest.fixture(scope="module")
def address():
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        num_gpus=0,
    )
    yield "ray.address=auto"
    ray.shutdown()


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A policy that reaches its goal, and one that never does."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "able.yaml").write_text("suite: fake\npolicy: {type: fake}\nprotocol: {max_steps: {default: 30}}\n")
    (folder / "lost.yaml").write_text("suite: fake\npolicy: random\nprotocol: {max_steps: {default: 30}}\n")
    return str(folder / "lost.yaml"), str(folder / "able.yaml")


@pytest.fixture(scope="module")
def first(address, sources, tmp_path_factory):
    """A duel that one worker fought."""
    out = tmp_path_factory.mktemp("duels") / "first"
    assert main(("duel", *sources, address, "workers=1", "video=first:1", "--out", str(out))) == 0
    return out


def contents(out):
    return {name: (out / name).read_bytes() for name in FILES}


def test_a_duel_stops_at_the_pair_that_decides_and_says_so(first, capsys):
    result = json.loads((first / "result.json").read_text())
    assert (result["winner"], result["pairs"], result["only_second"]) == ("able", 9, 9)
    assert result["episodes"] == json.loads((first / "duel.json").read_text())["order"][:9]
    assert main(("duel", "--resume", str(first))) == 0
    assert "able is better than lost: 9 of 15 pairs" in capsys.readouterr().out


def test_both_sides_of_a_duel_are_filmed_at_its_end(first):
    for side in "ab":
        assert len(list(first.glob(f"{side}/videos/fake/*/*.mp4"))) == 3


def test_more_workers_give_the_same_bytes(address, sources, first, tmp_path):
    out = tmp_path / "duel"
    assert main(("duel", *sources, address, "workers=3", "--out", str(out))) == 0
    assert contents(out) == contents(first)


@pytest.mark.parametrize("kept", [1, pytest.param(4, marks=pytest.mark.nightly)])
def test_a_duel_that_was_killed_goes_on_to_the_same_bytes(address, first, tmp_path, kept):
    out = tmp_path / "duel"
    shutil.copytree(first, out)
    (out / "result.json").unlink()
    for side, lines in (("a", kept), ("b", kept - 1)):
        ledger = out / side / LEDGER_NAME
        whole = ledger.read_bytes().splitlines(keepends=True)
        # A torn last line, as a kill leaves it.
        ledger.write_bytes(b"".join(whole[: lines + 1])[:-5] if lines else b"")
        (out / side / "until.json").write_text(
            (out / side / "until.json").read_text().replace('"counted": 9', '"counted": null')
        )
    assert main(("duel", "--resume", str(out), address, "workers=2", "video=null")) == 0
    assert contents(out) == contents(first)


def test_one_policy_fights_itself_side_by_side_and_nobody_wins(address, sources, tmp_path, capsys):
    out = tmp_path / "duel"
    words = (sources[1], address, "workers=2", "--b", "protocol.replan_steps=chunk", "--out", str(out))
    assert main(("duel", *words)) == 3
    assert "not even all that is left could decide it" in capsys.readouterr().out
    assert json.loads((out / "result.json").read_text())["pairs"] == 7


def test_a_run_stops_when_its_rate_is_known_well_enough_for_any_number_of_workers(address, sources, tmp_path, capsys):
    said, summaries = [], []
    for workers in (1, 3):
        out = tmp_path / f"run-{workers}"
        words = (sources[1], "halfwidth<=0.2", address, f"workers={workers}")
        assert main(("run", words[0], *words[2:], "--until", words[1], "--out", str(out))) == 0
        said.append([line for line in capsys.readouterr().out.splitlines() if "reached after" in line])
        summaries.append((out / "summary.json").read_bytes())
    assert said[0] == said[1]
    assert "halfwidth<=0.2 reached after" in said[0][0]
    assert summaries[0] == summaries[1]
    assert json.loads(summaries[0])["stopped_by"] == "halfwidth<=0.2"
    assert main(("run", "--resume", str(out))) == 0
    assert main(("run", "--resume", str(out), "--require", "success>=0.5")) == 2
    assert main(("run", "--resume", str(out), "--until", "halfwidth<=0.1")) == 2
    assert main(("compare", str(tmp_path / "run-1"), str(out))) == 4
    assert "stopped by halfwidth<=0.2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((), 2, "expected a configuration or two"),
        (("suite=fake", "policy=random"), 2, "expected two configurations that differ"),
        (("suite=fake", "policy=random", "--b", "seed=3"), 4, "seed: 0 | 3"),
        (("suite=fake", "policy=random", "--b", "tasks=[0]"), 2, "the same episodes"),
        (("suite=fake", "policy=random", "--b", "protocol.max_steps=9"), 2, "the same episodes"),
        (("--resume", "nowhere"), 2, "expected a duel's folder"),
        (("suite=fake", "policy=random", "--alpha", "2"), 2, "--alpha: expected above 0"),
    ],
)
def test_a_duel_that_is_none_is_refused_before_anything_starts(words, code, says, capsys):
    assert main(("duel", *words)) == code
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("rule", ["halfwidth<=2", "halfwidth<=0", "width<=0.1", "halfwidth<=1.2.3"])
def test_a_rule_that_cannot_be_read_is_said(rule, capsys):
    assert main(("run", "suite=fake", "policy=random", "--until", rule)) == 2
    assert "expected halfwidth<=X" in capsys.readouterr().err


def test_one_side_of_a_duel_is_no_run_to_go_on_with(first, capsys):
    assert main(("run", "--resume", str(first / "a"))) == 2
    assert f"ray-eval duel --resume {first}" in capsys.readouterr().err

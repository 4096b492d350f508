"""Each export read by the tool it is for, as that is on PyPI, in an environment of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
from made_runs import made_run

from ray_eval.cli import main

pytestmark = pytest.mark.nightly
TOOLS = ("verdikt-eval==0.3.1", "arisole-eval==0.1.5", "fieldtrial==0.3.0")
FIRST, SECOND = "sssffsesssfsffs", "ssfsfsssesssfss"


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """Folder of the tools' commands."""
    folder = tmp_path_factory.mktemp("tools")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "--quiet", *TOOLS], check=True)
    return folder / "bin"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return made_run(folder / "A", FIRST), made_run(folder / "B", SECOND, "policy.chunk_len=4")


def exported(runs, to, out):
    assert main(("export", *map(str, runs), "--to", to, "--out", str(out))) == 0
    return out


def said(command, *words, cwd, codes=(0,)):
    done = subprocess.run([command, *words], capture_output=True, text=True, cwd=cwd, check=False, timeout=250)
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout


def test_verdikt_pairs_the_episodes_and_counts_no_error(tools, runs, tmp_path):
    folder = exported(runs, "verdikt", tmp_path / "x")
    shown = said(
        tools / "verdikt", "compare", "verdikt.csv", "--baseline", "A", "--paired", cwd=folder, codes=(0, 1, 2)
    )
    assert "9/14" in shown
    assert "11/14" in shown
    assert "4 discordant" in shown
    assert "p=0.625" in shown


def test_verdikt_reads_eval_info(tools, runs, tmp_path):
    folder = exported(runs, "eval_info", tmp_path / "x")
    for name in "AB":
        (folder / f"{name}.json").write_text((folder / name / "eval_info.json").read_text())
    shown = said(tools / "verdikt", "compare", "A.json", "B.json", "--baseline", "A", cwd=folder, codes=(0, 1, 2))
    assert "9/14" in shown
    assert "11/14" in shown


def test_arisole_pairs_the_episodes_by_their_seeds(tools, runs, tmp_path):
    folder = exported(runs, "arisole", tmp_path / "x")
    shown = said(tools / "arisole", "evaluate", "--baseline", "A", "--candidate", "B", "--out", "r.json", cwd=folder)
    assert "P2F=1 F2P=3 F2F=2 P2P=7 (paired=13)" in shown
    assert json.loads((folder / "r.json").read_text())["message"].startswith("Episodes paired by shared evaluation")


def test_fieldtrial_locks_the_study_imports_the_trials_and_finds_our_interval(tools, runs, tmp_path):
    folder = exported(runs, "fieldtrial", tmp_path / "x")
    said(tools / "fieldtrial", "lock", ".", cwd=folder)
    assert "28 completed and 2 invalid trials" in said(tools / "fieldtrial", "import", ".", "trials.csv", cwd=folder)
    shown = " ".join(said(tools / "fieldtrial", "analyze", ".", cwd=folder).split())
    assert "+15.4 pp (95% CI \N{MINUS SIGN}17.7 to +45.7; p = 0.62)" in shown

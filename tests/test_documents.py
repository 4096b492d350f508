"""What the documents say can be typed, and does what they say."""

import dataclasses
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ray_eval.cli import main
from ray_eval.report.ledger import Attempt, episode_record
from ray_eval.report.metrics import summary_text
from ray_eval.testing import check_policy
from ray_eval.types import ActionChunk, EpisodeResult, EpisodeSpec, Inside, Observation, Outcome, PolicySpec

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


PLANNED = ("run", "list", "sweep", "keys")
"""Commands that say what they would do without doing it."""


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(program: str, text: str = README) -> list[str]:
    lines = [line.partition("#")[0].strip() for block in blocks("bash", text) for line in _whole(block)]
    return [line for line in lines if line.startswith(program)]


def _whole(block: str) -> list[str]:
    """The lines of a block, those that go on put together."""
    return block.replace("\\\n", " ").splitlines()


def test_the_two_commands_are_the_makefiles():
    assert commands("make") == ["make run", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    for command in (*commands("make"), "make lint", "make nightly", "make setup"):
        assert re.search(rf"^{command.split()[1]}:", makefile, flags=re.MULTILINE)


GUIDE = (ROOT / "docs" / "guide.md").read_text()


@pytest.fixture
def beginners_folder(tmp_path, monkeypatch):
    """A working folder with the files that the commands name, and a home with an interpreter for LeRobot."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lerobot" / "bin").mkdir(parents=True)
    python = tmp_path / "lerobot" / "bin" / "python"
    # A link would leave its packages behind.
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (tmp_path / "eval.yaml").write_text("suite: libero_object\npolicy: oracle\n")
    (tmp_path / "mine.py").touch()


@pytest.mark.parametrize(
    "command",
    [line for text in (README, GUIDE) for line in commands("ray-eval", text) if line.split()[1] in PLANNED],
)
@pytest.mark.usefixtures("beginners_folder")
def test_every_command_of_the_readme_and_the_guide_is_accepted(command, capsys):
    words = shlex.split(command)[1:]
    words += ["--dry-run"] if words[0] in ("run", "sweep") and "--dry-run" not in words else []
    code, said = main(words), capsys.readouterr()
    if "policy=lerobot" in words:
        # Everything was right but LeRobot itself, which is not in this environment.
        assert (code, "expected LeRobot there, got none" in said.err) == (2, True)
    else:
        assert (code, bool(said.out)) == (0, True), said.err


@pytest.mark.parametrize("command", [line for text in (README, GUIDE) for line in commands("ray-eval", text)])
def test_every_other_command_has_options_that_are_there(command, capsys):
    words = shlex.split(command)[1:]
    with pytest.raises(SystemExit) as ended:
        main([words[0], "--help"])
    assert ended.value.code == 0
    known = capsys.readouterr().out
    assert [word for word in words if word.startswith("--") and word not in known] == []


DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "examples" / "README.md"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(path):
    for target in re.findall(r"\]\(((?!http)[^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_the_site_has_every_document():
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text().partition("nav:")[2]))
    assert listed == {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}


def test_the_site_is_built_and_nothing_in_it_leads_nowhere(tmp_path):
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    english, chinese = ((site / name).read_text() for name in ("guide.html", "zh/guide.html"))
    assert ('<html lang="en"' in english, '<html lang="zh"' in chinese) == (True, True)
    assert 'href="zh/guide.html"' in english
    assert 'href="../guide.html"' in chinese
    assert "infer_batch" in (site / "api.html").read_text()
    assert "class PointEnv" in (site / "source" / "examples" / "point_simulator.py.txt").read_text()


def test_the_policy_of_the_readme_keeps_the_contract():
    (code,) = blocks("python")
    names = {}
    exec(code, names)
    check_policy(names["Mine"]())


CHINESE = [("README.md", "README.zh-CN.md")]
CHINESE += [(f"docs/{path.name}", f"docs/zh/{path.name}") for path in sorted((ROOT / "docs" / "zh").glob("*.md"))]


def headings(text: str) -> list[str]:
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.findall(r"^(#+) ", outside, flags=re.MULTILINE)


def tables(text: str) -> list[list[tuple[int, list[str]]]]:
    """Of every table: of each row the number of columns, and the names in the first two columns' code letters."""
    found = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    rows = [[re.split(r"(?<!\\)\|", line.strip("|\n")) for line in table.splitlines()] for table in found]
    return [[(len(row), re.findall(r"`([^`]+)`", row[0])) for row in table] for table in rows]


def typed(text: str) -> list[str]:
    """Every line of code, comments left out."""
    fenced = [line for block in re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL) for line in block.splitlines()]
    indented = re.findall(r"^ {4}(\S.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return [line.partition("#")[0].rstrip() for line in [*fenced, *indented]]


@pytest.mark.parametrize(("english", "chinese"), CHINESE)
def test_both_languages_have_the_same_headings_tables_and_commands(english, chinese):
    ours, theirs = ((ROOT / name).read_text() for name in (english, chinese))
    assert headings(theirs) == headings(ours)
    assert tables(theirs) == tables(ours)
    assert typed(theirs) == typed(ours)


def test_the_protocol_table_names_every_preset():
    table = (ROOT / "docs" / "protocols.md").read_text()
    for path in (ROOT / "configs" / "protocols").glob("*.yaml"):
        assert f"| `{path.stem}`" in table


def test_the_way_of_an_observation_names_files_that_are_there():
    text = (ROOT / "docs" / "observation.md").read_text()
    for name in re.findall(r"^  ([a-z_/]+\.py)", text, flags=re.MULTILINE):
        assert (ROOT / "ray_eval" / name).is_file(), name


def test_the_python_of_the_guide_evaluates_one_task_on_real_libero(tmp_path):
    (code,) = blocks("python", GUIDE)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=250, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1.0 (0.025"), done.stdout
    (out,) = (tmp_path / "runs").iterdir()
    assert (out / "summary.json").is_file()


def rows_of(document: str) -> set[str]:
    """Every name in code letters in the first two columns of a document's tables."""
    lines = [line for line in (ROOT / "docs" / document).read_text().splitlines() if line.startswith("|")]
    return {name for line in lines for name in re.findall(r"`([\w.]+)`", line)}


@pytest.mark.parametrize("value", [PolicySpec, Observation, ActionChunk], ids=lambda value: value.__name__)
def test_the_contract_names_every_field(value):
    fields = {item.name for item in dataclasses.fields(value)} - {"version"}
    assert fields - rows_of("contract.md") == set()


def test_the_policy_of_the_contract_keeps_it():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "contract.md").read_text(), flags=re.DOTALL)
    names = {}
    exec(code, names)
    policy = names["Mine"]()
    policy.net = lambda images, states, tasks: np.zeros((len(tasks), 16, 7), np.float32) + states[:, :1, None]
    check_policy(policy)


def test_what_the_results_say_is_written_down_field_by_field():
    spec = EpisodeSpec("fake", 0, 0, env_seed=7, max_steps=40)
    result = EpisodeResult(spec, Outcome.SUCCESS, steps=10, inside=Inside((3, 2)))
    record = episode_record(result, Attempt(1, "worker-0", "now"), "episode")
    header = {"schema_version": 1, "identity": {}, "identity_sha256": "0", "is_starved": False}
    summary = json.loads(summary_text(header, [spec], {spec.episode_id: result}, stopped_by="RULE"))
    figures = summary["overall"]
    named = {*record, *summary, *figures, *figures["inside"], *summary["episodes"][0]}
    assert named - rows_of("results.md") == set()

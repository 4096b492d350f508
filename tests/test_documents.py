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

from ray_eval.report.ledger import Attempt, episode_record
from ray_eval.report.metrics import summary_text
from ray_eval.testing import check_policy
from ray_eval.types import ActionChunk, EpisodeResult, EpisodeSpec, Inside, Observation, Outcome, PolicySpec

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands(program: str) -> list[str]:
    lines = [line.partition("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith(program)]


def test_the_two_commands_are_the_makefiles():
    assert commands("make") == ["make run", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    for command in (*commands("make"), "make lint", "make nightly", "make setup"):
        assert re.search(rf"^{command.split()[1]}:", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize(
    "command", [line for line in commands("ray-eval") if line.split()[1] in ("run", "list", "sweep")]
)
def test_every_command_of_the_readme_is_accepted(command):
    words = shlex.split(command)[1:]
    words += ["--dry-run"] if words[0] in ("run", "sweep") and "--dry-run" not in words else []
    done = subprocess.run(
        [sys.executable, "-m", "ray_eval", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_link_of_the_readme_leads_somewhere():
    for target in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_protocol_table_names_every_preset():
    table = (ROOT / "docs" / "protocols.md").read_text()
    for path in (ROOT / "configs" / "protocols").glob("*.yaml"):
        assert f"| `{path.stem}`" in table


def test_the_way_of_an_observation_names_files_that_are_there():
    text = (ROOT / "docs" / "observation.md").read_text()
    for name in re.findall(r"^  ([a-z_/]+\.py)", text, flags=re.MULTILINE):
        assert (ROOT / "ray_eval" / name).is_file(), name


def test_the_python_of_the_readme_evaluates_one_task_on_real_libero(tmp_path):
    (code,) = blocks("python")
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

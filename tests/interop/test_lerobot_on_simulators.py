"""LeRobot's checkpoints of Aloha and PushT over whole episodes: every action is the one of LeRobot's own loop.

The actions that a run executed are executed again by the simulator's package alone, and LeRobot alone is asked what it
does at each step of what the package showed. Where each answer is the action that was executed, LeRobot's own loop on
the package goes the same way.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from lerobot_environment import HERE, PYTHON, run_in_lerobot

from ray_eval.report.ledger import read_ledger, result_of
from ray_eval.rollout.seeds import request_seed
from ray_eval.types import Outcome

pytestmark = pytest.mark.nightly

PACKAGES = {"aloha": ("gym_aloha", "gym_aloha/AlohaTransferCube-v0"), "pusht": ("gym_pusht", "gym_pusht/PushT-v0")}
STEPS = {"aloha": 400, "pusht": 300}
"""Budgets of lerobot-eval."""


@pytest.fixture(scope="module")
def simulators_checkpoints(lerobot_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    run_in_lerobot("make_simulator_checkpoints.py", folder)
    return folder


def ray_eval(*words):
    command = [sys.executable, "-m", "ray_eval", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("suite", PACKAGES)
def test_every_action_is_that_of_lerobots_own_loop(suite, simulators_checkpoints, simulator_python, tmp_path):
    python = simulator_python(suite)
    words = [
        f"suite={suite}",
        "policy=lerobot",
        f"policy.path={simulators_checkpoints / suite}",
        f"policy.python={PYTHON}",
    ]
    words += [] if python is None else [f"simulator.python={python}"]
    ray_eval("run", *words, "tasks=[0]", "episodes_per_task=1", "ray.dashboard=false", "--out", tmp_path / "run")
    result = result_of(read_ledger(tmp_path / "run").episodes[f"{suite}/0/0"])

    said = ray_eval("episode", tmp_path / "run", f"{suite}/0/0", "--trace", tmp_path / "trace.parquet")
    assert "trajectory: the recorded one" in said
    ours = np.array(pq.read_table(tmp_path / "trace.parquet")["action"].to_pylist(), np.float32)
    assert len(ours) == result.steps == STEPS[suite]

    np.save(tmp_path / "executed.npy", ours)
    seed, recording = result.spec.env_seed, tmp_path / "recording.npz"
    script = [HERE / "plain_simulator.py", *PACKAGES[suite], seed, tmp_path / "executed.npy", recording]
    drawing = {**os.environ, "MUJOCO_GL": "osmesa", "PYOPENGL_PLATFORM": "osmesa"}
    subprocess.run([str(python or sys.executable), "-P", *map(str, script)], check=True, timeout=1800, env=drawing)
    assert bool(np.load(recording)["is_success"]) == (result.outcome is Outcome.SUCCESS)

    job = {
        "checkpoint": str(simulators_checkpoints / suite),
        "recording": str(recording),
        "cameras": {"image": "top"} if suite == "aloha" else "image",
        "task": "",
        "seeds": [request_seed("noise", result.spec, index) for index in range(result.steps)],
        "actions": str(tmp_path / "actions.npy"),
    }
    (tmp_path / "jobs.json").write_text(json.dumps([job]))
    run_in_lerobot("plain_loop.py", tmp_path / "jobs.json")
    theirs = np.load(tmp_path / "actions.npy").astype(np.float32)
    assert len(np.unique(theirs, axis=0)) > STEPS[suite] // 2, "they move"
    assert np.array_equal(ours, theirs)

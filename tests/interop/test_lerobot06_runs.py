"""Whole runs of policies of LeRobot 0.6: the evaluator here, LeRobot in its own environment, the wire between them."""

import json
import subprocess
import sys

import pytest
from lerobot_environment import run_in_lerobot


@pytest.fixture(scope="module")
def relative(lerobot06_python, tmp_path_factory):
    """A checkpoint whose actions are relative to the state, in pipelines of LeRobot's own making."""
    folder = tmp_path_factory.mktemp("checkpoints")
    run_in_lerobot("make_checkpoints06.py", folder, "act_relative", python=lerobot06_python)
    return folder / "act_relative"


@pytest.mark.timeout(1200)
def test_relative_actions_give_the_same_summary_to_the_byte_however_many_workers_ask(
    relative, lerobot06_python, tmp_path
):
    """With four workers the next observation is pre-processed while a chunk is computed: each keeps its own state."""
    summaries = {}
    for workers in (1, 4):
        out = tmp_path / f"{workers}"
        command = [sys.executable, "-m", "ray_eval", "run", "suite=fake", "tasks=[0,1,2]", "episodes_per_task=3"]
        command += ["policy=lerobot", f"policy.path={relative}", f"policy.python={lerobot06_python}", f"out={out}"]
        command += ["protocol.max_steps=40", f"workers={workers}", "ray.dashboard=false"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        summaries[workers] = (out / "summary.json").read_bytes()
        header = json.loads((out / "episodes.jsonl").read_text().splitlines()[0])
        assert header["identity"]["environment.policy_lerobot"].startswith("0.6")
        assert any("actions are relative to the state" in line for line in header["provenance"]["remarks"])
    assert json.loads(summaries[1])["is_complete"]
    assert summaries[1] == summaries[4]

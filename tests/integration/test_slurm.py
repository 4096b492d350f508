"""The Slurm script over an allocation of two nodes: Slurm's own commands are played, Ray and the run are real."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Both nodes are this machine: a step runs here, without the options that say where.
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do case $1 in --overlap) shift ;; *) shift 2 ;; esac; done
if [[ $1 == hostname ]]; then echo 127.0.0.1; else exec "$@"; fi
"""
SCONTROL = "#!/bin/sh\nprintf 'node-1\\nnode-2\\n'\n"
WORDS = ["policy=random", "suite=fake", "episodes_per_task=3", "workers=2"]

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="network namespaces need root"),
]


@pytest.fixture
def allocation(tmp_path):
    """The environment of a job on two nodes, whose home and commands are a folder's."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "RAY_EVAL_BIN": str(Path(sys.executable).parent),
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "node-[1-2]",
        "SLURM_CPUS_PER_TASK": "2",
    }


def submitted(environment, *words):
    # A network of its own, in which every node is the loopback address.
    inside = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    command = [*inside, "bash", str(ROOT / "deploy/slurm.sbatch"), *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(run):
    path = run / "episodes.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [record for record in records if record.get("kind") == "episode"]


def alone(tmp_path):
    command = [sys.executable, "-m", "ray_eval", "run", *WORDS, f"out={tmp_path / 'alone'}"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    return (tmp_path / "alone" / "summary.json").read_bytes()


def test_a_job_gives_what_one_machine_gives_and_leaves_no_ray(tmp_path, allocation):
    job = submitted(allocation, *WORDS)
    said, _ = job.communicate()
    assert job.returncode == 0, said
    run = tmp_path / f"runs/slurm-{allocation['SLURM_JOB_ID']}"
    assert (run / "summary.json").read_bytes() == alone(tmp_path)
    port = 20000 + int(allocation["SLURM_JOB_ID"]) % 20000
    # The pattern is one that Ray's own command lines match while it runs.
    assert f"127.0.0.1:{port}" in said
    left = subprocess.run(
        ["pgrep", "-f", f"(ray start|gcs_server).*{port}"], capture_output=True, text=True, check=False
    )
    assert left.stdout == ""


def test_a_job_that_is_told_to_go_is_taken_up_by_the_next_one(tmp_path, allocation):
    job = submitted(allocation, *WORDS, "protocol.max_steps=20000")
    run = tmp_path / f"runs/slurm-{allocation['SLURM_JOB_ID']}"
    while not finished(run) and job.poll() is None:
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    said, _ = job.communicate()
    assert job.returncode == 130, said
    again = submitted(allocation, *WORDS)
    said, _ = again.communicate()
    assert again.returncode == 0, said
    assert len({record["episode_id"] for record in finished(run)}) == 9

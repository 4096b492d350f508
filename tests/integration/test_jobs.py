"""Runs as jobs of a real Ray cluster, handed in from outside: exit codes, a clean stop, and a resume."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ray_eval
from ray_eval.driver.jobs import JOB, STOP_WAIT, in_a_job

PROGRAM = r"""
import json, pathlib, subprocess, sys, time

out = pathlib.Path(sys.argv[1])
ray, ray_eval = (f"{sys.argv[2]}/{name}" for name in ("ray", "ray-eval"))
words = ["policy=random", "suite=fake", "tasks=[0,1]", "episodes_per_task=2", "workers=1", "protocol.max_steps=20"]
start = [ray, "start", "--head", "--num-cpus=3", "--port=6399", "--node-ip-address=127.0.0.1", "--disable-usage-stats"]
subprocess.run([*start, "--dashboard-port=8399"], check=True, stdout=subprocess.DEVNULL)


def submit(*arguments):
    address = ["--address", "http://127.0.0.1:8399", "--program", ray_eval]
    return [ray_eval, "submit", *address, "run", *arguments]


def lines():
    path = out / "job" / "episodes.jsonl"
    return path.read_bytes().count(b'"kind": "episode"') if path.exists() else 0


try:
    refused = subprocess.run(submit("policy=nobody", "suite=fake"), capture_output=True, text=True)
    assert refused.returncode == 2, (refused.returncode, refused.stdout, refused.stderr)
    assert "nobody" in refused.stdout
    slowly = [*words, "serving.slowdown_ms=[300,300]", f"out={out / 'job'}"]
    running = subprocess.Popen(submit(*slowly), stdout=subprocess.PIPE, text=True)
    job = running.stdout.readline().split()[1].rstrip(";")
    while lines() < 1:
        assert running.poll() is None, running.stdout.read()
        time.sleep(0.2)
    stopping = time.monotonic()
    subprocess.run([ray, "job", "stop", "--address", "http://127.0.0.1:8399", job], check=True, capture_output=True)
    assert running.wait(60) == 130, running.returncode
    said = running.stdout.read()
    assert "stopping" in said, said
    assert lines() < 4
    done = subprocess.run(submit("--resume", str(out / "job")), capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
finally:
    subprocess.run([ray, "stop", "--force"], capture_output=True)
"""


def test_inside_a_job_its_cluster_is_joined_and_the_grace_is_what_a_stop_leaves():
    config = ray_eval.load_config("first_light")
    assert in_a_job(config, {}) is config
    inside = in_a_job(config, {JOB: "{}"})
    assert (inside.ray.address, inside.limits.grace_s) == ("auto", 0.5)
    assert in_a_job(config, {JOB: "{}", STOP_WAIT: "60"}).limits.grace_s == config.limits.grace_s
    named = ray_eval.load_config("first_light", ["ray.address=10.0.0.1:6379"])
    assert in_a_job(named, {JOB: "{}"}).ray.address == "10.0.0.1:6379"


@pytest.mark.nightly
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="network namespaces need root")
def test_a_job_gives_its_exit_code_stops_cleanly_and_is_resumed(tmp_path):
    binaries = Path(sys.executable).parent
    inside = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    command = [*inside, sys.executable, "-c", PROGRAM, tmp_path, binaries]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=environment)
    assert done.returncode == 0, done.stderr + done.stdout
    alone = ["policy=random", "suite=fake", "tasks=[0,1]", "episodes_per_task=2", "protocol.max_steps=20"]
    words = [*alone, "workers=2", "ray.dashboard=false", f"out={tmp_path / 'alone'}"]
    assert subprocess.run([sys.executable, "-m", "ray_eval", "run", *words], timeout=200, check=False).returncode == 0
    assert (tmp_path / "job/summary.json").read_bytes() == (tmp_path / "alone/summary.json").read_bytes()

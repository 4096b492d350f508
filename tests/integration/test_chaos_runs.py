"""Every kind of fault on the fake suite, by the command that a cluster's owner types."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ray_eval.chaos.injecting import KINDS

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["suite=fake", "policy=random", "episodes_per_task=5", "workers=2", "protocol.max_steps=40"]
SOON = ["limits.episode_timeout_s=15", "limits.step_timeout_s=5", "serving.infer_timeout_s=8"]


def chaos(out, *words):
    command = [sys.executable, "-m", "ray_eval", "chaos", *WORDS, *SOON, "--out", str(out), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=3000, check=False)
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    return done, events


@pytest.mark.nightly
def test_every_kind_of_fault_leaves_the_summary_as_it_is_and_nothing_behind(tmp_path):
    done, events = chaos(tmp_path / "chaos", "--seed", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(event["kind"] for event in events if event["event"] == "fault") == sorted(KINDS)
    assert all(event["is_same_summary"] for event in events if event["event"] == "checked")


@pytest.mark.nightly
def test_a_worker_that_is_killed_twenty_times_costs_twenty_attempts_and_no_episode(tmp_path):
    done, events = chaos(tmp_path / "chaos", "--faults", "worker_killed:20", "--seed", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(event["broken"] for event in events if event["event"] == "fault") >= 20


@pytest.mark.nightly
def test_a_fault_that_cannot_happen_fails_the_command(tmp_path):
    """A policy on a port has no socket that could be removed."""
    words = ["serving.address=127.0.0.1:0", "--faults", "socket_removed", "--patience", "20"]
    done, events = chaos(tmp_path / "chaos", *words)
    assert done.returncode == 1
    assert "socket_removed, could not be injected: expected a folder with the policy's socket" in done.stdout
    assert [event["kind"] for event in events if event["event"] == "not_injected"] == ["socket_removed"]

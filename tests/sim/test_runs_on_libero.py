"""Whole runs on real LIBERO: the same bytes for one worker and three, sync and async, killed and resumed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ray_eval.report.ledger import LEDGER_NAME, read_ledger

THREE_BY_THREE = ("policy=oracle", "suite=libero_object", "tasks=[0,4,8]", "episodes_per_task=3", "ray.dashboard=false")
ASYNC = ("execution.mode=async", "execution.latency.steps=4")


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "ray_eval", "run", *map(str, words)]


def summary(out: Path, *words: object) -> bytes:
    done = subprocess.run(command(*words, "--out", out), capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return (out / "summary.json").read_bytes()


@pytest.mark.nightly
@pytest.mark.parametrize("mode", [(), ASYNC], ids=["sync", "async"])
def test_one_worker_and_three_and_a_killed_run_give_the_same_bytes(tmp_path, mode):
    one = summary(tmp_path / "one", *THREE_BY_THREE, *mode, "workers=1")
    assert summary(tmp_path / "three", *THREE_BY_THREE, *mode, "workers=3") == one
    killed = tmp_path / "killed"
    kill_after(3, killed, *THREE_BY_THREE, *mode, "workers=2")
    resumed = subprocess.run(command("--resume", killed), capture_output=True, text=True, timeout=1800, check=False)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert (killed / "summary.json").read_bytes() == one


def kill_after(episodes: int, out: Path, *words: object) -> None:
    """Kills the driver once the ledger has that many episodes, and sees that it really was in the middle."""
    process = subprocess.Popen(command(*words, "--out", out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ledger = out / LEDGER_NAME
    while not ledger.exists() or ledger.read_bytes().count(b"\n") <= episodes:
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert episodes <= len(read_ledger(out).episodes) < 9


SWEEP = ("policy=oracle", "policy.chunk_len=32", "policy.images=false", "suite=libero_object", "tasks=[2,9]")
AXES = ("execution.mode=async", "execution.latency.steps=0,2", "execution.chunk_size_threshold=0,0.8")


def sweep(out: Path, *words: object) -> dict[str, bytes]:
    program = [sys.executable, "-m", "ray_eval", "sweep", *SWEEP, *AXES, "episodes_per_task=1", "ray.dashboard=false"]
    done = subprocess.run(
        [*program, *map(str, words), "--out", str(out)], capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    names = [*out.glob("points/*/summary.json"), out / "summary.json", out / "success.png", out / "queue.svg"]
    return {str(path.relative_to(out)): path.read_bytes() for path in names}


@pytest.mark.nightly
def test_a_sweep_is_the_same_for_other_workers_and_a_policy_that_pauses_at_random(tmp_path):
    one = sweep(tmp_path / "one", "workers=1")
    assert len(one) == 7
    assert sweep(tmp_path / "two", "workers=2") == one
    assert sweep(tmp_path / "slow", "workers=2", "serving.slowdown_ms=[0,200]") == one

"""Whole runs on the other simulators: the same bytes for one worker and three, killed and resumed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ray_eval.report.ledger import LEDGER_NAME, read_ledger

pytestmark = pytest.mark.nightly

RUNS = {
    "metaworld": ("suite=metaworld_mt10", "policy=expert", "episodes_per_task=2"),
    "aloha": ("suite=aloha", "policy=random", "policy.images=true", "episodes_per_task=5", "protocol.max_steps=60"),
    "pusht": ("suite=pusht", "policy=random", "policy.images=true", "episodes_per_task=20"),
}
EPISODES = {"metaworld": 20, "aloha": 10, "pusht": 20}


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "ray_eval", "run", *map(str, words)]


def finish(*words: object) -> None:
    done = subprocess.run(command(*words), capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def start(out: Path, *words: object) -> subprocess.Popen:
    return subprocess.Popen(command(*words, "--out", out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_lines(count: int, out: Path, process: subprocess.Popen) -> None:
    """Waits for as many lines of the ledger: its header, and what became of each attempt."""
    ledger = out / LEDGER_NAME
    while not ledger.exists() or ledger.read_bytes().count(b"\n") < count:
        assert process.poll() is None
        time.sleep(0.02)


def kill_a_worker(process: subprocess.Popen, python: Path | None) -> None:
    """Kills a worker's child where episodes run in one, else a worker."""
    name = "ray_eval.rollout.child" if python else "ray::Worker"
    family = psutil.Process(process.pid).children(recursive=True)
    victims = [each for each in family if name in " ".join(each.cmdline()) and each.ppid() != process.pid]
    assert victims
    victims[0].kill()


@pytest.mark.parametrize("simulator", RUNS)
def test_one_worker_and_three_and_a_run_of_killed_processes_give_the_same_bytes(simulator, simulator_python, tmp_path):
    python = simulator_python(simulator)
    there = [] if python is None else [f"simulator.python={python}"]
    words = (*RUNS[simulator], *there, "ray.dashboard=false")
    for workers in (1, 3):
        finish(*words, f"workers={workers}", "--out", tmp_path / f"{workers}")
    one = (tmp_path / "1" / "summary.json").read_bytes()
    assert (tmp_path / "3" / "summary.json").read_bytes() == one

    killed = tmp_path / "killed"
    # A policy that takes its time, so that the middle of the run is long enough to be met.
    process = start(killed, *words, "workers=2", "serving.slowdown_ms=[5,40]")
    wait_for_lines(3, killed, process)
    kill_a_worker(process, python)
    wait_for_lines(6, killed, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = len(read_ledger(killed).episodes)
    assert 3 <= kept < EPISODES[simulator]
    finish("--resume", killed, "workers=2")
    assert (killed / "summary.json").read_bytes() == one


SUITES = {
    "metaworld": ("suite=metaworld_mt10",),
    "aloha": ("suite=aloha",),
    "pusht": ("suite=pusht",),
    "gymnasium": (
        "suite=gymnasium",
        "simulator.id=gym_pusht/PushT-v0",
        "simulator.module=gym_pusht",
        "simulator.kwargs.obs_type=pixels_agent_pos",
        "simulator.kwargs.render_mode=rgb_array",
        "simulator.start_states=4",
        "simulator.success=info.is_success",
        "simulator.reward=ignored",
    ),
}


@pytest.mark.parametrize("simulator", SUITES)
def test_every_command_takes_the_simulator(simulator, simulator_python, tmp_path):
    def said(*words: object) -> str:
        program = [sys.executable, "-m", "ray_eval", *map(str, words)]
        done = subprocess.run(program, capture_output=True, text=True, timeout=1800, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return " ".join(done.stdout.split())

    python = None if simulator in ("pusht", "gymnasium") else simulator_python(simulator)
    suite = (*SUITES[simulator], *([] if python is None else [f"simulator.python={python}"]))
    run = (*suite, "policy=random", "tasks=[0]", "protocol.max_steps=12", "workers=1", "ray.dashboard=false")

    examined = said("doctor", *suite)
    assert f"simulator {simulator}: " in examined
    assert "a policy actor and a worker started" in examined
    task = f"{suite[0].removeprefix('suite=')}/0"
    for part in ("step", "reset", "render"):
        assert said("bench", part, "--task", task, "--repeats", "2", *suite[1:]).count(" ms ") == 1

    latencies = ("execution.mode=async", "execution.latency.steps=0,2")
    said("sweep", *run, *latencies, "init_states=[0]", "--out", tmp_path / "sweep")
    assert len(list((tmp_path / "sweep").glob("points/*/summary.json"))) == 2
    search = ("execution.mode=async", "execution.latency.steps=1", "execution.actions_per_chunk=2,4", "--trials", "2")
    said("tune", *run, *search, "--tune-states", "1", "episodes_per_task=1", "--out", tmp_path / "tuned")
    assert len(list((tmp_path / "tuned").glob("points/*/summary.json"))) == 2

    point = next((tmp_path / "sweep").glob("points/*"))
    video = tmp_path / "look.mp4"
    assert "trajectory: the recorded one" in said("episode", point, f"{task}/0", "--video", video)
    assert video.stat().st_size > 1000

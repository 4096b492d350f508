"""The command line from outside: exit codes, what is printed, kills, signals and resumes."""

import contextlib
import hashlib
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from ray_eval.cli import main
from ray_eval.driver.folder import RunFolder
from ray_eval.orders import VARIABLE, Orders
from ray_eval.report.ledger import LEDGER_NAME, read_ledger

LONG = ("policy=random", "suite=fake", "repeats=2", "ray.dashboard=false")
EPISODES = 30


def ray_eval(*words: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "ray_eval", *map(str, words)]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=env)


def ray_eval_here(*words: str) -> int:
    """The exit code of a command in this process, where it is to start nothing."""
    try:
        return main(list(map(str, words)))
    except SystemExit as exit_:
        return exit_.code


def start(*words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "ray_eval", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_episodes(out: Path, count: int, process: subprocess.Popen) -> None:
    ledger = out / LEDGER_NAME
    deadline = time.monotonic() + 120
    while not ledger.exists() or ledger.read_bytes().count(b"\n") <= count:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def episode_lines(out: Path) -> list[dict]:
    lines = [json.loads(line) for line in (out / LEDGER_NAME).read_text().splitlines()]
    return [line for line in lines if line["kind"] == "episode"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> bytes:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    done = ray_eval("run", *LONG, "workers=2", "--out", out, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"0/{EPISODES}" in done.stderr
    assert "\x1b" not in done.stderr
    assert "policy random: chunks of 10 actions of 7 numbers; reads " in done.stderr
    summary = (out / "summary.json").read_bytes()
    # With --json standard output is the summary and nothing else.
    assert done.stdout.encode() == summary
    return summary


def test_killed_then_interrupted_then_resumed_ends_in_the_same_bytes(undisturbed, tmp_path):
    out = tmp_path / "run"
    kept = kill_a_run(out)
    finished = interrupt_its_resume(out, kept)
    resumed = ray_eval("run", "--resume", out, "workers=1")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert f"{finished} episodes are finished already" in resumed.stdout
    assert (out / "summary.json").read_bytes() == undisturbed
    # Nothing that was in the ledger ran twice.
    assert len(episode_lines(out)) == EPISODES


def kill(process: subprocess.Popen) -> None:
    """Kills a driver, and waits until Ray has followed it."""
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    # Ray's two agents try for a minute to report the death of their raylet, and end after that.
    _, alive = psutil.wait_procs([child for child in family if "Agent" not in child.name()], timeout=30)
    assert alive == []


def kill_a_run(out: Path) -> int:
    """Starts a run, kills its driver in the middle, and counts the episodes that the ledger kept."""
    process = start("run", *LONG, "workers=2", "--out", out)
    wait_for_episodes(out, 3, process)
    kill(process)
    assert not (out / "summary.json").exists()
    kept = len(read_ledger(out).episodes)
    assert 3 <= kept < EPISODES
    return kept


def interrupt_its_resume(out: Path, kept: int) -> int:
    """Resumes the run, stops it by Ctrl+C, and counts the episodes that are finished now."""
    process = start("run", "--resume", out, "workers=2")
    wait_for_episodes(out, kept + 2, process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert f"ray-eval run --resume {out}" in output
    assert "Traceback" not in output
    assert json.loads((out / "summary.json").read_text())["is_complete"] is False
    finished = len(read_ledger(out).episodes)
    assert kept + 2 <= finished < EPISODES
    return finished


class Told:
    """What a run says; every episode that it tells of is in its ledger by then."""

    def __init__(self, process: subprocess.Popen, out: Path) -> None:
        self.episodes: list[str] = []
        self._process, self._out = process, out

    def until(self, beginning: str) -> None:
        for line in self._process.stdout:
            if told := re.match(r"(\S+): (success|failure) ", line):
                self.episodes.append(told.group(1))
                assert told.group(1) in {each["episode_id"] for each in episode_lines(self._out)}
            if re.match(beginning, line):
                return
        raise AssertionError(beginning)


@pytest.mark.nightly
def test_a_run_that_is_terminated_and_then_killed_has_in_its_ledger_what_it_told_of(undisturbed, tmp_path, monkeypatch):
    """As where a machine is taken back: SIGTERM, and SIGKILL soon. By what the run says, and by no clock."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "orders"))
    orders, out = Orders(tmp_path / "orders"), tmp_path / "run"
    process = start("run", *LONG, "workers=2", "limits.grace_s=600", "--out", out)
    told = Told(process, out)
    told.until(r"\S+: (success|failure) ")
    for number in (1, 2):
        orders.hold(number)
        while orders.taken(number) is None:
            assert process.poll() is None
            time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    told.until("stopping: 2 running episodes may finish")
    # What was running when the signal came, and came to its end after it, counts as well.
    orders.answer(1)
    told.until(r"\S+: (success|failure) ")
    kill(process)
    orders.answer(2)

    assert (out / LEDGER_NAME).read_bytes().endswith(b"\n")
    assert sorted(told.episodes) == sorted(each["episode_id"] for each in episode_lines(out))
    assert 2 <= len(told.episodes) < EPISODES
    monkeypatch.delenv(VARIABLE)
    resumed = ray_eval("run", "--resume", out)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert (out / "summary.json").read_bytes() == undisturbed
    assert len(episode_lines(out)) == EPISODES


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "policy=oracle", "suite=libero_objekt"), "Did you mean 'libero_object'"),
        (("run", "policy=orcale", "suite=fake"), "Did you mean 'oracle'"),
        (("run", "policy=oracle", "suite=fake", "tasks=[7]"), "expected indices from 0 to 2, got 7"),
        (("run", "frist_light"), "expected a file or one of"),
        (("run", "--resume", "nowhere"), "found none"),
        (("run", "first_light", "--out", "."), "choose another --out"),
        (("run", "policy=replay", "suite=fake"), "policy.path"),
        (("episode", "nowhere", "fake/0/0"), "expected a run's folder"),
        (("run", "latency", "execution.latency.trace=nowhere.txt", "--dry-run"), "expected a readable text file"),
        (("run", "latency", "execution.aggregate=avrage", "--dry-run"), "Did you mean 'average'"),
        (("sweep", "latency"), "execution.latency.steps=0,2,4,8"),
        (("sweep", "latency", "seed=0,1", "out=x", "out=y"), "leave one out"),
        (("sweep", "--resume", "nowhere"), "expected a sweep's folder"),
        (("tune", "latency", "policy.chunk_len=8,9", "episodes_per_task=1"), "to search"),
        (("tune", "latency", "episodes_per_task=50"), "set episodes_per_task lower"),
        (("list", "tasks"), "ray-eval list tasks libero_goal"),
        (("serve", "oracel"), "Did you mean 'oracle'"),
        (("run", "x" * 5000), "expected a file or one of"),
        (("run", "first_light", "--out", "x" * 5000), "File name too long"),
        (("run", "--resume", "x" * 5000), "found none"),
        (("run", "first_light", "--ot", "x"), "--ot"),
        (("run", "first_light", "out=a", "--out", "b"), "got it twice"),
        (("run", "--resume", "nowhere", "out=a"), "the folder has its own"),
        (("run", "first_light", "protocol.max_steps.libero_objekt=9"), "Did you mean 'libero_object'"),
        (("doctor", "please"), "please"),
        (("serve", "noop", "serving.address=127.0.0.1:1", "--address", "127.0.0.1:2"), "leave one out"),
        (("serve", "noop", "--address", "0.0.0.0:0"), "0.0.0.0"),
    ],
)
def test_a_users_mistake_is_two_and_no_traceback(words, message, capfd):
    assert ray_eval_here(*words) == 2
    told = capfd.readouterr().err
    assert message in told
    assert "Traceback" not in told


def test_a_dry_run_prints_the_plan_and_starts_nothing(tmp_path):
    done = ray_eval("run", "first_light", "tasks=[0,3]", "protocol.max_steps=80", "--out", tmp_path / "x", "--dry-run")
    assert done.returncode == 0
    assert "# 2 episodes:" in done.stdout
    assert "libero_object/3/0  env_seed 7  max_steps 80" in done.stdout
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("what", "among"),
    [
        ("suites", "libero_spatial"),
        ("policies", "oracle"),
        ("protocols", "openvla_oft"),
        ("evaluations", "first_light"),
    ],
)
def test_list_names_what_there_is(what, among, capfd):
    assert ray_eval_here("list", what) == 0
    assert among in capfd.readouterr().out.replace(",", " ").split()


def test_options_may_stand_between_words(tmp_path):
    words = ("first_light", "--out", tmp_path / "x", "tasks=[0]", "--dry-run", "policy=noop")
    done = ray_eval("run", *words)
    assert done.returncode == 0, done.stderr
    assert "# 1 episode:" in done.stdout
    assert "type: noop" in done.stdout
    assert f"out: {tmp_path / 'x'}" in done.stdout


def test_a_folder_of_a_run_that_never_began_is_free_to_use(tmp_path):
    (tmp_path / ".lock").touch()
    refused = ray_eval("run", "--resume", tmp_path)
    assert refused.returncode == 2
    assert f"--out {tmp_path}" in refused.stderr
    RunFolder(tmp_path, is_resume=False).close()
    assert not tmp_path.exists()


WITHOUT_THE_EVALUATOR = """
import importlib.util, sys
find_spec, hidden = importlib.util.find_spec, {"ray", "libero", "mujoco", "robosuite", "scipy", "psutil"}
importlib.util.find_spec = lambda name: None if name in hidden else find_spec(name)
sys.modules.update(dict.fromkeys(hidden))
from ray_eval.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "words", [("run", "first_light"), ("episode", "x", "y"), ("doctor",)], ids=lambda words: words[0]
)
def test_the_policy_side_alone_says_what_to_install(words):
    command = [sys.executable, "-c", WITHOUT_THE_EVALUATOR, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == (1 if words == ("doctor",) else 2), done.stdout + done.stderr
    assert "pip install 'ray-eval[eval]'" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_doctor_examines_this_machine():
    done = ray_eval("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    found = [line.split()[0] for line in done.stdout.splitlines()[:-1]]
    assert set(found) <= {"ok", "unused", "warning"}
    for what in (
        "versions that change numbers",
        "LIBERO",
        "memory",
        "shared memory",
        "GPU",
        "GL renders",
        "folders",
        "a rehearsed run",
    ):
        assert f"{what}: " in done.stdout


NO_GL = {"__EGL_VENDOR_LIBRARY_FILENAMES": os.devnull, "GALLIUM_DRIVER": "none-such"}
"""Leaves EGL without a vendor and OSMesa without a driver."""


@pytest.mark.nightly
def test_the_doctor_names_a_remedy_where_nothing_renders():
    done = ray_eval("doctor", **NO_GL)
    assert done.returncode == 1, done.stdout + done.stderr
    assert " failure  GL renders: " in done.stdout
    assert "GL renders: unset GALLIUM_DRIVER __EGL_VENDOR_LIBRARY_FILENAMES" in done.stdout


def test_a_run_where_nothing_renders_ends_before_it_begins(tmp_path):
    done = ray_eval("run", "first_light", "tasks=[0]", "ray.dashboard=false", "--out", tmp_path / "run", **NO_GL)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.endswith("; unset GALLIUM_DRIVER __EGL_VENDOR_LIBRARY_FILENAMES\n")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_serve_listens_where_its_keys_say(tmp_path):
    address = f"unix:{tmp_path / 'policy.sock'}"
    server = start("serve", "noop", f"serving.address={address}")
    try:
        assert address in server.stdout.readline()
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)


def test_a_port_that_is_taken_is_said():
    first = start("serve", "noop", "--address", "127.0.0.1:0")
    try:
        address = next(word for word in first.stdout.readline().split() if word.startswith("127.0.0.1:"))
        second = ray_eval("serve", "noop", "--address", address)
        assert second.returncode == 2
        assert address.rpartition(":")[2] in second.stderr
    finally:
        first.send_signal(signal.SIGTERM)
        output, _ = first.communicate(timeout=30)
    assert first.returncode == 0, output


def test_an_episode_runs_again_without_ray_to_the_recorded_trajectory(tmp_path):
    out = tmp_path / "run"
    words = ("policy=random", "suite=fake", "tasks=[1]", "init_states=[2]", "protocol.max_steps=40", "workers=1")
    words += ("execution.mode=async", "execution.latency.uniform.low_ms=50", "execution.latency.uniform.high_ms=300")
    assert ray_eval("run", *words, "--out", out).returncode == 0
    again = ray_eval("episode", out, "fake/1/2", "--video", tmp_path / "x.mp4", "--trace", tmp_path / "x.parquet")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "trajectory: the recorded one" in again.stdout
    assert (tmp_path / "x.mp4").stat().st_size > 1000
    check_trace(tmp_path / "x.parquet", read_ledger(out).episodes["fake/1/2"])
    assert (out / "queue.png").stat().st_size > 1000
    unknown = ray_eval("episode", out, "fake/1/3")
    assert unknown.returncode == 2
    assert "Did you mean 'fake/1/2'" in unknown.stderr


def test_a_run_that_is_terminated_while_it_is_set_up_leaves_nothing(tmp_path):
    process = start("run", *LONG, "workers=1", "--out", tmp_path / "run")
    for line in process.stdout:
        if line.startswith("starting Ray"):
            break
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "ray-eval: interrupted" in output
    assert "Traceback" not in output
    assert not (tmp_path / "run").exists()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []


@pytest.mark.nightly
def test_a_run_whose_policy_does_not_answer_can_be_terminated_and_goes_on_once_it_does(undisturbed, tmp_path):
    out = tmp_path / "run"
    mute = ("serving.slowdown_ms=[600000,600000]", "limits.grace_s=1")
    process = start("run", *LONG, *mute, "workers=1", "--out", out)
    wait_for_episodes(out, 0, process)
    time.sleep(2)  # the first request is under way
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 130, output
    assert read_ledger(out).episodes == {}
    done = ray_eval("run", "--resume", out, "serving.slowdown_ms=null")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (out / "summary.json").read_bytes() == undisturbed


def test_a_run_that_is_terminated_says_at_once_what_it_waits_for_and_how_to_go_on(tmp_path):
    out = tmp_path / "run"
    process = start("run", *LONG, "workers=1", "protocol.max_steps=2000", "--out", out)
    wait_for_episodes(out, 1, process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 130, output
    lines = output.splitlines()
    # The signal may come between two episodes.
    said = ("stopping: 1 running episode may finish within 20 s", "stopping: 0 running episodes may finish within 20 s")
    assert any(line.startswith(said) for line in lines), output
    assert f"  ray-eval run --resume {out}" in lines
    assert len(read_ledger(out).episodes) < EPISODES


@pytest.fixture
def head():
    """A cluster of one node that `ray start` started, on loopback, with folder and ports of its own."""
    folder = tempfile.mkdtemp(prefix="head-", dir="/tmp")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("ray")
    places = ["--node-ip-address=127.0.0.1", f"--port={port}", f"--temp-dir={folder}", "--num-cpus=3"]
    words = ["start", "--head", *places, "--include-dashboard=false", "--disable-usage-stats", "--block"]
    process = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_somebody(address: str) -> None:
    host, _, port = address.partition(":")
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        else:
            return


def test_a_cluster_that_ray_start_made_is_joined_with_its_token_and_carries_what_fits(head, tmp_path):
    wait_for_somebody(head)
    words = ("policy=random", "suite=fake", "episodes_per_task=2", "workers=auto", f"ray.address={head}")
    done = ray_eval("run", *words, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"joining the Ray at {head}" in done.stdout
    # Three CPUs, one of them the policy's.
    assert read_ledger(tmp_path / "run").header["provenance"]["workers"] == 2


def check_trace(path: Path, record: dict) -> None:
    """The trace tells the episode of the ledger: its queue, its underruns, its executed actions."""
    columns = pq.read_table(path).to_pydict()
    assert columns["step"] == list(range(record["steps"]))
    assert columns["queue_length"] == record["inside"]["queue_lengths"]
    assert sum(columns["is_underrun"]) == record["underrun_steps"] > 0
    assert sum(columns["is_captured"]) == record["requests"]
    actions = np.array(columns["action"], dtype="<f8")
    assert hashlib.sha256(actions.tobytes()).hexdigest() == record["actions_sha256"]
    assert sorted(set(columns["source"]) - {None}) == list(
        range(max(s for s in columns["source"] if s is not None) + 1)
    )


def test_a_lost_worker_is_told_of_once_in_the_runs_own_words_without_a_colour(tmp_path):
    out = tmp_path / "run"
    process = start("run", *LONG, "workers=1", f"out={out}")
    wait_for_episodes(out, 1, process)
    (worker,) = workers_of(process.pid)
    worker.kill()
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert said.count("attempt 1 broke (EpisodeError: worker-0 fake: expected a result, got its process's end") == 1
    assert "(raylet)" not in said
    assert "\x1b" not in said


def workers_of(driver: int) -> list[psutil.Process]:
    """Ray's processes of workers below a driver."""
    below = psutil.Process(driver).children(recursive=True)
    return [each for each in below if " ".join(each.cmdline()[:1]).startswith("ray::Worker")]


PRIORITIES = """
import os, ray
from ray_eval.config import RayConfig
from ray_eval.driver.cluster import ray_session

with ray_session(RayConfig(dashboard=False), "priority", 1, 0):
    its = ray.get(ray.remote(lambda: os.nice(0)).remote())
    print("more nice by", its - os.nice(0), "RAY_worker_niceness" in os.environ)
"""


@pytest.mark.parametrize(("said", "found"), [({}, "0 False"), ({"RAY_worker_niceness": "7"}, "7 True")])
def test_workers_run_at_the_runs_own_priority_unless_the_user_says_otherwise(said, found):
    done = subprocess.run(
        [sys.executable, "-c", PRIORITIES], env={**os.environ, **said}, capture_output=True, text=True, check=True
    )
    assert f"more nice by {found}" in done.stdout


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["gcs_server", "raylet"])
def test_a_run_whose_ray_is_killed_ends_at_once_with_the_cause_leaves_nothing_and_goes_on(undisturbed, tmp_path, kind):
    out = tmp_path / "run"
    process = start("run", *LONG, "serving.slowdown_ms=[20,20]", "workers=2", "--out", out)
    wait_for_episodes(out, 1, process)
    family = psutil.Process(process.pid).children(recursive=True)
    next(child for child in family if child.name() == kind).kill()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 2, output
    assert f"ray-eval: ray: expected the {kind} that this run started" in output
    assert [child for child in family if child.is_running()] == []
    assert (out / "summary.json").exists()
    assert ray_eval("run", "--resume", out, "serving.slowdown_ms=null").returncode == 0
    assert (out / "summary.json").read_bytes() == undisturbed


@pytest.mark.nightly
def test_a_run_whose_terminal_goes_keeps_what_is_finished_and_leaves_nothing(undisturbed, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "ray_eval", "run", *LONG, "workers=2", "limits.grace_s=1", "--out", str(out)]
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, command)
    with contextlib.suppress(OSError):  # what a terminal without a program answers
        while not out.exists() or not (out / LEDGER_NAME).exists() or len(episode_lines(out)) < 1:
            if select.select([terminal], [], [], 0.1)[0]:
                os.read(terminal, 65536)
    family = psutil.Process(pid).children(recursive=True)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert [child for child in family if child.is_running()] == []
    assert (out / "summary.json").exists()
    assert ray_eval("run", "--resume", out).returncode == 0
    assert (out / "summary.json").read_bytes() == undisturbed

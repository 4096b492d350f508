"""Where people really start it: shared machines, unwritable homes, small groups, long paths, terminals that go away."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from awkward import as_user, memory_group

from ray_eval.report.ledger import LEDGER_NAME

FAKE = ("policy=random", "suite=fake", "workers=1", "protocol.max_steps=40", "ray.dashboard=false", "tasks=[0]")
NOOP = (
    *("policy=noop", "suite=libero_object", "tasks=[0]", "init_states=[0]", "workers=1", "ray.dashboard=false"),
    *("protocol.max_steps=20", "protocol.settle_steps=1"),
)
RUN = [sys.executable, "-m", "ray_eval", "run"]


@pytest.fixture
def shared():
    """A folder in which every user may write, as /tmp."""
    folder = Path(tempfile.mkdtemp(prefix="shared-", dir="/tmp"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def trajectory(out: Path) -> str:
    records = [json.loads(line) for line in (out / LEDGER_NAME).read_text().splitlines()]
    return next(record["trajectory_sha256"] for record in records if record["kind"] == "episode")


def on_a_terminal_that_goes_away(words, out: Path, **environment: str) -> int:
    """Exit code of a run whose terminal is closed after its first episode, SIGHUP being ignored."""
    master, terminal = os.openpty()
    process = subprocess.Popen(
        ["bash", "-c", "trap '' HUP; exec \"$@\"", "bash", *words],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    os.close(terminal)
    seen = b""
    while not (out / LEDGER_NAME).exists() or (out / LEDGER_NAME).read_bytes().count(b"\n") < 2:
        try:
            seen += os.read(master, 100_000)
        except OSError:  # nobody is at the other end any more
            pytest.fail(f"it ended by itself: {seen.decode()}")
    os.close(master)
    return process.wait(timeout=200)


def test_a_closed_terminal_a_long_temporary_folder_and_no_home_are_no_hindrance(tmp_path):
    temporary, out = tmp_path / ("long " * 20).strip(), tmp_path / "run"
    temporary.mkdir()
    words = [*RUN, *FAKE, "episodes_per_task=5", "--out", str(out)]
    # Not even root makes a folder there.
    code = on_a_terminal_that_goes_away(words, out, TMPDIR=str(temporary), HOME="/proc/nowhere")
    assert code == 0
    assert json.loads((out / "summary.json").read_text())["planned"] == 5
    assert (out / "episodes.csv").exists()


def test_a_working_folder_that_was_removed_is_said(tmp_path):
    script = f"cd {tmp_path} && mkdir gone && cd gone && rmdir ../gone && exec {sys.executable} -P -m ray_eval run {{}}"
    command = ["bash", "-c", script.format(" ".join(FAKE))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    said = "working folder: expected one that is there, got one that was removed; cd to another and start again"
    assert done.stderr == f"ray-eval: {said}\n"


SMALL = """
import re, sys
import ray, ray_eval
from ray_eval.errors import SetupError
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
words = ["policy=random", "suite=fake", "workers=1", "protocol.max_steps=5", "tasks=[0]", "episodes_per_task=1"]
try:
    ray_eval.evaluate(None, [*words, f"out={sys.argv[1]}/one"])
except SetupError as error:
    print(error)
    ray.shutdown()
    count = int(re.search(r"write ray.init\\(num_cpus=(\\d+)\\)", str(error)).group(1))
    ray.init(address="local", num_cpus=count, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    print(ray_eval.evaluate(None, [*words, f"out={sys.argv[1]}/two"]).is_complete)
"""


@pytest.mark.nightly
def test_a_programs_own_ray_that_is_too_small_is_said_at_once_and_the_remedy_works(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SMALL, tmp_path], capture_output=True, text=True, timeout=300, check=True
    )
    said, works = done.stdout.splitlines()[-2:]
    assert said.startswith(
        "ray: expected 2 CPUs or more (1 for the policy and 1 for a worker), got this program's own Ray"
    )
    assert works == "True"


@pytest.mark.nightly
def test_two_users_of_one_machine_run_the_same(shared):
    # What robosuite would open, of a third user.
    Path("/tmp/robosuite.log").touch()
    outs = []
    for uid in (54_321, 54_322):
        home, out = shared / f"home-{uid}", shared / f"run-{uid}"
        home.mkdir()
        os.chown(home, uid, uid)
        done = as_user(uid, [*RUN, *NOOP, "--out", out], shared, HOME=str(home), TMPDIR=str(shared))
        assert done.returncode == 0, done.stdout + done.stderr
        outs.append(out)
    assert trajectory(outs[0]) == trajectory(outs[1])


@pytest.mark.nightly
@pytest.mark.parametrize("home", [{"HOME": "/nonexistent"}, {}], ids=["a home that is not there", "no home"])
def test_a_user_id_without_a_name_runs_without_a_home(home, shared):
    uid = 54_323
    doctor = [sys.executable, "-m", "ray_eval", "doctor"]
    # A Ray that the user has elsewhere is none of a run's business.
    done = as_user(uid, doctor, shared, TMPDIR=str(shared), RAY_ADDRESS="192.0.2.1:6379", **home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing to mend" in done.stdout
    done = as_user(uid, [*RUN, *NOOP, "--out", shared / "run"], shared, TMPDIR=str(shared), **home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (shared / "~").exists()


@pytest.mark.nightly
def test_a_finished_run_of_another_user_is_shown(shared):
    out = shared / "run"
    subprocess.run([*RUN, *FAKE, "episodes_per_task=1", "--out", out], check=True, capture_output=True)
    done = as_user(54_324, [*RUN, "--resume", out], shared, HOME="/nonexistent")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every episode is finished already" in done.stdout
    assert "results: " in done.stdout


@pytest.mark.nightly
def test_a_control_group_of_three_gigabytes_is_the_machine(tmp_path):
    with memory_group(3_000_000_000) as group:
        code = f"echo $$ > {group}/cgroup.procs && exec {sys.executable} -c '{{}}'"
        asked = (
            "from ray_eval.driver.cluster import auto_workers; from ray_eval.driver.readiness import memory; "
            "from ray_eval.driver.limits import memory_limit; print(memory()); "
            "print(auto_workers(64, memory_limit().available_bytes, 0))"
        )
        done = subprocess.run(["bash", "-c", code.format(asked)], capture_output=True, text=True, check=True)
    said, workers = done.stdout.splitlines()
    assert " of 3.0 GB free by the control group " in said
    assert group.parent.name in said
    assert workers == "1"


@pytest.mark.nightly
def test_uv_run_runs_in_the_environment_that_is_there(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "uv"], check=True)
    subprocess.run([tmp_path / "uv/bin/pip", "install", "-q", "uv"], check=True)
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text('[project]\nname = "hers"\nversion = "0"\nrequires-python = ">=3.11"\n')
    (project / "recordings").write_bytes(bytes(1000))
    uv = [tmp_path / "uv/bin/uv", "run", "--no-sync", "--offline"]
    command = [*uv, "python", "-m", "ray_eval", "run", *FAKE, "episodes_per_task=1", "--out", tmp_path / "run"]
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    done = subprocess.run(
        command,
        cwd=project,
        env={**environment, "UV_PROJECT_ENVIRONMENT": sys.prefix},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "summary.json").exists()


@pytest.mark.nightly
def test_a_node_short_of_memory_is_one_line_that_says_whose_it_is(tmp_path):
    done = subprocess.run(
        [*RUN, *FAKE, "episodes_per_task=1", "--out", tmp_path / "run"],
        env={**os.environ, "RAY_memory_usage_threshold": "0.01"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "killed by Ray" in done.stderr.splitlines()[-1]
    assert "GB of them by others; free memory there" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr

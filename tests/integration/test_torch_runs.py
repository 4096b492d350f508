"""A stochastic torch policy through whole runs: the same bytes for any number of workers."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

import ray_eval

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ("policy=torch", "policy.entrypoint=examples.torch_policy:Mlp")
REPLICATED = ("serving.batch_size=2", "episodes_per_task=2", "protocol.max_steps=40")
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)


@pytest.fixture(scope="module")
def ray_session():
    import ray

    # The policy's process looks for the user's module where this one was started.
    ray.init(
        address="local",
        num_cpus=8,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        num_gpus=0,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    yield ray
    ray.shutdown()


def summary_of(out, *overrides, suite="fake"):
    evaluation = ray_eval.evaluate(None, [f"suite={suite}", *EXAMPLE, f"out={out}", *overrides])
    assert evaluation.is_complete
    return (evaluation.out / "summary.json").read_bytes()


def test_a_stochastic_torch_policy_gives_the_same_bytes_for_one_worker_and_for_six(ray_session, tmp_path):
    words = ("serving.batch_size=4", "episodes_per_task=4", "protocol.max_steps=40")
    one = summary_of(tmp_path / "one", *words, "workers=1")
    six = summary_of(tmp_path / "six", *words, "workers=6")
    assert one == six
    assert json.loads(one)["is_reproducible"]
    assert summary_of(tmp_path / "seed", *words, "workers=1", "seed=1") != one


@pytest.fixture(scope="module")
def undisturbed(ray_session, tmp_path_factory):
    return summary_of(tmp_path_factory.mktemp("undisturbed") / "run", *REPLICATED, "workers=2")


@pytest.mark.nightly
def test_the_number_of_policy_actors_changes_nothing(ray_session, undisturbed, tmp_path):
    assert summary_of(tmp_path / "run", *REPLICATED, "workers=3", "serving.replicas=3") == undisturbed


def test_when_one_of_two_policy_actors_is_killed_its_workers_turn_to_the_other(ray_session, undisturbed, tmp_path):
    ledger = tmp_path / "run" / "episodes.jsonl"
    thread = threading.Thread(target=kill_a_policy_actor, args=(ledger,))
    thread.start()
    disturbed = summary_of(tmp_path / "run", *REPLICATED, "workers=2", "serving.replicas=2")
    thread.join()
    assert disturbed == undisturbed
    attempts = {json.loads(line).get("attempt", 1) for line in ledger.read_text().splitlines()}
    assert attempts == {1}


def kill_a_policy_actor(ledger):
    while not ledger.exists() or len(ledger.read_bytes().splitlines()) < 2:
        time.sleep(0.02)
    children = psutil.Process().children(recursive=True)
    actors = [child for child in children if "ray::PolicyActor" in " ".join(title_of(child))]
    assert len(actors) >= 2
    actors[0].kill()


def title_of(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_throughput_says_that_it_promises_no_bytes(ray_session, tmp_path):
    words = ("serving.determinism=throughput", "episodes_per_task=1", "tasks=[0]", "protocol.max_steps=20", "workers=1")
    assert not json.loads(summary_of(tmp_path / "run", *words))["is_reproducible"]
    header = json.loads((tmp_path / "run" / "episodes.jsonl").read_text().splitlines()[0])
    assert "no bytes are promised" in " ".join(header["provenance"]["remarks"])


RUN = (sys.executable, "-m", "ray_eval", "run", "policy=torch", "suite=fake", "workers=1")
BROKEN = """
class Foreign(Exception):
    def __init__(self, what, more):
        super().__init__(what)

class Broken:
    def __init__(self):
        raise Foreign("it is broken", 1)

def crashes():
    import os
    os.abort()
"""


@pytest.mark.nightly
@pytest.mark.parametrize("words", [(), (f"policy.python={sys.executable}",)])
def test_a_policy_whose_constructor_raises_is_one_line_and_exit_code_2(tmp_path, words):
    said = refused(tmp_path, "policy.entrypoint=users_broken:Broken", *words)
    assert "got Foreign: it is broken" in said
    assert "users_broken.py:8 in __init__" in said
    Path(said.rpartition(" in ")[2]).unlink()


@pytest.mark.nightly
def test_a_policy_that_takes_its_process_along_is_not_loaded_again_and_again(tmp_path):
    said = refused(tmp_path, "policy.entrypoint=users_broken:crashes")
    assert "policy-0 torch: expected its policy to be loaded, got the end of the process that did" in said


def refused(folder, *words):
    """The one line that a run of a broken policy ends with."""
    (folder / "users_broken.py").write_text(BROKEN)
    done = subprocess.run(
        [*RUN, *words, f"out={folder / 'run'}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{folder}"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 2
    (said,) = (line for line in done.stderr.splitlines() if line.startswith("ray-eval:"))
    assert "Traceback" not in done.stdout + done.stderr
    return said


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_on_libero_as_well(ray_session, tmp_path):
    words = ("serving.batch_size=4", "tasks=[0,1]", "episodes_per_task=2", "protocol.max_steps=40")
    one = summary_of(tmp_path / "one", *words, "workers=1", suite="libero_object")
    assert summary_of(tmp_path / "two", *words, "workers=2", suite="libero_object") == one


def distinct_images(lines: list[str]) -> dict[str, int]:
    """By episode: how many images there are among the observations that a policy was sent, each counted once."""
    seen: dict[str, set[int]] = {}
    for line in lines:
        episode, _, step = line.rpartition(" ")
        seen.setdefault(episode, set()).update((max(0, int(step) - 1), int(step)))
    return {episode: 2 * len(steps) for episode, steps in seen.items()}


@pytest.mark.parametrize(
    ("suite", "words"),
    [
        ("fake", ("episodes_per_task=2", "protocol.max_steps=60")),
        pytest.param(
            "libero_object", ("tasks=[0,4]", "episodes_per_task=1", "protocol.max_steps=30"), marks=pytest.mark.nightly
        ),
    ],
)
def test_a_run_draws_exactly_the_images_that_the_policy_was_sent(ray_session, tmp_path, suite, words):
    notes = tmp_path / "notes"
    policy = ("policy=torch", "policy.entrypoint=tests.integration.noting_policy:Noting")
    overlapping = ("execution.mode=async", "execution.latency.steps=2", "execution.chunk_size_threshold=0.5")
    evaluation = ray_eval.evaluate(
        None,
        [
            f"suite={suite}",
            *policy,
            f"policy.kwargs.path={notes}",
            f"out={tmp_path / 'run'}",
            "workers=2",
            *overlapping,
            *words,
        ],
    )
    assert evaluation.is_complete
    rows = [json.loads(line) for line in (evaluation.out / "episodes.jsonl").read_text().splitlines()]
    drawn = {
        f"{row['suite']} {row['task_id']} {row['init_state_id']} {row['repeat']}": row["renders"]
        for row in rows
        if "renders" in row
    }
    assert drawn
    assert all(distinct_images(notes.read_text().splitlines())[episode] == count for episode, count in drawn.items())

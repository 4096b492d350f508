"""Protocol `lerobot_06` against `lerobot-eval` of LeRobot 0.6 itself, episode by episode."""

import json
import os
import subprocess
import sys

import pytest
from lerobot_environment import HERE, lerobot_environment, run_in_lerobot

from ray_eval.envs.gl import choose_backend, gl_environment

STEPS = 30
EPISODES = 3
TASKS = {"libero_object": 3, "libero_goal": 7, "libero_10": 9}


@pytest.fixture(scope="module")
def act(lerobot06_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    run_in_lerobot("make_checkpoints06.py", folder, "act_360", python=lerobot06_python)
    return folder / "act_360"


def lerobots(act, suite, task_id, python, folder):
    """The episodes of lerobot-eval, in order, and what it reports of them."""
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    words = [f"--policy.path={act}", "--policy.device=cpu", "--env.type=libero", f"--env.task={suite}"]
    words += [f"--env.task_ids=[{task_id}]", f"--env.episode_length={STEPS}", f"--output_dir={folder}/eval"]
    words += [f"--eval.n_episodes={EPISODES}", "--eval.batch_size=1", "--eval.use_async_envs=false"]
    environment = {**lerobot_environment(), **gl_environment(choose_backend("auto").backend)}
    done = subprocess.run(
        [sys.executable, "-P", HERE / "own_eval.py", site, folder / "notes.json", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((folder / "eval" / "eval_info.json").read_text())
    return json.loads((folder / "notes.json").read_text()), report["per_task"][0]["metrics"]["successes"]


def ours(act, suite, task_id, python, folder):
    command = [sys.executable, "-m", "ray_eval", "run", f"suite={suite}", f"tasks=[{task_id}]", "protocol=lerobot_06"]
    command += [f"episodes_per_task={EPISODES}", f"protocol.max_steps={STEPS}", "policy=lerobot", "workers=1"]
    command += [f"policy.path={act}", f"policy.python={python}", f"out={folder}/run", "ray.dashboard=false"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (folder / "run" / "episodes.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return sorted((line for line in found if line["kind"] == "episode"), key=lambda line: line["init_state_id"])


@pytest.mark.nightly
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("suite", TASKS)
def test_the_episodes_are_those_of_lerobot_eval(suite, act, lerobot06_python, tmp_path):
    """The same init states, seeds, steps and outcomes; and the same simulator states, which follow from the images."""
    theirs, successes = lerobots(act, suite, TASKS[suite], lerobot06_python, tmp_path)
    episodes = ours(act, suite, TASKS[suite], lerobot06_python, tmp_path)
    assert len(theirs) == len(episodes) == EPISODES
    assert {tuple(note["image_shape"]) for note in theirs} == {(360, 360, 3)}
    said = [(e["init_state_id"], e["env_seed"], e["steps"], e["outcome"] == "success") for e in episodes]
    assert said == [(n["init_state_id"], n["seed"], n["steps"], n["is_success"]) for n in theirs]
    assert [e["outcome"] == "success" for e in episodes] == successes
    assert [e["trajectory_sha256"] for e in episodes] == [n["trajectory_sha256"] for n in theirs]

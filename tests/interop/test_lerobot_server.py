"""LeRobot's own, unmodified `policy_server` as a policy of ours."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ray_eval
from ray_eval.errors import EpisodeError, PolicyChanged, SetupError
from ray_eval.policies import make_policy
from ray_eval.policies.contract import trial_observation
from ray_eval.sections import LeRobotServerPolicySection

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
PYTHON = Path(os.environ.get("RAY_EVAL_LEROBOT_PYTHON", ROOT / ".venv-lerobot" / "bin" / "python"))
START_S = 900

pytestmark = [
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no LeRobot at {PYTHON}; scripts/install_lerobot.sh"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_kept():
    yield
    ray_eval.release()


def environment():
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }


def lerobot(*arguments):
    subprocess.run([PYTHON, *arguments], env=environment(), check=True, timeout=START_S)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    lerobot(HERE / "make_checkpoints.py", folder, "act")
    return folder / "act"


@contextlib.contextmanager
def policy_server(folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [PYTHON, "-m", "lerobot.async_inference.policy_server", "--host=127.0.0.1", f"--port={port}"]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=log, stderr=log)
        try:
            wait_for(port, process)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def wait_for(port, process):
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.2)
    pytest.fail("LeRobot's server did not start")


def section(address, path, **settings):
    return LeRobotServerPolicySection(addresses=(address,), trust=True, path=str(path), timeout_s=60, **settings)


def test_lerobots_server_gives_what_lerobots_own_code_gives(tmp_path, checkpoint):
    with policy_server(tmp_path) as address:
        policy = make_policy(section(address, checkpoint))
        assert (policy.spec.chunk_len, policy.spec.is_reproducible) == (20, False)
        assert not any("another one of the same shape" in remark for remark in policy.spec.remarks)
        rows = [trial_observation(policy.spec, index) for index in range(3)]
        found = np.stack([chunk.actions for chunk in policy.infer_batch(rows)])
        with pytest.raises(SetupError, match="policy server at"):
            make_policy(section(address, tmp_path / "nowhere"))
        with pytest.raises(SetupError, match=r"policy server at .*(not supported|UNKNOWN)"):
            make_policy(section(address, checkpoint, policy_type="oracle"))
        exchanged = tmp_path / "exchanged"
        shutil.copytree(checkpoint, exchanged)
        policy = make_policy(section(address, exchanged))
        assert policy.spec.digest is not None
        policy._pool.hang_up()
        policy.infer_batch(rows[:1])
        (exchanged / "config.json").write_text((exchanged / "config.json").read_text() + "\n")
        policy._pool.hang_up()
        with pytest.raises(PolicyChanged, match=rf"expected the checkpoint that the run began with in {exchanged} "):
            policy.infer_batch(rows[:1])
    np.savez(tmp_path / "rows.npz", **{key: np.stack([row.arrays[key] for row in rows]) for key in policy.spec.keys})
    lerobot(HERE / "lerobot_reference.py", checkpoint, tmp_path / "rows.npz", tmp_path / "chunks.npy")
    np.testing.assert_allclose(found, np.load(tmp_path / "chunks.npy"), rtol=1e-5, atol=1e-6)


@pytest.mark.nightly
def test_a_server_that_stops_is_an_attempt_lost(tmp_path, checkpoint):
    with policy_server(tmp_path) as address:
        policy = make_policy(section(address, checkpoint, chunk_len=20))
    # Well before the minutes that an answer may take: nobody is there any more.
    with pytest.raises(EpisodeError, match="expected an answer within 5 s, got UNAVAILABLE"):
        policy.infer_batch([trial_observation(policy.spec, 0)])


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("is_theirs", [True, False], ids=["LeRobot's own server", "ours"])
def test_the_described_command_evaluates_a_checkpoint(tmp_path, checkpoint, is_theirs):
    """The command of LeRobot's client, with a simulator in the robot's place."""
    with contextlib.ExitStack() as stack:
        options = ["--env.type=libero", "--env.task=libero_10", "--env.task_ids=[0]", "--env.episode_length=40"]
        options += ["--policy_type=act", f"--pretrained_name_or_path={checkpoint}", "--policy_device=cpu"]
        options += ["--n_episodes=1", "--actions_per_chunk=50", f"out={tmp_path / 'run'}", "workers=1"]
        if is_theirs:
            options += [f"--server_address={stack.enter_context(policy_server(tmp_path))}"]
        else:
            options += [f"policy.python={PYTHON}"]
        done = subprocess.run(
            [sys.executable, "-m", "ray_eval.sim_client", *options],
            capture_output=True, text=True, check=False, cwd=tmp_path, timeout=900,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the same by hand: ray-eval run policy=lerobot"), done.stdout
    records = [json.loads(line) for line in (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()]
    (episode,) = [record for record in records if record["kind"] == "episode"]
    assert (episode["outcome"], episode["steps"], episode["requests"]) == ("failure", 40, 2)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_a_libero_episode_is_driven_by_lerobots_server(tmp_path, checkpoint):
    with policy_server(tmp_path) as address:
        words = ["suite=libero_object", "tasks=[0]", "episodes_per_task=1", "protocol=lerobot", "protocol.max_steps=40"]
        policy = [f"policy.addresses=[{address}]", f"policy.path={checkpoint}", "policy.trust=true"]
        more = [
            "policy=lerobot_server",
            "policy.policy_type=act",
            "protocol.replan_steps=20",
            f"out={tmp_path / 'run'}",
        ]
        evaluation = ray_eval.evaluate(None, [*words, *policy, *more, "workers=1"])
    (result,) = evaluation.results
    assert (str(result.outcome), result.steps, result.requests) == ("failure", 40, 2)

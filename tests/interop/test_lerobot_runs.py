"""Whole runs of LeRobot's policies: the evaluator here, LeRobot in its own environment, the wire between them."""

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from lerobot_environment import PYTHON, run_in_lerobot
from recorded import NAMES, RecordingEnv

from ray_eval.envs.libero.gl import choose_backend, gl_environment
from ray_eval.rollout.client import PolicyClient
from ray_eval.rollout.episode import Episode
from ray_eval.rollout.latency import FixedLatency
from ray_eval.rollout.seeds import request_seed
from ray_eval.sections import (
    BatchingSection,
    EnvSettings,
    ImageRecipe,
    LeRobotPolicySection,
    ListenSection,
    ObservationRecipe,
    QueueRules,
)
from ray_eval.serving.actor import PolicyActor
from ray_eval.types import EpisodeSpec


def run(*words):
    command = [
        sys.executable,
        "-m",
        "ray_eval",
        "run",
        "suite=fake",
        "policy=lerobot",
        f"policy.python={PYTHON}",
        *words,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


@pytest.fixture
def act(checkpoints):
    return checkpoints / "act_renamed"


RENAMED = ("policy.rename.image=front", "policy.rename.image2=wrist")


def test_a_run_has_the_policy_in_another_interpreter_and_says_what_looks_wrong(act, tmp_path):
    done = run(
        f"policy.path={act}",
        *RENAMED,
        "protocol=lerobot",
        "tasks=[0]",
        "episodes_per_task=2",
        "protocol.max_steps=12",
        f"out={tmp_path}/run",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "note: images: the policy's 96 px, not the 256 px of protocol lerobot" in " ".join(done.stdout.split())
    assert "WARNING: observation.state is outside the training data" in " ".join(done.stdout.split())
    header = json.loads((tmp_path / "run" / "episodes.jsonl").read_text().splitlines()[0])
    assert header["identity"]["environment.policy_lerobot"] == "0.4.4"
    assert header["identity"]["environment.policy_sha256"]
    assert "policy.python" not in header["identity"]
    assert any("outside the training data" in line for line in header["provenance"]["remarks"])
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["is_complete"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (RENAMED[:1], "write policy.rename.image2=wrist or policy.absent=[wrist]"),
        pytest.param((*RENAMED, "policy.device=cuda"), "policy.device=cuda", marks=pytest.mark.nightly),
    ],
)
def test_what_the_other_interpreter_refuses_is_one_error_and_exit_code_2(act, words, message, tmp_path):
    if "policy.device=cuda" in words and has_cuda():
        pytest.skip("there is a CUDA device")
    done = run(f"policy.path={act}", *words, f"out={tmp_path}/run")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "run").exists()


def has_cuda():
    command = [PYTHON, "-c", "import sys, torch; sys.exit(torch.cuda.is_available())"]
    return subprocess.run(command, check=False).returncode != 0


# --- nightly: whole episodes on real LIBERO ---

EPISODE = EpisodeSpec("libero_object", 3, 5, env_seed=1005, max_steps=280)
WORDS = {"act_renamed": {"image": "front", "image2": "wrist"}}


@pytest.fixture(scope="module")
def simulator():
    """LIBERO's env, with a renderer that works, and third parties' import warnings kept out."""
    environment = gl_environment(choose_backend("auto").backend)
    os.environ.update({name: environment[name] for name in environment if name != "CUDA_VISIBLE_DEVICES"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import libero.libero.envs  # noqa: F401

        from ray_eval.envs.libero.env import LiberoEnv

    return LiberoEnv


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["act", "act_ensemble", "diffusion", "diffusion_ddim", "vqbet", "smolvla"])
def test_over_a_whole_libero_episode_every_action_is_lerobots_own(name, simulator, checkpoints, tmp_path):
    section = LeRobotPolicySection(str(checkpoints / name), python=str(PYTHON))
    policy = PolicyActor("policy-0 lerobot", section, ListenSection(f"unix:{tmp_path}/s", "token"), BatchingSection())
    spec = policy.spec()
    images = ImageRecipe(render_size_px=spec.image_size_px, image_size_px=spec.image_size_px)
    recipe = ObservationRecipe(spec.keys, spec.n_obs_steps, images)
    env = RecordingEnv(simulator(EPISODE.suite, EPISODE.task_id, EnvSettings(recipe)), spec.n_obs_steps)
    client = PolicyClient(policy.connection)
    rules = QueueRules(horizon=spec.replan_steps, chunk_len=spec.chunk_len, action_dim=spec.action_dim)
    result = Episode(env, client, EPISODE, rules, FixedLatency(0), request_prefix="nightly").run()
    instruction = env.instruction
    env.close()
    client.close()
    policy.close()

    np.savez(tmp_path / "recording.npz", **env.recording())
    job = {
        "checkpoint": str(checkpoints / name),
        "recording": str(tmp_path / "recording.npz"),
        "cameras": {NAMES[key]: NAMES[key] for key in spec.keys if "images" in key},
        "task": instruction,
        "seeds": [request_seed("noise", EPISODE, index) for index in range(EPISODE.max_steps)],
        "actions": str(tmp_path / "actions.npy"),
    }
    (tmp_path / "jobs.json").write_text(json.dumps([job]))
    run_in_lerobot("plain_loop.py", tmp_path / "jobs.json")
    assert result.steps == len(env.actions) == EPISODE.max_steps
    assert np.array_equal(np.stack(env.actions), np.load(tmp_path / "actions.npy"))

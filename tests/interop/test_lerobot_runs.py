"""Whole runs of LeRobot's policies: the evaluator here, LeRobot in its own environment, the wire between them."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from lerobot_environment import PYTHON, ROOT, run_in_lerobot
from recorded import NAMES, RecordingEnv

from ray_eval.envs.gl import choose_backend, gl_environment
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
    RtcSection,
)
from ray_eval.serving.actor import PolicyActor
from ray_eval.types import EpisodeSpec


def test_the_tiny_checkpoint_of_the_examples_runs_and_is_refused_without_its_pipelines(
    tmp_path,
):
    folder = tmp_path / "act"
    run_in_lerobot(ROOT / "examples" / "tiny_act.py", folder)
    client = [sys.executable, "-m", "ray_eval.sim_client", "--env.type=libero", "--env.task=libero_10"]
    client += ["--env.task_ids=[0]", "--policy_type=act", f"--pretrained_name_or_path={folder}", "--policy_device=cpu"]
    client += ["--n_episodes=1", "--actions_per_chunk=50", "--env.episode_length=60", f"policy.python={PYTHON}"]
    client += ["workers=1", "ray.dashboard=false", f"out={tmp_path / 'run'}"]
    done = subprocess.run(client, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0/1" in done.stdout
    (folder / "policy_postprocessor.json").unlink()
    refused = subprocess.run([*client, "--dry-run"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "expected policy_preprocessor.json and policy_postprocessor.json, or statistics among" in refused.stderr


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
        pytest.param(
            RENAMED[:1], "write policy.rename.image2=wrist or policy.absent=[wrist]", marks=pytest.mark.nightly
        ),
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


RTC = {"execution_horizon": 8, "max_guidance_weight": 5.0}
THRESHOLD = 0.5
LATENCY_STEPS = 3
RTC_EPISODE = dataclasses.replace(EPISODE, max_steps=60)


@contextlib.contextmanager
def played(section, episode, rules_of, latency, simulator, tmp_path):
    """An episode on LIBERO with a policy in its own interpreter: its result, the env that recorded it, and a job."""
    policy = PolicyActor("policy-0 lerobot", section, ListenSection(f"unix:{tmp_path}/s", "token"), BatchingSection())
    spec = policy.spec()
    images = ImageRecipe(render_size_px=spec.image_size_px, image_size_px=spec.image_size_px)
    recipe = ObservationRecipe(spec.keys, spec.n_obs_steps, images)
    env = RecordingEnv(simulator(episode.suite, episode.task_id, EnvSettings(recipe)), spec.n_obs_steps)
    client = PolicyClient(policy.connection)
    result = Episode(env, client, episode, rules_of(spec), latency, request_prefix="nightly").run()
    np.savez(tmp_path / "recording.npz", **env.recording())
    job = {
        "checkpoint": section.path,
        "recording": str(tmp_path / "recording.npz"),
        "cameras": {NAMES[key]: NAMES[key] for key in spec.keys if "images" in key},
        "task": env.instruction,
        "seeds": [request_seed("noise", episode, index) for index in range(episode.max_steps)],
        "actions": str(tmp_path / "actions.npy"),
    }
    yield result, env, job
    env.close()
    client.close()
    policy.close()


def lerobots_own(job, tmp_path):
    (tmp_path / "jobs.json").write_text(json.dumps([job]))
    run_in_lerobot("plain_loop.py", tmp_path / "jobs.json")
    return np.load(job["actions"])


@pytest.mark.nightly
def test_with_latency_every_action_on_libero_is_that_of_lerobots_own_real_time_chunking(
    simulator, checkpoints, tmp_path
):
    def rules_of(spec):
        return QueueRules(spec.chunk_len, spec.chunk_len, spec.action_dim, THRESHOLD, underrun="noop")

    section = LeRobotPolicySection(str(checkpoints / "smolvla"), python=str(PYTHON), rtc=RtcSection(**RTC))
    latency = FixedLatency(LATENCY_STEPS)
    with played(section, RTC_EPISODE, rules_of, latency, simulator, tmp_path) as (result, env, job):
        rtc = {**RTC, "enabled": True, "prefix_attention_schedule": "LINEAR"}
        delays = [LATENCY_STEPS] * RTC_EPISODE.max_steps
        job |= {"rtc": rtc, "threshold": THRESHOLD, "delays": delays, "is_guided": True}
        theirs = lerobots_own(job, tmp_path)
        unguided = lerobots_own({**job, "is_guided": False}, tmp_path)
        ours = np.stack(env.actions)
    assert result.steps == RTC_EPISODE.max_steps
    # LeRobot has nothing to execute until its first chunk is there; LIBERO's gripper is held open meanwhile.
    assert np.array_equal(ours[LATENCY_STEPS:], theirs[LATENCY_STEPS:])
    assert not np.array_equal(ours[LATENCY_STEPS:], unguided[LATENCY_STEPS:])


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["act", "act_ensemble", "diffusion", "diffusion_ddim", "vqbet", "smolvla", "xvla"])
def test_over_a_whole_libero_episode_every_action_is_lerobots_own(name, simulator, checkpoints, tmp_path):
    def rules_of(spec):
        return QueueRules(horizon=spec.replan_steps, chunk_len=spec.chunk_len, action_dim=spec.action_dim)

    section = LeRobotPolicySection(str(checkpoints / name), python=str(PYTHON))
    with played(section, EPISODE, rules_of, FixedLatency(0), simulator, tmp_path) as (result, env, job):
        assert result.steps == len(env.actions) == EPISODE.max_steps
        assert np.array_equal(np.stack(env.actions), lerobots_own(job, tmp_path))

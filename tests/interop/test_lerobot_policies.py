"""LeRobot's policies, evaluated by ray-eval over gRPC, act as LeRobot's own loop does, action for action."""

import dataclasses
import itertools
import json
import subprocess

import numpy as np
import pytest
from lerobot_environment import HERE, PYTHON, ROOT, lerobot_environment, run_in_lerobot
from recorded import TASK, RecordedEnv, drifting

from ray_eval.envs.libero.simulator import CONTROL_HZ
from ray_eval.policies.contract import check_policy, continued, trial_observation
from ray_eval.rollout.client import PolicyClient
from ray_eval.rollout.episode import Episode
from ray_eval.rollout.latency import FixedLatency, ReplayedLatency
from ray_eval.rollout.seeds import request_seed
from ray_eval.sections import ConnectSection, QueueRules
from ray_eval.types import EpisodeSpec

STEPS = 15
"""Steps of a recording: every policy here thinks at least twice in them."""
EPISODE = EpisodeSpec("libero_goal", 2, 5, env_seed=7, max_steps=STEPS)
WORDS = {"act_renamed": ["policy.rename.image=front", "policy.rename.image2=wrist"]}
CAMERAS = {"act_renamed": {"image": "front", "image2": "wrist"}}
KINDS = {
    "act": "loaded: chunks of 20 x 7",
    "diffusion": "loaded: chunks of 6 x 7",
    "vqbet": "loaded: chunks of 5 x 7",
    "smolvla": "loaded: chunks of 10 x 7",
    "xvla": "loaded: chunks of 8 x 7",
    "pi0": "got no transformers.models.siglip.check; use LeRobot 0.6",
    "pi05": "got no transformers.models.siglip.check; use LeRobot 0.6",
    "pi0_fast": "got no transformers.models.siglip.check and no scipy; use LeRobot 0.6",
    "groot": "got no peft and no tree; pip install 'lerobot[groot]'",
    "wall_x": "got no peft and no scipy and no torchdiffeq and no qwen_vl_utils; pip install 'lerobot[wallx]'",
    "sac": "got type 'sac'; it answers one action at a time and has no chunks",
    "tdmpc": "got type 'tdmpc'; its planner goes on from the plan of the step before",
    "reward_classifier": "got type 'reward_classifier'; it judges states and does not act",
    "sarm": "got type 'sarm'; it judges states and does not act",
}
"""What becomes of each policy type of LeRobot 0.4.4 in the environment of scripts/install_lerobot.sh."""
REGISTERED_LATER = ("reward_classifier", "sac", "sarm")
"""Types of which LeRobot 0.4.4 knows once its factory is imported."""
PLUGINS = {"drift", "script"}
"""Types of the folder plugins, which is on the path of every script."""
ONE_CAMERA = ("act_ensemble", "diffusion_ddim", "vqbet")
NAMES = (
    "act",
    "act_ensemble",
    "act_renamed",
    "act_old",
    "diffusion",
    "diffusion_ddim",
    "vqbet",
    "smolvla",
    "xvla",
    "smolvla_longest",
)
SIZES_PX = {name: 256 if name == "act" or "smolvla" in name else 96 for name in NAMES}
"""Image sizes: LIBERO's own where it costs little, smaller ones elsewhere."""
RTC = {"execution_horizon": 8, "max_guidance_weight": 5.0, "prefix_attention_schedule": "EXP"}
"""Settings of real-time chunking, none of them LeRobot's default."""
THRESHOLD = 0.5
LATENCY = ReplayedLatency([steps * 1000 / CONTROL_HZ for steps in (3, 1, 2, 4)], CONTROL_HZ)
"""Of another number of control steps from request to request."""
BATCHED = ("act", "diffusion_ddim", "smolvla", "smolvla_longest")
"""Policies whose forwards take several rows; the others have a forward for each row."""
TASKS = ("go", TASK, "open the middle drawer", "push")
"""Instructions of several lengths, one per row of a batch."""
ROWS = len(TASKS)
IDS = itertools.count()


def cameras(name):
    both = CAMERAS.get(name, {"image": "image", "image2": "image2"})
    return {"image": both["image"]} if name in ONE_CAMERA else both


def recording_for(name):
    return drifting(3, STEPS, SIZES_PX[name])


@pytest.fixture(scope="module")
def starting(checkpoints, tmp_path_factory):
    """Servers of all checkpoints, and of some in forwards of several rows, while they load."""
    folder = tmp_path_factory.mktemp("sockets")
    wanted = {name: [f"policy.path={checkpoints / name}", *WORDS.get(name, [])] for name in NAMES}
    wanted |= {
        f"{name}-{ROWS}": [f"policy.path={checkpoints / name}", f"serving.batch_size={ROWS}"] for name in BATCHED
    }
    words = [
        f"policy.path={checkpoints / 'smolvla'}",
        *(f"policy.rtc.{key}={value}".lower() for key, value in RTC.items()),
    ]
    wanted |= {"smolvla-rtc": words, f"smolvla-rtc-{ROWS}": [*words, f"serving.batch_size={ROWS}"]}
    jobs = [(words, f"unix:{folder / name}") for name, words in wanted.items()]
    with (
        (folder / "stderr").open("w") as stderr,
        subprocess.Popen(
            [PYTHON, "-P", HERE / "serve_many.py", json.dumps(jobs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=lerobot_environment(str(ROOT)),
        ) as process,
    ):
        yield process, folder
        process.stdin.close()


@pytest.fixture(scope="module")
def servers(starting, plain):
    """Their addresses."""
    process, folder = starting
    assert process.stdout.readline() == "ready\n", (folder / "stderr").read_text()
    names = [*NAMES, *(f"{name}-{ROWS}" for name in BATCHED), "smolvla-rtc", f"smolvla-rtc-{ROWS}"]
    return {name: f"unix:{folder / name}" for name in names}


@pytest.fixture(scope="module")
def plain(starting, checkpoints, tmp_path_factory):
    """LeRobot's own actions on the same recordings, by checkpoint."""
    folder = tmp_path_factory.mktemp("plain")
    jobs = []
    for name in NAMES:
        np.savez(folder / f"{name}.npz", **recording_for(name))
        # The older format is brought to today's by LeRobot's own script, which is not how ray-eval reads it.
        migrated = checkpoints / f"{name}_migrated"
        if name == "act_old":
            run_in_lerobot("migrate.py", checkpoints / name, migrated)
        jobs.append(
            {
                "checkpoint": str(migrated if name == "act_old" else checkpoints / name),
                "recording": str(folder / f"{name}.npz"),
                "cameras": cameras(name),
                "task": TASK,
                "seeds": [request_seed("noise", EPISODE, index) for index in range(STEPS)],
                "actions": str(folder / f"{name}.npy"),
            }
        )
    smolvla = jobs[NAMES.index("smolvla")]
    chunked = [
        {
            **smolvla,
            "rtc": {**RTC, "enabled": True},
            "is_guided": name == "smolvla-rtc",
            "threshold": THRESHOLD,
            "delays": [LATENCY.draw(EPISODE, index) for index in range(STEPS)],
            "actions": str(folder / f"{name}.npy"),
        }
        for name in ("smolvla-rtc", "smolvla-unguided")
    ]
    (folder / "jobs.json").write_text(json.dumps([*jobs, *chunked]))
    run_in_lerobot("plain_loop.py", folder / "jobs.json")
    return {name: np.load(folder / f"{name}.npy") for name in (*NAMES, "smolvla-rtc", "smolvla-unguided")}


def client_of(address):
    return PolicyClient(lambda: ConnectSection(address))


class Asked:
    """A policy behind a client, asked about all observations at once."""

    def __init__(self, client):
        self.client, self.spec = client, client.spec()

    def infer_batch(self, observations):
        answers = [self.client.infer(observation, f"ask/{next(IDS)}") for observation in observations]
        return [answer.result() for answer in answers]


@pytest.mark.parametrize("name", NAMES)
def test_each_action_is_the_one_of_lerobots_own_loop_bit_for_bit(name, servers, plain):
    client = client_of(servers[name])
    spec = client.spec()
    env = RecordedEnv(recording_for(name), spec)
    rules = QueueRules(horizon=spec.replan_steps, chunk_len=spec.chunk_len, action_dim=spec.action_dim)
    Episode(env, client, EPISODE, rules, FixedLatency(0), request_prefix=f"test/{name}").run()
    client.close()
    assert np.array_equal(np.stack(env.actions), plain[name])
    assert not np.array_equal(plain[name][0], plain[name][-1])  # it looks at what it is shown


class Noting:
    """A client that keeps what it was asked."""

    def __init__(self, client):
        self.client, self.asked = client, []

    def infer(self, observation, request_id, **how):
        self.asked.append(observation)
        return self.client.infer(observation, request_id, **how)


def test_with_the_rest_of_the_last_chunk_each_action_is_that_of_lerobots_own_real_time_chunking(servers, plain):
    client = client_of(servers["smolvla-rtc"])
    spec, noting = client.spec(), Noting(client)
    env = RecordedEnv(recording_for("smolvla"), spec)
    rules = QueueRules(spec.chunk_len, spec.chunk_len, spec.action_dim, THRESHOLD, underrun="noop")
    Episode(env, noting, EPISODE, rules, LATENCY, request_prefix="test/rtc").run()
    client.close()
    assert spec.takes_prefix
    rests = [(o.delay_steps, None if o.action_raw is None else o.action_raw.shape) for o in noting.asked]
    assert rests == [(2, None), (4, (5, 7)), (3, (5, 7))]
    assert np.array_equal(np.stack(env.actions), plain["smolvla-rtc"])
    # Until the first answer to a request with a rest arrives nothing is guided; from then on it makes a difference.
    apart = np.abs(plain["smolvla-rtc"] - plain["smolvla-unguided"]).max(axis=1)
    first = noting.asked[1].step + noting.asked[1].delay_steps
    assert not apart[:first].any()
    assert apart[first:].min() > 1e-3


def test_rows_with_other_rests_and_delays_share_a_batch_within_rounding(servers):
    alone, together = Asked(client_of(servers["smolvla-rtc"])), Asked(client_of(servers[f"smolvla-rtc-{ROWS}"]))
    rows = [trial_observation(alone.spec, index) for index in range(ROWS)]
    firsts = [alone.infer_batch([row])[0] for row in rows]
    later = [continued(row, first, 1 + i // 2, i // 2) for i, (row, first) in enumerate(zip(rows, firsts, strict=True))]
    later[-1] = rows[-1]
    one_by_one = np.stack([alone.infer_batch([row])[0].actions for row in later])
    at_once = np.stack([chunk.actions for chunk in together.infer_batch(later)])
    assert np.abs(at_once - one_by_one).max() <= 1e-5 * np.abs(one_by_one).max()
    assert np.abs(one_by_one[0] - firsts[0].actions).max() > 1e-3
    check_policy(alone)
    alone.client.close()
    together.client.close()


@pytest.mark.parametrize("name", BATCHED)
def test_in_a_batch_an_action_is_lerobots_within_rounding(name, servers):
    """Rows of other tasks, noise and images beside it; and bit for bit the same whatever they are."""
    alone, together = Asked(client_of(servers[name])), Asked(client_of(servers[f"{name}-{ROWS}"]))
    rows = [dataclasses.replace(trial_observation(alone.spec, i), task=TASKS[i]) for i in range(ROWS)]
    one_by_one = np.stack([alone.infer_batch([row])[0].actions for row in rows])
    at_once = np.stack([chunk.actions for chunk in together.infer_batch(rows)])
    assert np.abs(at_once - one_by_one).max() <= 1e-5 * np.abs(one_by_one).max()
    assert np.array_equal(together.infer_batch([rows[0]])[0].actions, at_once[0])
    alone.client.close()
    together.client.close()


@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_the_contract_of_a_policy(name, servers):
    asked = Asked(client_of(servers[name]))
    check_policy(asked)
    asked.client.close()


def test_a_checkpoint_says_what_it_needs(servers):
    specs = {}
    for name in NAMES:
        client = client_of(servers[name])
        specs[name] = client.spec()
        client.close()
    assert {name: (s.chunk_len, s.replan_steps, s.n_obs_steps, s.image_size_px) for name, s in specs.items()} == {
        "act": (20, 7, 1, 256),
        "act_ensemble": (1, 1, 1, 96),
        "act_renamed": (10, 10, 1, 96),
        "act_old": (20, 7, 1, 96),
        "diffusion": (6, 6, 2, 96),
        "diffusion_ddim": (8, 8, 2, 96),
        "vqbet": (5, 5, 4, 96),
        "smolvla": (10, 5, 1, 256),
        "xvla": (8, 4, 1, 96),
        "smolvla_longest": (10, 5, 1, 256),
    }
    assert {s.state_dim for s in specs.values()} == {8}
    assert len({s.digest for s in specs.values()}) == len(specs)
    assert specs["act"].runtime["lerobot"]
    assert "older format" in specs["act_old"].remarks[0]
    assert {name for name, s in specs.items() if s.batch_invariant} == {"diffusion", "vqbet", "xvla"}


REFUSALS = {
    "unknown type": "Did you mean 'act'",
    "newer format": "The fields `a_field_of_tomorrow` are not valid for ACTConfig",
    "cut weights": "expected readable weights in model.safetensors",
    "missing weight": "Missing key(s) in state_dict",
    "another action dimension": "of (64, 7) for a layer of (64, 6), and 2 more like it",
    "another state": "of (64, 8) for a layer of (64, 9)",
    "no pipelines": "got no policy_preprocessor.json; without them nothing is normalised",
    "broken pipeline": "is not a valid processor configuration",
    "foreign camera": "write policy.rename.image=front or policy.rename.image2=front",
}


@pytest.fixture(scope="module")
def kinds(checkpoints, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    run_in_lerobot("kinds.py", checkpoints, folder, *REGISTERED_LATER, path=str(ROOT))
    return json.loads((folder / "kinds.json").read_text())


@pytest.mark.nightly
def test_these_are_all_the_types_that_lerobot_knows(kinds):
    assert kinds.keys() - PLUGINS == KINDS.keys()


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KINDS)
def test_a_type_is_loaded_or_refused_by_name_with_the_reason(kind, kinds):
    assert KINDS[kind] in kinds[kind]
    assert "Traceback" not in kinds[kind]


@pytest.mark.nightly
def test_damaged_checkpoints_are_refused_with_what_is_wrong(checkpoints, tmp_path):
    run_in_lerobot("refusals.py", checkpoints / "act_renamed", tmp_path, path=str(ROOT))
    refusals = json.loads((tmp_path / "refusals.json").read_text())
    assert refusals.keys() == REFUSALS.keys()
    for name, message in REFUSALS.items():
        assert message in refusals[name], name
        assert "policy.path" in refusals[name]

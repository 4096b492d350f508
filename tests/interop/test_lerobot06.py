"""Policies of LeRobot 0.6, evaluated by ray-eval over gRPC, act as LeRobot's own code does, action for action."""

import json
import subprocess
import sys

import numpy as np
import pytest
from lerobot_environment import HERE, ROOT, lerobot_environment, run_in_lerobot
from recorded import TASK, RecordedEnv, drifting

from ray_eval.envs.libero.simulator import CONTROL_HZ
from ray_eval.rollout.client import PolicyClient
from ray_eval.rollout.episode import Episode
from ray_eval.rollout.latency import FixedLatency, ReplayedLatency
from ray_eval.rollout.seeds import request_seed
from ray_eval.sections import ConnectSection, QueueRules
from ray_eval.types import EpisodeSpec

STEPS = 15
EPISODE = EpisodeSpec("libero_goal", 2, 5, env_seed=7, max_steps=STEPS)
MADE = ("act_relative", "drift", "pi0_relative")
"""Saved by LeRobot 0.6."""
MADE_NIGHTLY = (
    "act",
    "act_lora",
    "act_mapped",
    "diffusion_compiled",
    "diffusion_ddim",
    "eo1",
    "evo1",
    "groot",
    "multi_task_dit",
    "multi_task_dit_flow",
    "pi0",
    "pi05",
    "pi0_compiled",
    "pi0_fast",
    "smolvla",
    "vla_jepa",
    "xvla",
)
TWINS = {"diffusion_compiled": "diffusion_ddim", "pi0_compiled": "pi0"}
"""Checkpoints that differ from another only in being compiled; with policy.compile=false they act as that one."""
OF_04 = "-of-0.4"
OLDER_NIGHTLY = ("xvla", "act", "diffusion_ddim", "vqbet", "smolvla_longest")
"""Saved by LeRobot 0.4, and run by 0.6: X-VLA's weights had other names then."""
SIZES_PX = {"act": 256, "smolvla": 256, "smolvla_longest": 256}
CAMERAS = {"act_mapped": {"image": "front", "image2": "wrist"}}
ONE_CAMERA = ("drift", "diffusion_ddim", "diffusion_compiled", "vqbet")
WORDS = {"diffusion_compiled": ["policy.compile=false"], "pi0_compiled": ["policy.compile=false"]}
RTC = {"execution_horizon": 8, "max_guidance_weight": 5.0, "prefix_attention_schedule": "EXP"}
GUIDED, GUIDED_NIGHTLY = ("pi0_relative",), ("pi0",)
"""Compared under real-time chunking and latency as well."""
THRESHOLD = 0.5
LATENCY = ReplayedLatency([steps * 1000 / CONTROL_HZ for steps in (3, 1, 2, 4)], CONTROL_HZ)


LOADED = {
    "act": "loaded: chunks of 20 x 7",
    "diffusion": "loaded: chunks of 6 x 7",
    "drift": "loaded: chunks of 9 x 7",
    "eo1": "loaded: chunks of 6 x 7",
    "evo1": "loaded: chunks of 10 x 7",
    "groot": "loaded: chunks of 4 x 7",
    "multi_task_dit": "loaded: chunks of",
    "pi0": "loaded: chunks of 10 x 7",
    "pi05": "loaded: chunks of 10 x 7",
    "pi0_fast": "loaded: chunks of 6 x 7",
    "smolvla": "loaded: chunks of 10 x 7",
    "vla_jepa": "loaded: chunks of 7 x 7",
    "vqbet": "loaded: chunks of 5 x 7",
    "xvla": "loaded: chunks of 8 x 7",
}
HUB = "on this machine, got "
KINDS = {
    **LOADED,
    "fastwam": f"text_encoder_model_id='Wan-AI/Wan2.2-TI2V-5B-Diffusers', model_id='Wan-AI/Wan2.2-TI2V-5B') {HUB}",
    "molmoact2": f"discrete_action_tokenizer='allenai/MolmoAct2-FAST-Tokenizer') {HUB}",
    "wall_x": (
        "got no torchdiffeq and no qwen_vl_utils; pip install 'lerobot[wallx]' there",
        "got no torchdiffeq; pip install 'lerobot[wallx]' there",
        f"(pretrained_name_or_path='x-square-robot/wall-oss-flow') {HUB}",  # where LeRobot has all of its extras
    ),
    "gaussian_actor": "got type 'gaussian_actor'; it answers one action at a time",
    "lingbot_va": "got type 'lingbot_va'; it feeds the frames and actions since its last chunk back",
    "tdmpc": "got type 'tdmpc'; its planner goes on",
    "sac": "got type 'sac'; it answers one action at a time",
    "reward_classifier": "it judges states and does not act",
    "robometer": "it judges states and does not act",
    "sarm": "it judges states and does not act",
    "topreward": "it judges states and does not act",
}
"""What becomes of each type of LeRobot 0.6.1 in the environment of scripts/install_lerobot06.sh, and of former ones."""
OTHERS = ("sac", "reward_classifier", "robometer", "sarm", "topreward")
"""Types that LeRobot 0.6 has in another registry, or not."""


class Sides:
    """LeRobot's own actions and ray-eval's servers of some checkpoints, by name."""

    def __init__(self, folder, python):
        self.folder, self.python = folder, python
        self.jobs, self.serving = [], []

    def add(self, name, path, kind, is_guided=None):
        """A checkpoint; with `is_guided`, under real-time chunking."""
        recording, target = self.folder / f"{name}.npz", self.folder / f"{name}.npy"
        np.savez(recording, **drifting(3, STEPS, SIZES_PX.get(kind, 96)))
        both = CAMERAS.get(kind, {"image": "image", "image2": "image2"})
        job = {
            "checkpoint": str(path),
            "recording": str(recording),
            "cameras": {"image": both["image"]} if kind in ONE_CAMERA else both,
            "task": TASK,
            "seeds": [request_seed("noise", EPISODE, index) for index in range(STEPS)],
            "actions": str(target),
            "is_whole": "relative" in kind,
        }
        words = [f"policy.path={path}", *WORDS.get(kind, [])]
        if is_guided is not None:
            job |= {"rtc": {**RTC, "enabled": True}, "is_guided": is_guided, "threshold": THRESHOLD}
            job["delays"] = [LATENCY.draw(EPISODE, index) for index in range(STEPS)]
            words += [f"policy.rtc.{key}={value}".lower() for key, value in RTC.items()]
        if kind not in TWINS:
            self.jobs.append(job)
        if is_guided is not False:
            self.serving.append((name, words))

    def address(self, name):
        return f"unix:{self.folder / name}"

    def play(self):
        """Has LeRobot play its part, which takes as long as the servers' start."""
        jobs = self.folder / "jobs.json"
        jobs.write_text(json.dumps(self.jobs))
        run_in_lerobot("plain_loop.py", jobs, python=self.python)

    def plain(self, name):
        return np.load(self.folder / f"{TWINS.get(name, name)}.npy")


@pytest.fixture(scope="module")
def asked(request):
    """Checkpoints that the tests to be run look at, plain and guided: others are not made."""
    found = {"name": set(MADE), "guided": set()}
    for item in request.session.items:
        params = item.callspec.params if item.path == request.path and hasattr(item, "callspec") else {}
        for parameter in found.keys() & params.keys():
            found[parameter].add(params[parameter])
    return sorted(found["name"]), sorted(found["guided"])


@pytest.fixture(scope="module")
def made(asked, lerobot06_python, tmp_path_factory):
    """Folder of the checkpoints, saved by LeRobot 0.6 itself."""
    folder = tmp_path_factory.mktemp("made")
    names = {name for name in (*asked[0], *asked[1]) if not name.endswith(OF_04)}
    run_in_lerobot("make_checkpoints06.py", folder, *names, python=lerobot06_python)
    return folder


@pytest.fixture(scope="module")
def sides(lerobot_python, lerobot06_python, asked, made, tmp_path_factory):
    older = tmp_path_factory.mktemp("older")
    plain, guided = asked
    if old_names := [name.removesuffix(OF_04) for name in plain if name.endswith(OF_04)]:
        run_in_lerobot("make_checkpoints.py", older, *old_names)
    compared = Sides(tmp_path_factory.mktemp("sides"), lerobot06_python)
    for name in plain:
        kind = name.removesuffix(OF_04)
        compared.add(name, (made if kind == name else older) / kind, kind)
    for name in guided:
        compared.add(f"{name}-guided", made / name, name, is_guided=True)
        compared.add(f"{name}-unguided", made / name, name, is_guided=False)
    command = [lerobot06_python, "-P", HERE / "serve_many.py"]
    command.append(json.dumps([(words, compared.address(name)) for name, words in compared.serving]))
    with (
        (compared.folder / "stderr").open("w") as stderr,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=lerobot_environment(str(ROOT)),
        ) as process,
    ):
        compared.play()
        is_ready = any(line == "ready\n" for line in process.stdout)
        assert is_ready, (compared.folder / "stderr").read_text()
        yield compared
        process.stdin.close()


def driven(sides, name, rules_of, latency):
    """The actions of a recording that ray-eval plays, and the policy's spec."""
    client = PolicyClient(lambda: ConnectSection(sides.address(name)))
    spec = client.spec()
    env = RecordedEnv(dict(np.load(sides.folder / f"{name}.npz")), spec)
    Episode(env, client, EPISODE, rules_of(spec), latency, request_prefix=f"test/{name}").run()
    client.close()
    return np.stack(env.actions), spec


def in_turns(spec):
    return QueueRules(horizon=spec.replan_steps, chunk_len=spec.chunk_len, action_dim=spec.action_dim)


def under_latency(spec):
    return QueueRules(spec.chunk_len, spec.chunk_len, spec.action_dim, THRESHOLD, underrun="noop")


def marked(names, nightly_names, suffix=""):
    later = [pytest.param(f"{name}{suffix}", marks=pytest.mark.nightly) for name in nightly_names]
    return [*(f"{name}{suffix}" for name in names), *later]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [*marked(MADE, MADE_NIGHTLY), *marked((), OLDER_NIGHTLY, OF_04)])
def test_each_action_is_the_one_of_lerobots_own_code_bit_for_bit(name, sides):
    actions, spec = driven(sides, name, in_turns, FixedLatency(0))
    assert np.array_equal(actions, sides.plain(name))
    assert not np.array_equal(actions[0], actions[-1])  # it looks at what it is shown
    assert spec.runtime["lerobot"].startswith("0.6")
    assert any("relative to the state" in remark for remark in spec.remarks) == ("relative" in name)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("guided", marked(GUIDED, GUIDED_NIGHTLY))
def test_with_the_rest_of_the_last_chunk_each_action_is_that_of_lerobots_own_real_time_chunking(guided, sides):
    """Of relative actions the rest is made relative to the present state, as LeRobot's engine does."""
    actions, spec = driven(sides, f"{guided}-guided", under_latency, LATENCY)
    assert spec.takes_prefix
    assert np.array_equal(actions, sides.plain(f"{guided}-guided"))
    assert not np.array_equal(actions, sides.plain(f"{guided}-unguided"))


@pytest.mark.timeout(1800)
def test_the_identity_has_the_libraries_that_a_type_runs_on_and_a_plug_in_with_its_content(sides):
    _, pi0 = driven(sides, "pi0_relative", in_turns, FixedLatency(0))
    _, drift = driven(sides, "drift", in_turns, FixedLatency(0))
    assert {"transformers", "tokenizers"} <= pi0.runtime.keys()
    assert drift.runtime["lerobot_policy_drift"].startswith("0.1 sha256:")


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["act_lora"])
def test_an_adapters_identity_has_the_version_of_peft(name, sides):
    _, lora = driven(sides, name, in_turns, FixedLatency(0))
    assert "peft" in lora.runtime
    assert "transformers" not in lora.runtime


@pytest.mark.timeout(1200)
@pytest.mark.nightly
def test_relative_actions_give_the_same_summary_to_the_byte_however_many_workers_ask(made, lerobot06_python, tmp_path):
    """With four workers the next observation is pre-processed while a chunk is computed: each keeps its own state."""
    summaries = {}
    for workers in (1, 4):
        out = tmp_path / f"{workers}"
        command = [sys.executable, "-m", "ray_eval", "run", "suite=fake", "tasks=[0,1,2]", "episodes_per_task=3"]
        command += [
            "policy=lerobot",
            f"policy.path={made / 'act_relative'}",
            f"policy.python={lerobot06_python}",
            f"out={out}",
        ]
        command += ["protocol.max_steps=40", f"workers={workers}", "ray.dashboard=false"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        summaries[workers] = (out / "summary.json").read_bytes()
        header = json.loads((out / "episodes.jsonl").read_text().splitlines()[0])
        assert header["identity"]["environment.policy_lerobot"].startswith("0.6")
        assert any("actions are relative to the state" in line for line in header["provenance"]["remarks"])
    assert json.loads(summaries[1])["is_complete"]
    assert summaries[1] == summaries[4]


@pytest.fixture(scope="module")
def kinds(lerobot06_python, tmp_path_factory):
    made, folder = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("kinds")
    run_in_lerobot("make_checkpoints06.py", made, *LOADED, python=lerobot06_python)
    run_in_lerobot("kinds.py", made, folder, *OTHERS, path=str(ROOT), python=lerobot06_python)
    return json.loads((folder / "kinds.json").read_text())


OF_04_TOO = ("act", "diffusion_ddim", "multi_task_dit", "pi0", "smolvla", "vqbet", "xvla")


@pytest.fixture(scope="module")
def under_04(lerobot_python, lerobot06_python, tmp_path_factory):
    """What LeRobot 0.4 makes of checkpoints that 0.6 saved."""
    made, folder = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("under")
    run_in_lerobot("make_checkpoints06.py", made, *OF_04_TOO, python=lerobot06_python)
    run_in_lerobot("kinds.py", made, folder, *OF_04_TOO, path=str(ROOT), python=lerobot_python)
    return json.loads((folder / "kinds.json").read_text())


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", OF_04_TOO)
def test_what_lerobot_06_saved_is_refused_under_04_with_the_line_to_type(name, under_04):
    """LeRobot 0.4 itself does not parse it: `pretrained_revision` is no field of its configurations."""
    kind = name.removesuffix("_ddim")
    assert "expected a checkpoint that LeRobot 0.4.4 reads, got one that 0.6 or later saved" in under_04[name]
    assert f"type: ray-eval install lerobot {kind}," in under_04[name]


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_these_are_all_the_types_that_lerobot_knows(kinds):
    assert kinds.keys() - {"script"} == KINDS.keys()


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_a_type_is_loaded_or_refused_by_name_with_the_reason(kind, kinds):
    words = KINDS[kind]
    assert any(word in kinds[kind] for word in ((words,) if isinstance(words, str) else words))
    assert "Traceback" not in kinds[kind]
    assert len(kinds[kind]) <= 600

"""Real LIBERO run again from its actions: the same trajectories, films, findings, and spoiled episodes' classes."""

import subprocess
import sys

import numpy as np
import pytest

from ray_eval.driver.recording import Recording
from ray_eval.driver.replay import no_policy
from ray_eval.report.findings import read_findings
from ray_eval.report.ledger import read_ledger
from ray_eval.rollout.replaying import Looks, ReplaySettings
from ray_eval.rollout.running import Rollout
from ray_eval.sections import SimulatorSection
from ray_eval.types import ActionSpec
from ray_eval.watch.findings import FindingsMaker
from ray_eval.watch.video import frames_of

pytestmark = pytest.mark.nightly

ARM = ActionSpec(
    ("x", "y", "z", "rotation_x", "rotation_y", "rotation_z", "gripper"),
    (-1,) * 7,
    (1,) * 7,
    "delta_pose",
    is_clipped=True,
    noop="",
)
STILL, UP = np.zeros((30, 7)), np.tile([0.0, 0, 1, 0, 0, 0, -1], (15, 1))


def ray_eval(*words):
    command = [sys.executable, "-m", "ray_eval", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two tasks, one of which opens a drawer."""
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ("policy=oracle", "policy.images=false", "suite=[libero_object,libero_goal]", "tasks=[0]")
    ray_eval("run", *words, "episodes_per_task=2", "workers=1", "--out", out)
    return out


def test_every_trajectory_is_the_recorded_one_and_findings_are_kept(run):
    assert "4 of 4 trajectories are the recorded ones" in ray_eval("replay", run, "workers=1")
    found = read_findings(run, read_ledger(run).episodes)
    assert [each.failure_class for each in found.values()] == [None] * 4
    assert {stage for each in found.values() for stage in each.stages.values()} == {"placed"}
    lines = (run / "findings.jsonl").read_bytes()
    ray_eval("video", run, "--which", "libero_object/0/1", "--every", 8, "workers=1")
    assert (run / "findings.jsonl").read_bytes() == lines
    frames = list(frames_of((run / "videos/libero_object/0/1.mp4").read_bytes()))
    assert frames[0].shape == (328, 512, 3)
    assert np.abs(frames[0][72:].astype(int) - frames[-1][72:]).mean() > 5


def spoiled(actions):
    """One carry, spoiled in each way that its class is called by."""
    start = int(np.argmax(actions[:, 6] > 0))
    half = start + (len(actions) - start) // 2
    opened, dropped = actions.copy(), actions.copy()
    opened[:, 6] = dropped[half:, 6] = -1
    held = STILL.copy()
    held[:, 6] = 1
    return {
        "never reached": np.concatenate([actions[: start // 3], UP, STILL]),
        "missed grasp": np.concatenate([opened, UP]),
        "dropped": np.concatenate([dropped, STILL]),
        "stalled": np.concatenate([actions[:half], held]),
        "still moving at the end": actions[:half],
    }


def test_spoiled_episodes_have_their_classes(run, simulator):
    recording = Recording(run)
    (recorded,) = recording.recorded(["libero_object/0/0"]).values()
    rollout = Rollout(no_policy, SimulatorSection("libero"))
    settings = ReplaySettings(recording.env_settings(), Looks(has_scene=True))
    found = {}
    for name, actions in spoiled(recorded.actions.array()).items():
        maker = FindingsMaker(ARM, 20.0)
        found[name] = maker.made(rollout.replay(recorded.result.spec, actions, settings, maker.see))["failure_class"]
    rollout.close()
    assert found == {name: name for name in found}

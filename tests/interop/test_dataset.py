"""A run's episodes as a LeRobotDataset v3, opened by LeRobot itself: frames, rate, features, and what is in them."""

import itertools
import json

import numpy as np
import pytest
from lerobot_environment import PYTHON, PYTHON_06, run_in_lerobot

import ray_eval
from ray_eval.driver.dataset import export_dataset
from ray_eval.driver.recording import Recording
from ray_eval.driver.replay import no_policy
from ray_eval.errors import ConfigError
from ray_eval.rollout.replaying import Looks, ReplaySettings
from ray_eval.rollout.running import Rollout
from ray_eval.sections import ImageRecipe, ObservationRecipe, SimulatorSection
from ray_eval.types import IMAGE_KEYS, STATE

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_kept():
    yield
    ray_eval.release()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    words = [f"out={out}", "workers=1", "tasks=[0,2]", "episodes_per_task=2", "protocol.max_steps=30"]
    ray_eval.evaluate({"suite": "fake", "policy": {"type": "fake"}}, words)
    return out


@pytest.fixture(scope="module")
def dataset(run):
    made = export_dataset(run, ["all"], None)
    assert (made.episodes, made.left_out) == (4, ())
    return made.root


def seen(run):
    """What each episode showed and executed, row by row, in the ledger's order."""
    recording = Recording(run)
    rollout = Rollout(no_policy, SimulatorSection("fake"))
    recipe = ObservationRecipe((*IMAGE_KEYS, STATE), images=ImageRecipe(256, image_size_px=256))
    rows = []
    for recorded in recording.recorded(list(recording.records)).values():
        sights = []
        settings = ReplaySettings(recording.env_settings(recipe), Looks(has_observations=True))
        rollout.replay(recorded.result.spec, recorded.actions.array(), settings, sights.append)
        rows += [(before.observation, after) for before, after in itertools.pairwise(sights)]
    return rows


@pytest.mark.parametrize("python", [PYTHON, PYTHON_06], ids=["0.4", "0.6"])
def test_lerobot_opens_it_and_finds_what_the_episodes_showed(run, dataset, tmp_path, python):
    run_in_lerobot("open_dataset.py", dataset, tmp_path / "found.json", python=python)
    found = json.loads((tmp_path / "found.json").read_text())
    rows = seen(run)
    lengths = [record["steps"] for record in Recording(run).records.values()]
    assert (found["fps"], found["episodes"], found["frames"]) == (20, 4, len(rows))
    assert found["lengths"] == lengths
    assert found["features"]["observation.images.image"] == ["video", [256, 256, 3]]
    assert found["features"]["action"] == ["float32", [7]]
    assert np.array_equal(found["states"], [observation[STATE] for observation, _ in rows])
    assert np.array_equal(found["actions"], [after.action.astype(np.float32) for _, after in rows])
    assert found["timestamps"] == pytest.approx([step / 20 for length in lengths for step in range(length)])
    assert [index for index, success in enumerate(found["success"], 1) if success] == np.cumsum(lengths).tolist()
    assert found["tasks"][0] == "reach goal 0"
    assert found["tasks"][-1] == "reach goal 2"
    assert found["shapes"] == {key: [3, 256, 256] for key in IMAGE_KEYS}
    assert found["batch"]["observation.images.image2"] == [4, 3, 256, 256]
    for key in IMAGE_KEYS:
        expected = [float(observation[key].mean()) / 255 for observation, _ in rows]
        assert found["means"][key] == pytest.approx(expected, abs=0.01)
    actions = np.array([after.action for _, after in rows])
    assert found["stats"]["action"] == pytest.approx(actions.mean(axis=0).tolist(), abs=1e-6)


def test_a_folder_that_is_there_is_left_alone(run, dataset):
    with pytest.raises(ConfigError, match="expected no such folder, found one"):
        export_dataset(run, ["all"], None)

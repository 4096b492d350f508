"""A training's checkpoints are found once they are whole, and looked at on init states that nobody reports."""

import os

import pytest

from ray_eval.cli import main
from ray_eval.driver.checkpoints import Checkpoint, checkpoints_in
from ray_eval.driver.watch import Watched, _point

NOW = 1_000_000.0


def saved(path, at=NOW - 60):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    os.utime(path, (at, at))


@pytest.fixture
def training(tmp_path):
    for step in (200, 1000):
        for name in ("config.json", "model.safetensors"):
            saved(tmp_path / "checkpoints" / f"{step:06d}" / "pretrained_model" / name)
    (tmp_path / "checkpoints" / "last").symlink_to("001000")
    return tmp_path


def steps(folder, settled_s=5.0):
    return [each.step for each in checkpoints_in(folder, settled_s, lambda: NOW)]


def test_checkpoints_come_in_the_order_of_their_steps_and_links_are_passed_over(training):
    assert steps(training) == [200, 1000]
    assert checkpoints_in(training, 5, lambda: NOW)[0].path == training / "checkpoints" / "000200" / "pretrained_model"
    assert steps(training / "checkpoints") == [200, 1000]


def test_what_is_still_written_is_waited_for(training):
    half = training / "checkpoints" / "001500" / "pretrained_model"
    saved(half / "config.json")
    assert steps(training) == [200, 1000], "its weights are not there"
    saved(half / "model.safetensors", NOW - 1)
    assert steps(training) == [200, 1000], "its weights are a second old"
    saved(half / "model.safetensors", NOW - 6)
    assert steps(training) == [200, 1000, 1500]


def test_a_file_with_a_number_in_its_name_is_a_checkpoint_too(tmp_path):
    for name in ("step_20.pt2", "step_3.pt2", "best.pt2", "step_9.txt"):
        saved(tmp_path / name)
    assert steps(tmp_path) == [3, 20]


def test_init_states_that_are_reported_on_are_not_looked_at(tmp_path):
    asked = Watched(tmp_path, None, ("suite=fake", "episodes_per_task=2", "tasks=[1]"), 3)
    config = _point(asked, Checkpoint(7, tmp_path / "step_7.pt2")).config
    assert (config.init_states, config.tasks, config.episodes_per_task) == ((2, 3, 4), (1,), None)
    assert (config.policy_type, config.policy.path) == ("torch", str(tmp_path / "step_7.pt2"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nowhere",), "expected a training's folder"),
        ((".", "suite=fake", "policy.path=x"), "expected no out, policy.path or init_states"),
        ((".", "suite=fake", "--states", "0"), "expected --states of at least 1"),
        ((".", "suite=fake", "episodes_per_task=4"), "besides the reported ones"),
    ],
)
def test_what_cannot_be_watched_is_said(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "step_3.pt2", 0)
    assert main(["watch", *words, "--once"]) == 2
    assert says in capsys.readouterr().err

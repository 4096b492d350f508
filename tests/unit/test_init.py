"""`ray-eval init` writes a configuration that is accepted as it stands, and never over another file."""

import json

import pytest

from ray_eval.cli import main
from ray_eval.config import load_config


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def training(tmp_path):
    """A training's folder as LeRobot leaves it, its weights left out."""
    folder = tmp_path / "act" / "checkpoints" / "000100" / "pretrained_model"
    folder.mkdir(parents=True)
    cameras = {f"observation.images.{name}": {} for name in ("front", "wrist")}
    told = {"type": "act", "chunk_size": 100, "n_action_steps": 50, "input_features": cameras}
    (folder / "config.json").write_text(json.dumps(told))
    (tmp_path / "act" / "checkpoints" / "last").symlink_to("000100")
    return tmp_path / "act"


def written(*words):
    assert main(["init", "e.yaml", *words]) == 0
    return load_config("e.yaml")


def test_what_comes_along_is_written_with_its_comments(tmp_path, capsys):
    config = written("--policy", "oracle", "--suite", "fake", "--episodes", "3")
    assert (config.policy_type, config.suite, config.episodes_per_task) == ("oracle", ("fake",), 3)
    said = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in said[-3:]] == [
        "ray-eval doctor",
        "ray-eval run e.yaml --dry-run",
        "ray-eval run e.yaml",
    ]
    assert "# execution: {mode: async" in (tmp_path / "e.yaml").read_text()
    assert main(["run", "e.yaml", "--dry-run"]) == 0


def test_a_trainings_last_checkpoint_is_looked_into(training, capsys):
    config = written("--policy", str(training), "--suite", "libero_object", "--episodes", "10")
    assert config.policy.path == str(training / "checkpoints" / "last" / "pretrained_model")
    assert (config.policy.rename.image, config.policy.rename.image2) == ("front", "wrist")
    assert config.protocol.name == "lerobot"
    assert "chunks of 100 actions, of which it executes 50" in capsys.readouterr().out


def test_lerobots_own_environment_is_found(training, tmp_path):
    python = tmp_path / "data" / "ray-eval" / "lerobot-0.6.1" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    config = written("--policy", str(training), "--suite", "libero_object", "--episodes", "10")
    assert config.policy.python == str(python)


@pytest.mark.parametrize(
    ("policy", "suite", "expected"),
    [
        ("groot_server@gpu1:5555", "libero_10", ("groot_server", "gr00t")),
        ("openpi@gpu1:8000", "fake", ("openpi", "openpi")),
        ("mine.policies:make", "libero_goal", ("torch", "openpi")),
        ("hub:lerobot/act", "libero_goal", ("lerobot", "lerobot")),
    ],
)
def test_servers_factories_and_ids_are_known_by_their_look(policy, suite, expected):
    config = written("--policy", policy, "--suite", suite, "--episodes", "2", "--ray-address", "auto")
    assert (config.policy_type, config.protocol.name) == expected
    assert config.ray.address == "auto"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--policy", "nope", "--suite", "fake", "--episodes", "1"), "nope: expected a checkpoint's folder, hub:ID"),
        (("--policy", ".", "--suite", "fake", "--episodes", "1"), "expected a checkpoint's folder with config.json"),
        (("--policy", "oracle", "--suite", "nope@", "--episodes", "0"), "episodes_per_task: expected 1 to"),
        (("--suite", "fake"), "--policy: expected a value, got none, and no terminal to ask at"),
    ],
)
def test_what_cannot_be_written_is_said_and_nothing_is(tmp_path, capsys, words, says):
    assert main(["init", "e.yaml", *words]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "e.yaml").exists()


def test_a_file_is_never_overwritten(tmp_path, capsys):
    (tmp_path / "eval.yaml").write_text("mine")
    assert main(["init", "--policy", "oracle", "--suite", "fake", "--episodes", "1"]) == 2
    assert "never overwritten" in capsys.readouterr().err
    assert (tmp_path / "eval.yaml").read_text() == "mine"

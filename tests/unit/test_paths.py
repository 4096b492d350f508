"""What a path in a configuration means: the same from everywhere, once it was read."""

import dataclasses
import os
import typing

import pytest

from ray_eval.config import load_config, load_policy, to_yaml
from ray_eval.config.paths import absolute, user_path
from ray_eval.config.presets import nested
from ray_eval.config.schema import EvalConfig
from ray_eval.errors import ConfigError, SetupError
from ray_eval.policies.lerobot.checkpoint import open_checkpoint
from ray_eval.sections import PLACE, POLICY_TYPES, LeRobotPolicySection

FAKE = ["suite=fake"]
SERVER = {"type": "kserve", "addresses": "[127.0.0.1:8000]"}
NOT_A_PLACE = {"lerobot_server.path": "a folder on the server's machine, not here"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    home = tmp_path / "home"
    folder = tmp_path / "work"
    home.mkdir()
    folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(folder)
    return folder


PLACES = {
    "out": {},
    "policy.path": {"policy": {"type": "replay"}},
    "policy.token_file": {"policy": SERVER},
    "policy.certificate": {"policy": SERVER},
    "policy.python": {"policy": {"type": "lerobot", "path": "/x"}},
    "execution.latency.trace": {"execution": {"mode": "async"}},
}


def leaf(config, key):
    value = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


@pytest.mark.parametrize(("key", "rest"), PLACES.items(), ids=list(PLACES))
def test_a_path_is_relative_to_where_it_was_typed_on_every_door(here, key, rest):
    base = {"suite": "fake", "policy": {"type": "noop"}, **rest}

    def through_file(text):
        file = here.parent / "elsewhere.yaml"
        file.write_text(to_yaml(nested({**base, key: text})))
        return load_config(file)

    doors = (
        lambda text: load_config({**base, key: text}),
        lambda text: load_config({**base, key: "/other"}, [f"{key}={text}"]),
        through_file,
    )
    for door in doors:
        assert leaf(door("a/b"), key) == f"{here}/a/b"
        assert leaf(door("../b"), key) == f"{here.parent}/b"
        assert leaf(door("~/b"), key) == f"{here.parent}/home/b"
        assert leaf(door("/b"), key) == "/b"
        assert leaf(load_config(door("a/b").resolved()), key) == f"{here}/a/b"


PATH_NAMES = {"path", "python", "out", "trace", "certificate", "address", "addresses"}


def test_every_field_that_says_it_holds_a_path_is_settled():
    """A new field of such a name has to say what kind of place it is, or why it is none."""
    sections = {"": EvalConfig, **POLICY_TYPES}
    seen = []
    while sections:
        where, schema = sections.popitem()
        hints = typing.get_type_hints(schema)
        for item in dataclasses.fields(schema):
            if dataclasses.is_dataclass(hints[item.name]):
                sections[f"{where}.{item.name}"] = hints[item.name]
            if item.name in {
                "path",
                "python",
                "out",
                "trace",
                "certificate",
                "address",
                "addresses",
            } or item.name.endswith(("_file", "_path", "_folder")):
                seen.append(f"{where}.{item.name}")
                assert PLACE in item.metadata or seen[-1] in {*NOT_A_PLACE, ".ray.address"}, seen[-1]
    assert len(seen) > 12


def test_links_stay_as_they_are_so_that_an_environments_python_is_its_own(here):
    (here / "python").symlink_to("/usr/bin/env")
    config = load_config(None, [*FAKE, "policy=lerobot", "policy.path=/x", "policy.python=./python"])
    assert config.policy.python == f"{here}/python"


def test_a_programs_bare_name_is_looked_up_where_it_is_started(here):
    config = load_config(None, [*FAKE, "policy=lerobot", "policy.path=/x", "policy.python=python3.11"])
    assert config.policy.python == "python3.11"


def test_sockets_are_paths_as_well(here):
    config = load_config(None, [*FAKE, "policy=kserve", "policy.addresses=[unix:a/s,127.0.0.1:8000]"])
    assert config.policy.addresses == (f"unix:{here}/a/s", "127.0.0.1:8000")
    assert load_config(None, [*FAKE, "policy=noop", "serving.address=unix:s"]).serving.address == f"unix:{here}/s"
    _, serving = load_policy("noop", ["serving.address=unix:~/s"])
    assert serving.address == f"unix:{here.parent}/home/s"


HUB = ["policy=lerobot"]


PATH_LIKE = ["act", "./outputs/act", "outputs/act/", "a/b/c", "../act", "~/act", "outputs/act", ".x/act"]


@pytest.mark.parametrize("name", PATH_LIKE)
def test_what_is_a_path_never_becomes_an_id_on_the_hub(here, name):
    (here / "outputs").mkdir()
    config = load_config(None, [*FAKE, *HUB, f"policy.path={name}"])
    assert config.policy.path == absolute(name, "policy.path")
    with pytest.raises(SetupError, match="expected a checkpoint's folder, found none"):
        open_checkpoint(config.policy.path, None)


def test_an_id_on_the_hub_is_one_wherever_it_is_read_again(here, tmp_path, monkeypatch):
    config = load_config(None, [*FAKE, *HUB, "policy.path=lerobot/act"])
    assert config.policy.path == "hub:lerobot/act"
    (tmp_path / "node" / "lerobot" / "act").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "node")
    assert load_config(config.resolved()).policy.path == "hub:lerobot/act"
    assert load_config(None, [*FAKE, *HUB, "policy.path=lerobot/act"]).policy.path == f"{tmp_path}/node/lerobot/act"


@pytest.mark.parametrize("name", ["hub:act", "hub:", "hub:../act", "hub:/a/b", "hub:a/b/c"])
def test_what_cannot_be_an_id_is_refused(name):
    with pytest.raises(ConfigError, match="expected an id like hub:lerobot/act"):
        load_config(None, [*FAKE, *HUB, f"policy.path={name}"])


def test_a_folder_of_the_driver_stays_that_folder_in_another_working_folder(here, tmp_path, monkeypatch):
    """A node of a joined cluster, where the driver's folders are not."""
    (here / "outputs" / "act").mkdir(parents=True)
    section = load_config(None, [*FAKE, *HUB, "policy.path=outputs/act"]).policy
    assert section == LeRobotPolicySection(path=f"{here}/outputs/act")
    (here / "outputs" / "act").rmdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SetupError, match=r"a checkpoint's folder, found none on .*policy\.path=hub:lerobot/act"):
        open_checkpoint(section.path, None)


def test_a_home_that_nobody_has_is_said(here):
    with pytest.raises(ConfigError, match=r"out: expected a home that is known, got '~nobody-of-that-name/x'"):
        load_config(None, [*FAKE, "policy=noop", "out=~nobody-of-that-name/x"])
    (here / "~odd").mkdir()
    assert absolute("~odd", "out") == f"{here}/~odd"


def test_a_working_folder_that_is_gone_is_said_where_a_relative_path_needs_it(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="the working folder is gone"):
        load_config(None, [*FAKE, "policy=noop", "out=x"])
    assert load_config(None, [*FAKE, "policy=noop", "out=/x"]).out == "/x"
    os.chdir(tmp_path)


@pytest.mark.parametrize("value", [3, None, b"x", ["a"]])
def test_an_argument_that_is_no_path_is_refused(value):
    with pytest.raises(ConfigError, match="resume: expected a path, got"):
        user_path(value, "resume")

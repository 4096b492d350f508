"""What a path in a configuration means: the same from everywhere, once it was read."""

import dataclasses
import os
import typing

import pytest

from ray_eval.config import load_config, load_policy
from ray_eval.config.paths import absolute, user_path
from ray_eval.config.schema import EvalConfig
from ray_eval.errors import ConfigError, SetupError
from ray_eval.policies.lerobot.checkpoint import open_checkpoint
from ray_eval.sections import PLACE, POLICY_TYPES, LeRobotPolicySection, ReplayPolicy

FAKE = ["suite=fake"]
SERVER = ["policy=kserve", "policy.addresses=[127.0.0.1:8000]"]
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
    "out": (["policy=noop"], lambda c: c.out),
    "policy.path": (["policy=replay"], lambda c: c.policy.path),
    "policy.token_file": (SERVER, lambda c: c.policy.token_file),
    "policy.certificate": (SERVER, lambda c: c.policy.certificate),
    "policy.python": (["policy=lerobot", "policy.path=/x"], lambda c: c.policy.python),
    "execution.latency.trace": (["policy=noop", "execution.mode=async"], lambda c: c.execution.latency.trace),
}


@pytest.mark.parametrize(("key", "words", "read"), [(key, *rest) for key, rest in PLACES.items()], ids=list(PLACES))
def test_a_path_is_relative_to_where_it_was_typed_on_every_door(here, key, words, read):
    def through_file(text):
        file = here.parent / "elsewhere.yaml"
        file.write_text(f"{key}: {text}\n")
        return load_config(file, [*FAKE, *words])

    doors = (
        lambda text: load_config(None, [*FAKE, *words, f"{key}={text}"]),
        lambda text: load_config({key: text}, [*FAKE, *words]),
        through_file,
    )
    for door in doors:
        assert read(door("a/b")) == f"{here}/a/b"
        assert read(door("../b")) == f"{here.parent}/b"
        assert read(door("~/b")) == f"{here.parent}/home/b"
        assert read(door("/b")) == "/b"
        assert read(load_config(door("a/b").resolved())) == f"{here}/a/b"


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


def test_sections_made_in_python_are_settled_too(here):
    config = load_config({"suite": "fake", "policy": ReplayPolicy(path="recorded")})
    assert config.policy == ReplayPolicy(path=f"{here}/recorded")


HUB = ["policy=lerobot"]


@pytest.mark.parametrize(
    "name", ["act", "./outputs/act", "outputs/act/", "a/b/c", "../act", "~/act", "outputs/act", ".x/act"]
)
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
    with pytest.raises(
        SetupError, match=r"expected a checkpoint's folder, found none on .*policy\.path=hub:lerobot/act"
    ):
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

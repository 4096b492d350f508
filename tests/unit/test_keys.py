"""Every key of a configuration is listed with its default and a sentence, and what is listed can be written."""

import json

import pytest

from ray_eval.cli import main
from ray_eval.cli.keys import complete_words
from ray_eval.config import load_config
from ray_eval.config.keys import keys
from ray_eval.errors import ConfigError

RUN = ("suite=fake", "policy=noop", "protocol=lerobot")


def test_every_key_has_a_sentence():
    assert [key.name for key in keys() if not key.text or "None" in key.text] == []


@pytest.mark.parametrize("key", [key for key in keys() if not key.owner], ids=lambda key: key.name)
def test_every_default_can_be_written_as_it_is_listed(key):
    given = (
        []
        if key.name in ("suite", "protocol.name") or key.default in ("required", "")
        else [f"{key.name}={key.default}"]
    )
    load_config(None, [*RUN, *given])


def test_no_key_of_a_resolved_configuration_is_missing():
    listed = {key.name for key in keys()}
    config = load_config(None, [*RUN, "execution.mode=async", "execution.latency.uniform.low_ms=1",
                                "execution.latency.uniform.high_ms=2"])  # fmt: skip

    def leaves(values, prefix=""):
        for name, value in values.items():
            if isinstance(value, dict) and value and name != "max_steps":
                yield from leaves(value, f"{prefix}{name}.")
            else:
                yield prefix + name

    resolved = config.resolved()
    unlisted = {"policy.type", "execution.latency.lognormal"}
    assert set(leaves(resolved)) - listed - unlisted == set()


def test_keys_are_chosen_by_how_they_begin_or_by_whose_they_are(capsys):
    assert main(["keys", "execution.latency", "--json"]) == 0
    names = [each["name"] for each in json.loads(capsys.readouterr().out)]
    assert names[:2] == ["execution.latency.steps", "execution.latency.ms"]
    assert main(["keys", "policy=openpi"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("policy=openpi:\n  policy.addresses=[] *\n      Servers that answer alike"), out
    assert main(["keys", "protocol.env_seed"]) == 0
    assert "LIBERO takes protocol=openpi unless said" in capsys.readouterr().out
    assert main(["keys", "exection"]) == 2
    assert "Did you mean" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        keys("polic")


def test_a_shell_completes_names_and_keys():
    assert complete_words("policy=lerobot") == ["policy=lerobot", "policy=lerobot_server"]
    assert complete_words("execution=") == ["execution=lerobot_async"]
    assert "execution.latency.ms=" in complete_words("execution.la")
    assert complete_words("first") == ["first_light"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_what_completes(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "ray-eval" in capsys.readouterr().out

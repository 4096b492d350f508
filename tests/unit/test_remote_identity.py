"""What of a server's metadata says which policy is behind it."""

import json

import numpy as np
import pytest

from ray_eval.policies.remote.identity import difference, plain, told, unsteady


def test_metadata_of_any_kind_becomes_a_text_that_is_the_same_again():
    metadata = {
        b"model": b"pi05",
        "mixed": {1: "a", b"b": (1, 2)},
        "pose": np.arange(3, dtype=np.float32),
        "large": np.zeros((100, 100), np.uint8),
        "number": np.float32(0.5),
        "none": None,
        "bytes": b"\xff\x00",
    }
    text = told(plain(metadata))
    assert text == told(plain(dict(reversed(metadata.items()))))
    read = json.loads(text)
    assert (read["model"], read["pose"], read["number"]) == ("pi05", [0.0, 1.0, 2.0], 0.5)
    assert read["large"].startswith("uint8 [100, 100] SHA-256 ")
    assert told(plain({**metadata, "large": np.ones((100, 100), np.uint8)})) != text


def test_ordinary_metadata_keeps_the_text_that_older_ledgers_have():
    metadata = {"model": "pi05", "action_horizon": 10, "nested": {"b": 1, "a": [1, 2]}}
    assert told(plain(metadata)) == json.dumps(metadata, sort_keys=True, default=str)


@pytest.mark.parametrize(
    "key", ["timestamp", "started_at", "startTime", "server_time", "uptime_s", "pid", "request_count"]
)
def test_what_belongs_to_the_process_is_left_out(key):
    assert told({"model": "pi05", "server": {key: 1.0}}) == told({"model": "pi05", "server": {}})


@pytest.mark.parametrize(
    "key", ["checkpoint_date", "train_time", "model", "ckpt_path", "config", "saved_at_time", "version"]
)
def test_what_may_tell_one_checkpoint_from_another_stays(key):
    assert told({key: "a"}) != told({key: "b"})


def test_what_two_connections_are_told_differently_is_left_out_and_so_is_what_the_user_names():
    first, second = ({"model": "a", "nonce": number, "list": [1, number]} for number in (1, 2))
    dropped = unsteady(first, second)
    assert told(first, dropped) == told(second, dropped) == '{"list": [1], "model": "a"}'
    assert told({"gpu": "b", "model": "a"}, ignored=["gpu"]) == '{"model": "a"}'


def test_the_key_under_which_two_differ_is_named_with_both_values():
    assert difference('{"a": {"b": 1, "c": 2}}', '{"a": {"b": 1, "c": 3}}') == ("a.c", "2", "3")
    assert difference("{}", '{"new": 1}') == ("new", "nothing", "1")
    assert difference("{}", "{}") is None

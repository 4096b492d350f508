"""The files behind a path that a server of this machine loads: seen, and compared when it loads them again."""

import json

import pytest

from ray_eval.errors import PolicyChanged
from ray_eval.policies.remote.served_files import ServedFiles

HERE, ELSEWHERE = "127.0.0.1:8080", "gpu-1:8080"


@pytest.fixture
def checkpoint(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"type": "act"}))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def test_the_same_files_pass_and_others_are_another_policy(checkpoint):
    files = ServedFiles([HERE, "grpc://localhost:9"], str(checkpoint))
    files.check(HERE)
    (checkpoint / "model.safetensors").write_bytes(b"weights")  # written anew
    files.check(HERE)
    (checkpoint / "model.safetensors").write_bytes(b"wEights")
    with pytest.raises(PolicyChanged, match=rf"policy server at {HERE}: expected the checkpoint .* in {checkpoint} "):
        files.check(HERE)
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    files.check(HERE)


def test_files_that_are_gone_are_no_longer_those(checkpoint):
    files = ServedFiles([HERE], str(checkpoint))
    (checkpoint / "config.json").unlink()
    with pytest.raises(PolicyChanged, match="put the former one back"):
        files.check(HERE)


@pytest.mark.parametrize("path", ["lerobot/act", "outputs/act", "/nowhere"])
def test_what_cannot_be_seen_from_here_has_no_digest(path, checkpoint):
    for files in (ServedFiles([HERE], path), ServedFiles([HERE, ELSEWHERE], str(checkpoint))):
        assert files.digest is None
        files.check(HERE)

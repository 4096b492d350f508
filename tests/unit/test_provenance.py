"""Where a run came from: the commit of a checkout, and the policy's machine."""

import importlib
import subprocess
import sys

import PIL
import pytest

from ray_eval.driver.provenance import aggregation_identity, check_versions, preprocessing_identity, source_commit
from ray_eval.errors import SetupError
from ray_eval.rollout.running import installed_versions
from ray_eval.sections import BatchingSection, FakePolicySection, ImageRecipe, ListenSection, ObservationRecipe
from ray_eval.serving.actor import PolicyActor
from ray_eval.types import IMAGE_KEYS, STATE


def git(tree, *words: str) -> str:
    names = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    done = subprocess.run(["git", "-C", tree, *names, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_checkout_has_its_commit_and_says_that_it_was_changed(tmp_path):
    assert source_commit(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert source_commit(tmp_path) is None
    (tmp_path / "x").write_text("1")
    git(tmp_path, "add", "x")
    git(tmp_path, "commit", "-qm", "x")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert source_commit(tmp_path) == commit
    (tmp_path / "untracked").touch()
    assert source_commit(tmp_path) == commit
    (tmp_path / "x").write_text("2")
    assert source_commit(tmp_path) == f"{commit}+changes"


def test_a_policy_actor_tells_its_host_and_versions(tmp_path):
    listen = ListenSection(f"unix:{tmp_path / 's'}", "token")
    actor = PolicyActor("policy-0 fake", FakePolicySection(), listen, BatchingSection())
    try:
        about = actor.describe()
    finally:
        actor.close()
    assert about["host"]
    assert {"python", "numpy", "grpcio"} <= about["versions"].keys()
    assert isinstance(about["gpus"], list)


def test_pillow_is_compared_between_workers_and_names_a_run_where_it_makes_the_pixels():
    versions = installed_versions()
    assert versions["pillow"] == PIL.__version__
    with pytest.raises(SetupError, match="the same versions everywhere"):
        check_versions([versions, {**versions, "pillow": "1"}])
    workers, sent = [{"versions": versions}], (IMAGE_KEYS[0],)
    shrunk = ImageRecipe(resize="bilinear", image_size_px=224)
    named = {"pillow": PIL.__version__}
    assert preprocessing_identity(workers, ObservationRecipe(sent, images=shrunk)) == named
    assert preprocessing_identity(workers, ObservationRecipe(sent, images=ImageRecipe(jpeg_quality=95))) == named
    assert preprocessing_identity(workers, ObservationRecipe(sent)) == {}
    assert preprocessing_identity(workers, ObservationRecipe((STATE,), images=shrunk)) == {}


def test_a_users_own_aggregation_names_a_run_by_what_its_file_says(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for share in ("0.5", "0.6"):
        (tmp_path / "their_aggregations.py").write_text(f"def mix(old, new):\n    return {share} * old + new\n")
        sys.modules.pop("their_aggregations", None)
        importlib.invalidate_caches()
        found.append(aggregation_identity("their_aggregations:mix"))
    assert found[0].keys() == {"aggregate_sha256"}
    assert found[0] != found[1]
    assert aggregation_identity("weighted_average") == {}

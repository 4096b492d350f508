"""Where a run came from: the commit of a checkout, and the policy's machine."""

import subprocess

from ray_eval.driver.provenance import source_commit
from ray_eval.sections import BatchingSection, FakePolicySection, ListenSection
from ray_eval.serving.actor import PolicyActor


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

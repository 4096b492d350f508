"""A policy in another interpreter: real child processes, asked over real gRPC."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ray_eval.errors import PolicyChanged, SetupError
from ray_eval.policies.contract import trial_observation
from ray_eval.rollout.client import PolicyClient
from ray_eval.sections import BatchingSection, Kwargs, ListenSection, TorchPolicySection
from ray_eval.serving.actor import PolicyActor
from ray_eval.serving.hosting import serve_in_child

MODULE = """
import sys
import numpy as np
import ray_eval
from ray_eval.errors import SetupError
from ray_eval.types import STATE, ActionChunk, PolicySpec

class Hosted:
    spec = PolicySpec(
        "hosted", (STATE,), chunk_len=2, remarks=(sys.executable, ray_eval.__file__), batch_invariant=True
    )

    def infer_batch(self, observations):
        return [ActionChunk(np.full((2, 7), o.arrays[STATE][0], np.float32)) for o in observations]

def make(how="well", **others):
    if others:
        raise SetupError(f"got {others}")
    if how == "missing":
        import a_module_that_nobody_has
    if how == "refused":
        raise SetupError("policy.kwargs.how: expected well, got refused; write well")
    if how == "silent":
        import os
        os._exit(3)
    return Hosted()
"""


@pytest.fixture
def factory(tmp_path, monkeypatch):
    (tmp_path / "hosted_policy.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def section(how="well", python=sys.executable):
        return TorchPolicySection("hosted_policy:make", Kwargs(how=how), python=python)

    return section


@pytest.fixture
def listen(tmp_path):
    return ListenSection(f"unix:{tmp_path}/s", token="secret")


def hosted(section, listen):
    return PolicyActor("policy-0 torch", section, listen, BatchingSection())


def is_alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_for(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_hosted_policy_answers_with_our_sources_and_with_no_other_package_of_ours(factory, listen):
    actor = hosted(factory(), listen)
    spec = actor.spec()
    child = actor._server.pid
    client = PolicyClient(actor.connection)
    observation = trial_observation(spec, 0)
    assert client.infer(observation, "r/0").result().actions[0, 0] == observation.arrays["observation.state"][0]
    assert actor.metrics()["batch_sizes"] == {1: 1}
    # Through a folder that holds ray_eval and nothing else, so that none of this interpreter's packages come along.
    executable, imported_from = spec.remarks
    assert executable == sys.executable
    assert [path.name for path in Path(imported_from).parents[1].iterdir()] == ["ray_eval"]
    client.close()
    actor.close()
    assert not is_alive(child)


def test_arguments_reach_the_child_with_their_types(factory, listen):
    arguments = {"b": True, "n": None, "i": 3, "t": "3", "d": "${not.ours}", "l": [1.5, "\N{SNOWMAN}\N{PILE OF POO}"]}
    section = dataclasses.replace(factory(), kwargs=Kwargs(arguments))
    with pytest.raises(SetupError) as caught:
        hosted(section, listen).spec()
    assert f"got {arguments}" in str(caught.value)


def test_versions_are_those_of_the_interpreter_that_the_policy_runs_in(factory, listen, tmp_path):
    (tmp_path / "transformers-9.dist-info").mkdir()
    (tmp_path / "transformers-9.dist-info" / "METADATA").write_text("Name: transformers\nVersion: 9\n")
    actor = hosted(factory(), listen)
    assert actor.describe()["versions"]["transformers"] == "9"
    actor.close()


def test_a_child_that_is_killed_is_started_again_and_the_client_notices_nothing(factory, listen):
    actor = hosted(factory(), listen)
    client = PolicyClient(actor.connection, actor.spec(), try_timeout_s=1)
    observation = trial_observation(actor.spec(), 0)
    expected = client.infer(observation, "r/0").result().actions.tobytes()
    first = actor._server.pid
    os.kill(first, signal.SIGKILL)
    assert client.infer(observation, "r/1").result().actions.tobytes() == expected
    assert actor._server.pid != first
    client.close()
    actor.close()


def test_a_child_that_comes_back_with_another_policy_is_asked_nothing(factory, listen, tmp_path):
    actor = hosted(factory(), listen)
    client = PolicyClient(actor.connection, actor.spec(), try_timeout_s=1)
    observation = trial_observation(actor.spec(), 0)
    client.infer(observation, "r/0").result()
    # One row fewer in a chunk: the arrays of a request would do for both.
    (tmp_path / "hosted_policy.py").write_text(MODULE.replace("chunk_len=2", "chunk_len=1").replace("(2, 7)", "(1, 7)"))
    os.kill(actor._server.pid, signal.SIGKILL)
    with pytest.raises(PolicyChanged, match=r"expected the policy that the run began with .*got 'hosted'.*; put its"):
        client.infer(observation, "r/1").result()
    assert actor.metrics()["batch_sizes"] == {}
    client.close()
    actor.close()


def test_a_child_ends_with_its_parent_however_that_ends(factory, listen, tmp_path):
    program = tmp_path / "parent.py"
    program.write_text(
        "import sys, time\n"
        "from ray_eval.sections import *\n"
        "from ray_eval.serving.actor import PolicyActor\n"
        "section = TorchPolicySection('hosted_policy:make', python=sys.executable)\n"
        f"actor = PolicyActor('p', section, ListenSection('{listen.address}'), BatchingSection())\n"
        "actor.spec(); print(actor._server.pid, flush=True); time.sleep(600)\n"
    )
    path = os.pathsep.join([os.environ["PYTHONPATH"], str(Path(__file__).resolve().parents[2])])
    with subprocess.Popen(
        [sys.executable, program], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as parent:
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
        wait_for(lambda: not is_alive(child))


def test_a_process_that_forgets_to_close_ends_all_the_same(factory, listen, tmp_path):
    program = tmp_path / "forgetful.py"
    program.write_text(
        "import sys\n"
        "from ray_eval.sections import *\n"
        "from ray_eval.serving.actor import PolicyActor\n"
        "section = TorchPolicySection('hosted_policy:make', python=sys.executable)\n"
        f"actor = PolicyActor('p', section, ListenSection('{listen.address}'), BatchingSection())\n"
        "actor.spec(); print(actor._server.pid)\n"
    )
    path = os.pathsep.join([os.environ["PYTHONPATH"], str(Path(__file__).resolve().parents[2])])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, env=environment, timeout=120, check=True
    )
    wait_for(lambda: not is_alive(int(done.stdout)))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("refused", r"^policy\.entrypoint hosted_policy:make: .*expected well, got refused; write well$"),
        ("missing", r"a_module_that_nobody_has"),
        ("silent", r"got its end by exit code 3"),
    ],
)
def test_a_child_that_cannot_start_says_why_in_the_parent(factory, listen, how, message):
    with pytest.raises(SetupError, match=message):
        hosted(factory(how), listen).spec()


def test_an_interpreter_that_is_not_there_or_is_none_is_refused(factory, listen, tmp_path):
    with pytest.raises(SetupError, match=r"policy\.python=/no/such/python: expected a Python interpreter"):
        hosted(factory(python="/no/such/python"), listen).spec()
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    with pytest.raises(SetupError, match=r"expected grpcio, .* there, for ray-eval's own side.*-m pip install grpcio"):
        hosted(factory(python=str(bare / "bin/python")), listen).spec()


def test_serving_in_a_child_by_hand_leaves_nothing_behind(factory, listen):
    with serve_in_child(factory(), listen, BatchingSection()) as child:
        assert child.spec.name == "hosted"
        pid, folder = child.pid, child._folder
        assert oct((folder / "token").stat().st_mode)[-3:] == "600"
    assert not is_alive(pid)
    assert not folder.exists()
    assert not Path(listen.address.removeprefix("unix:")).exists()

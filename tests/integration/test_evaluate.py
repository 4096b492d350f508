"""`ray_eval.evaluate` from a program: a policy of its own, again and again, from a thread, beside a Ray of its own."""

import dataclasses
import json
import os
import signal
import threading
from pathlib import Path

import psutil
import pytest
import ray
import torch

import ray_eval
from ray_eval.cli import main
from ray_eval.driver import kept
from ray_eval.driver.sweep import create_sweep, plan_sweep, run_sweep
from ray_eval.errors import ConfigError
from ray_eval.policies.fake import FakePolicy
from ray_eval.sim_client import SimClient, SimClientConfig, SimEnv
from ray_eval.types import STATE, PolicySpec

WORDS = ("suite=fake", "tasks=[0]", "episodes_per_task=2", "protocol.max_steps=60", "workers=1", "ray.dashboard=false")

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


@pytest.fixture
def evaluated(tmp_path, monkeypatch):
    """Evaluates in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return lambda *words, **options: ray_eval.evaluate(overrides=[*WORDS, *words], **options)


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left():
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    ray_eval.release()
    assert not ray.is_initialized()
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    _, alive = psutil.wait_procs(left, timeout=60)
    assert alive == []


def hashes(evaluation):
    return [(result.spec.episode_id, result.outcome, result.trajectory_sha256) for result in evaluation.results]


def worker_pids():
    return sorted(description["pid"] for description in kept._kept.session.described.values())


class Noting(FakePolicy):
    """Notes which process asks it."""

    pids: tuple[int, ...] = ()
    chunk_len = 10

    @property
    def spec(self):
        return dataclasses.replace(super().spec, chunk_len=self.chunk_len)

    def infer_batch(self, observations):
        self.pids = (os.getpid(),)
        return super().infer_batch(observations)


def test_a_programs_own_policy_is_asked_where_it_is_again_and_again(evaluated):
    policy, threads = Noting(10, images=False), torch.get_num_threads()
    before = signal.getsignal(signal.SIGTERM)
    first = evaluated(policy=policy)
    assert first.is_complete, first.results
    assert policy.pids == (os.getpid(),)
    workers = worker_pids()
    assert hashes(evaluated(policy=policy)) == hashes(first)
    assert worker_pids() == workers, "the workers are kept"
    assert (torch.get_num_threads(), signal.getsignal(signal.SIGTERM)) == (threads, before)
    assert [first.config.policy_type, first.config.policy.name] == ["live", policy.spec.name]
    assert "2/2   100.0 %" in str(first), str(first)
    assert str(first).splitlines()[0].strip() == f"{policy.spec.name} · protocol openpi · sync"
    policy.chunk_len = 4
    with pytest.raises(ray_eval.SetupError, match=r"actions\.shape"):
        evaluated(policy=policy)
    assert not ray.is_initialized(), "what broke is not kept"


@pytest.mark.nightly
def test_a_program_that_ends_the_kept_ray_itself_and_starts_its_own_keeps_that(evaluated):
    first = evaluated(policy=FakePolicy(10))
    ray.shutdown()
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        mine = ray.get_runtime_context().get_session_name()
        assert hashes(evaluated(policy=FakePolicy(10))) == hashes(first)
        ray_eval.release()
        assert ray.get_runtime_context().get_session_name() == mine
    finally:
        ray.shutdown()


@pytest.fixture
def callers_ray():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    assert ray.is_initialized()
    assert kept._kept is None, "nothing of ours stays in a Ray of the caller's"
    ray.shutdown()


def test_a_thread_the_described_class_a_served_policy_and_a_sweep_in_a_ray_of_the_callers_own(
    evaluated, callers_ray, capsys
):
    found = []
    thread = threading.Thread(target=lambda: found.append(evaluated(policy=FakePolicy(10))))
    thread.start()
    thread.join()
    assert hashes(found[0]) == hashes(evaluated("policy.type=fake"))
    env = SimEnv("fake", "fake", task_ids=(0, 1))
    client = SimClient(SimClientConfig(policy_type="fake", env=env, n_episodes=1, actions_per_chunk=3, words=WORDS[3:]))
    assert client.start()
    results = client.control_loop(task="reach it")
    client.stop()
    assert "ray-eval run policy.type=fake simulator=fake suite=fake" in capsys.readouterr().out
    assert [result.spec.episode_id for result in results.results] == ["fake/0/0", "fake/1/0"]
    assert (results.config.task_text, results.rate.value) == ("reach it", 1.0)
    _sweep_of_arms(capsys)


def _sweep_of_arms(capsys):
    arms = ["policy.type=fake policy.images=false", "policy=noop policy.images=false"]
    found = run_sweep_in(Path("arms"), plan_sweep(None, WORDS, arms))
    assert [point.rate.successes for point in found.points] == [2, 0]
    assert main(["episode", "arms", "--failures"]) == 0
    lines = capsys.readouterr().out.splitlines()
    folder = "arms/points/1-arm=policy=noop_policy.images=false"
    assert [line.partition("  #")[0] for line in lines] == [
        f"ray-eval episode {folder} fake/0/{index}" for index in range(2)
    ]
    assert main(["episode", "arms", "fake/0/0"]) == 2
    assert "got a sweep's; name one of its points, for instance arms/points/0-" in capsys.readouterr().err


def run_sweep_in(out, plan):
    create_sweep(plan, out)
    return run_sweep(plan, out)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (torch.nn.Linear(8, 7), "got a Linear whose spec is a NoneType"),
        (PolicySpec("p", (STATE,), 1), "got a PolicySpec whose spec"),
    ],
    ids=["a network", "a spec"],
)
def test_what_is_no_policy_is_said_before_anything_starts(evaluated, policy, message):
    with pytest.raises(ConfigError, match=message):
        evaluated(policy=policy)


def test_a_policy_that_nothing_identifies_is_not_resumed(evaluated, tmp_path):
    with pytest.raises(ConfigError, match="resume: expected a policy whose spec has a digest"):
        evaluated(policy=FakePolicy(10), resume=tmp_path)
    with pytest.raises(ConfigError, match=r"policy\.type=live: expected an object of a Python program"):
        evaluated("policy=live")


@pytest.mark.nightly
def test_twenty_calls_leave_no_process_and_no_memory(evaluated):
    policy = FakePolicy(10, images=False)
    own, sizes = psutil.Process(), []
    for _ in range(20):
        evaluated(policy=policy)
        there = own.children(recursive=True)
        sizes.append((len(there), own.num_fds(), own.memory_info().rss + sum(each.memory_info().rss for each in there)))
    counts, descriptors, memory = zip(*sizes[2:], strict=True)
    assert len(set(counts)) == 1
    assert max(descriptors) - min(descriptors) <= 4
    assert memory[-1] - memory[0] < 50e6, "bytes"


@pytest.mark.nightly
def test_checkpoints_of_a_training_are_watched_and_gone_on_with(tmp_path, monkeypatch, capsys):
    """Two checkpoints, then a third one: the first two are not run again."""
    monkeypatch.chdir(tmp_path)

    class Still(torch.nn.Module):
        def forward(self, state):
            return torch.zeros(state.shape[0], 10, 7)

    module = torch.jit.script(Still())
    words = [f"policy.{word}" for word in ("keys=[observation.state]", "chunk_len=10", "action_dim=7")]
    words += [*WORDS[:2], "episodes_per_task=2", "protocol.max_steps=20", *WORDS[4:]]
    for rounds, steps in ((1, (100, 200)), (2, (300,))):
        for step in steps:
            torch.jit.save(module, tmp_path / f"step_{step}.pt")
            os.utime(tmp_path / f"step_{step}.pt", (0, 0))
        assert main(["watch", ".", *words, "--out", "watched", "--states", "2", "--once"]) == 0
        said = capsys.readouterr().out
        assert [f"step {step}: 0/2" in said for step in (100, 200, 300)] == ([True, True, False], [False, False, True])[
            rounds - 1
        ], said
        assert "on init states 3-4" in said
    summary = json.loads((tmp_path / "watched" / "summary.json").read_text())
    assert summary["axes"] == {"step": ["100", "200", "300"]}
    assert (tmp_path / "watched" / "success.png").is_file()

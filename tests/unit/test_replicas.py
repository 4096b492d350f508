"""Policy actors of a run: shares, figures, and where workers find one while they come and go."""

import contextlib
from types import SimpleNamespace

import pytest
import ray
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from ray_eval.awake import AwakeClock
from ray_eval.config import load_config
from ray_eval.driver import replicas
from ray_eval.driver.outage import Outage
from ray_eval.driver.replicas import gpu_share, policy_cpus, summed
from ray_eval.driver.sweep import _by_policy
from ray_eval.errors import ConfigError, EpisodeError, PolicyGone, PolicyUnavailable, SetupError
from ray_eval.rollout.episode import error_result
from ray_eval.sections import ConnectSection, OraclePolicy, TorchPolicySection
from ray_eval.types import EpisodeSpec


def test_figures_of_several_servers_add_up():
    first = {"requests": 3, "batch_sizes": {1: 3}, "forward_ms": 1.5}
    second = {"requests": 5, "batch_sizes": {1: 1, 4: 1}, "forward_ms": 0.5}
    assert summed([first, second]) == {"requests": 8, "batch_sizes": {1: 4, 4: 1}, "forward_ms": 2.0}
    assert summed([first]) == first


@pytest.mark.parametrize(
    ("section", "replicas", "gpus", "share"),
    [
        (TorchPolicySection(path="x.pt"), 1, 0.0, 0.0),
        (TorchPolicySection(path="x.pt"), 2, 8.0, 1.0),
        (TorchPolicySection(path="x.pt"), 4, 2.0, 0.5),
        (TorchPolicySection(path="x.pt"), 3, 1.0, 0.3333),
        (TorchPolicySection(path="x.pt", device="cpu"), 1, 8.0, 0.0),
        (OraclePolicy(), 1, 8.0, 0.0),
    ],
)
def test_each_policy_actor_has_a_gpu_where_it_uses_one(section, replicas, gpus, share):
    assert gpu_share(section, replicas, gpus) == share


def test_policies_that_compute_keep_cpus_free_for_themselves():
    words = ("suite=fake", "serving.replicas=2", "serving.threads=3")
    assert policy_cpus(load_config(None, ["policy=torch", "policy.path=x.pt", *words])) == 6
    assert policy_cpus(load_config(None, ["policy=oracle", *words])) == 0


def test_several_replicas_at_one_port_are_refused():
    with pytest.raises(ConfigError, match=r"serving\.address: expected auto, or port 0"):
        load_config("first_light", ["serving.replicas=2", "serving.address=127.0.0.1:8000"])


def test_points_of_a_sweep_share_a_policy_actor_only_if_policy_and_forwards_are_the_same():
    def part(*words):
        entry = ("suite=fake", "policy=torch", "policy.entrypoint=m:f", "policy.kwargs.a=1")
        return SimpleNamespace(config=load_config(None, [*entry, *words]))

    parts = [part("seed=0"), part("serving.batch_size=4"), part("seed=1"), part("policy.chunk_len=3")]
    assert [[parts.index(each) for each in group] for group in _by_policy(parts)] == [[0, 2], [1], [3]]


class Actor:
    """A policy actor: it serves, is being started again, stands still, or could not load its policy again."""

    def __init__(self, name):
        self.state, self.address = "serves", f"unix:/{name}"
        self.connection = SimpleNamespace(remote=lambda: Question(self))


class Question:
    """Asked once; what stood still answers when it goes on, what refused has refused."""

    def __init__(self, actor):
        self.actor = actor
        self.state = None if actor.state == "silent" else actor.state

    def look(self):
        if self.state is None and self.actor.state != "silent":
            self.state = self.actor.state
        return self.state


class PlayedRay:
    """Ray and the clock, as far as replicas ask them."""

    exceptions = ray.exceptions

    def __init__(self):
        self.now_s = 0.0

    def monotonic(self):
        return self.now_s

    def get(self, question, timeout=None):
        state = question.look()
        if state is None:
            self.now_s += timeout
            raise ray.exceptions.GetTimeoutError
        if state == "away":
            raise ray.exceptions.ActorUnavailableError("away", None)
        if state == "broken":
            raise ray.exceptions.RayTaskError("connection", "", SetupError("no such file"))
        return ConnectSection(question.actor.address)

    def wait(self, questions, num_returns, timeout):
        del num_returns, timeout
        there = [each for each in questions if each.look() is not None]
        return there, [each for each in questions if each not in there]


class ReplicasThatComeAndGo(RuleBasedStateMachine):
    """Workers look for a policy actor, and the driver waits for one, while actors die, freeze, return and fail."""

    @initialize(count=st.integers(1, 3))
    def begin(self, count):
        self.patch = pytest.MonkeyPatch()
        self.world = PlayedRay()
        self.patch.setattr(replicas, "ray", self.world)
        self.patch.setattr(replicas, "time", self.world)
        self.actors = [Actor(f"policy-{index}") for index in range(count)]
        self.addresses = [replicas.PolicyAddress(self.actors, index, 12.0) for index in range(4)]
        self.waits = None

    def teardown(self):
        self.patch.undo()

    @rule(data=st.data(), state=st.sampled_from(["serves", "away", "silent", "broken"]))
    def change(self, data, state):
        actor = data.draw(st.sampled_from(self.actors))
        actor.state = state
        self.was_served |= state == "serves"

    was_served = False

    @rule(index=st.integers(0, 3))
    def a_worker_asks_where_its_policy_is(self, index):
        address, states = self.addresses[index], {actor.state for actor in self.actors}
        before = self.actors[address._at]
        if "serves" not in states:
            with pytest.raises(PolicyGone if states == {"broken"} else PolicyUnavailable):
                address()
            return
        found = address()
        serving = [actor.address for actor in self.actors if actor.state == "serves"]
        assert found.address in serving
        assert found.infer_timeout_s == 12.0
        # It stays with its own as long as that one answers.
        assert found.address == before.address or before.state != "serves"

    @rule()
    def an_attempt_is_left_without_an_answer(self):
        if self.waits is None:
            self.waits = replicas._Return(self.actors, longest_s=60.0)
            self.waited = AwakeClock(self.world.monotonic)
            self.was_served = any(actor.state == "serves" for actor in self.actors)

    @rule(seconds=st.sampled_from([0.5, 30.0, 3600.0]))
    def the_driver_looks_whether_it_may_lease_again(self, seconds):
        self.world.now_s += seconds
        if self.waits is None:
            return
        is_late = self.waited() > 60.0
        answers = {question.look() for question in self.waits._asked}
        try:
            is_over = self.waits.is_over()
        except PolicyGone:
            # Nobody who was asked served then, and either nobody could, or it took too long.
            assert "serves" not in answers
            assert is_late or answers == {"broken"}
            self.waits = None
            return
        assert not (is_late and not is_over)
        assert self.was_served or not is_over
        if is_over:
            self.waits = None


ReplicasThatComeAndGo.TestCase.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
TestReplicasThatComeAndGo = ReplicasThatComeAndGo.TestCase


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30), st.integers(1, 3), st.integers(1, 4))
def test_an_outage_is_one_of_several_episodes_in_a_row(attempts, attempts_each, workers):
    outage, silent = Outage(), []
    for name, is_silent in attempts:
        spec = EpisodeSpec("fake", 0, "abc".index(name), env_seed=0, max_steps=1)
        silent = [*silent, name] if is_silent else []
        error = PolicyUnavailable("silence") if is_silent else EpisodeError("broke")
        is_out = len(set(silent)) > 1 and len(silent) >= 2 * max(attempts_each, workers)
        with pytest.raises(PolicyGone) if is_out else contextlib.nullcontext():
            outage.note(error_result(spec, error), attempts_each, workers)
        if is_out:
            return

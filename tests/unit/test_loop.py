"""The driver's loop under random schedules: what Ray would bring is drawn, and so is who dies, freezes or changes.

The loop, the scheduler, the crew and the checker of ledgers are the real ones. Ray, the clock and the disk are played.
"""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from ray_eval.chaos.rules import violations
from ray_eval.config import load_config, simulator_section
from ray_eval.driver import crew as crew_module
from ray_eval.driver import execution as execution_module
from ray_eval.driver.api_server import ApiServer
from ray_eval.driver.contents import OwnContents
from ray_eval.driver.context import Context
from ray_eval.driver.crew import Crew
from ray_eval.driver.execution import Execution
from ray_eval.driver.plan import plan_of
from ray_eval.driver.simulators import simulator_of
from ray_eval.errors import ContractError, EpisodeError, PolicyGone, PolicyUnavailable, SetupError
from ray_eval.report.progress import ProgressView
from ray_eval.rollout import actor as actor_module
from ray_eval.rollout.episode import error_result
from ray_eval.types import EpisodeResult, Outcome

MOST_EVENTS = 60
"""From then on all goes well, so that a run that does not end is one that hangs."""
LIMIT_S = 1.0
ENDS = (
    "success",
    "failure",
    "broken",
    "contract",
    "unserved",
    "death",
    "preempted",
    "unreachable",
    "frozen",
    "bad answer",
)
WELCOMES = ("comes", "comes", "comes", "death", "differs")
"""What may come of a worker's question who it is."""


class Answer:
    """What Ray has for a call: nothing yet, a value, or an error."""

    def __init__(self, actor, spec=None):
        self.actor, self.spec, self.value, self.error, self.is_frozen = actor, spec, None, None, False

    @property
    def is_there(self):
        return self.value is not None or self.error is not None


def called(function):
    return SimpleNamespace(remote=function)


class Actor:
    """A worker, whose process may be dead without anybody knowing."""

    def __init__(self, world):
        self.world, self.is_alive, self.calls = world, True, []
        self._actor_id = b""
        self.prepare = self.turn_to = called(lambda *_: None)
        self.run = called(lambda spec, _attempt, _settings: self.call(spec))
        self.introduce = called(lambda **_: self.call())

    def call(self, spec=None):
        answer = Answer(self, spec)
        self.calls.append(answer)
        if not self.is_alive:
            answer.error = ray.exceptions.RayActorError()
        return answer

    def die(self, *, is_preempted=False):
        self.is_alive = False
        for answer in self.calls:
            if not answer.is_there:
                answer.error = ray.exceptions.RayActorError(preempted=is_preempted)


class World:
    """Ray, a clock and a cluster; what happens next is drawn."""

    exceptions = ray.exceptions

    def __init__(self, data, config):
        self.data, self.config, self.now_s, self.events, self.happened = data, config, 0.0, 0, Counter()
        self.alive, self.lines, self.away, self.api_server = [], [{"kind": "header"}], 0, ApiServer()

    # --- the clock ---

    def monotonic(self):
        return self.now_s

    # --- the cluster ---

    def start_worker(self, *_):
        self.alive.append(Actor(self))
        return self.alive[-1]

    def end(self, actor):
        """Whoever stood still may still have answered before."""
        self.alive.remove(actor)
        for answer in actor.calls:
            if answer.is_frozen and self.draw(st.booleans()):
                self.happened["late"] += 1
                answer.value = EpisodeResult(answer.spec, Outcome.SUCCESS)
        actor.die()

    def ask(self, name, answer):
        if answer.error is not None:
            raise SetupError(f"{name}: expected it to start, got its end")
        return answer.value

    def check_alive(self):
        pass

    # --- Ray ---

    def get(self, answer):
        if answer.error is not None:
            raise answer.error
        return answer.value

    def wait(self, answers, *, num_returns, timeout):
        del num_returns
        self.now_s += 0.1
        # Once every episode has ended, how often this is asked hangs on the thread that writes them down.
        if timeout and not self.execution._scheduler.is_done:
            while not any(answer.is_there for answer in answers) and self.happen(answers):
                pass
        return [each for each in answers if each.is_there], [each for each in answers if not each.is_there]

    def draw(self, strategy):
        return self.data.draw(strategy)

    def happen(self, answers):
        """Something does, to somebody; whether it may have brought an answer."""
        self.events += 1
        if self.events > MOST_EVENTS:
            for answer in answers:
                if answer.is_frozen:
                    self.now_s += 5 * LIMIT_S
                    return False
                self.settle(answer, "success" if answer.spec else "comes")
            return True
        if self.draw(st.integers(0, 9)) == 0:
            self.now_s += 5 * LIMIT_S
            return False
        if self.draw(st.integers(0, 9)) == 0:
            self.happened["idle death"] += 1
            self.draw(st.sampled_from(self.alive)).die()
            return True
        answer = self.draw(st.sampled_from(answers))
        if not answer.is_frozen:
            self.settle(answer, self.draw(st.sampled_from(ENDS if answer.spec else WELCOMES)))
        return True

    def settle(self, answer, how):
        self.happened[how] += 1
        spec = answer.spec
        if how in ("success", "failure"):
            answer.value = EpisodeResult(spec, Outcome(how))
        elif how in ("death", "preempted"):
            answer.actor.die(is_preempted=how == "preempted")
        elif how == "unreachable":
            answer.error = ray.exceptions.ActorUnavailableError("RPC error: recvmsg:Connection reset by peer", None)
        elif how == "frozen":
            answer.is_frozen = True
        elif how == "bad answer":
            answer.error = ray.exceptions.RayTaskError("run", "", ValueError("nonsense"))
        elif how in ("comes", "differs"):
            answer.value = described("1.0" if how == "comes" else "2.0"), None, self.contents.get()
        else:
            kinds = {"broken": EpisodeError, "contract": ContractError, "unserved": PolicyUnavailable}
            answer.value = error_result(spec, kinds[how](how))


def described(version):
    return {"host": "here", "node": None, "versions": {"ray-eval": version}}


class Policies:
    """The policy's actors, which serve again after a while."""

    def __init__(self):
        self.away = 0

    def counted(self):
        return {}

    metrics = counted

    def look(self):
        self.away = 3

    def is_away(self):
        self.away -= self.away > 0
        return self.away > 0


def part_of(world, plan):
    folder = SimpleNamespace(path=Path("run"), place="run", count=lambda _entry: None)
    folder.write = lambda *entries: world.lines.extend(entry.record for entry in entries)
    folder.append_at_end = world.lines.append
    made = SimpleNamespace(
        plan=plan, controls=set(), folder=folder, settings=None, tracking=None, label="", perturbed={}
    )
    made.finished_results = dict
    made.write_summary = lambda: None
    return made


def crew_of(world, context, plan, count):
    crew = Crew(context)
    crew._address_for, crew._environment, crew._planned = (lambda _index: None), {}, plan
    crew._contents = world.contents = OwnContents.of(plan, simulator_section(world.config), simulator_of(world.config))
    for _ in range(count):
        name, worker = crew.start_worker()
        crew.workers[name], crew.described[name] = worker, described("1.0")
    return crew


@pytest.fixture(scope="module")
def configured():
    words = ["suite=fake", "policy=random", "episodes_per_task=2", f"limits.episode_timeout_s={LIMIT_S}"]
    words += ["ray.placement_timeout_s=3600"]  # who is late for its place is told of by Ray alone
    config = load_config(None, words)
    return config, plan_of(config)


totals: Counter[str] = Counter()
endings: Counter[str] = Counter()


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(data=st.data(), workers=st.integers(1, 3))
def test_every_episode_ends_once_and_nobody_is_lost_whatever_comes(configured, data, workers):
    config, plan = configured
    world = World(data, config)
    ended_by, crew = played(world, config, plan, workers)
    check(world, crew, plan, config, ended_by)
    totals.update(world.happened)
    endings[type(ended_by).__name__ if ended_by else "complete"] += 1


def played(world, config, plan, workers):
    """What ended the run before its time, and its crew."""
    context = Context(config, world, Path(), ProgressView(Console(quiet=True)), len(plan))
    crew = crew_of(world, context, plan, workers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution_module, "ray", world)
        patch.setattr(execution_module, "time", world)
        patch.setattr(crew_module, "time", world)
        patch.setattr(actor_module, "_internal_kv_get", lambda *_, **__: None)  # nobody has told how long it waits
        execution = Execution(
            context, [part_of(world, plan)], crew, Policies(), order=None, is_enough=lambda: False, is_last=True
        )
        world.execution, ended_by = execution, None
        try:
            assert execution.run() is False
        except (SetupError, PolicyGone) as error:
            ended_by = error
    return ended_by, crew


def check(world, crew, plan, config, ended_by):
    records = Counter(line["episode_id"] for line in world.lines if line["kind"] == "episode")
    assert set(records.values()) <= {1}
    if ended_by is None:
        assert set(records) == {spec.episode_id for spec in plan}
    else:
        assert isinstance(ended_by, PolicyGone) or not (crew.workers or crew.newcomers)
    # An error that was the last of an episode's attempts is not for the checker, which asks for complete runs.
    errors = {line["episode_id"] for line in world.lines if line["kind"] == "episode" and line["outcome"] == "error"}
    done = [spec.episode_id for spec in plan if spec.episode_id in records and spec.episode_id not in errors]
    found = violations(world.lines, done, config.limits.max_attempts)
    assert [each for each in found if "at most" in each or each.split(":")[0] not in errors] == []
    # Whoever was started is a worker, on its way, or was ended.
    known = [*crew.workers.values(), *(newcomer.worker for newcomer in crew.newcomers.values())]
    assert {id(actor) for actor in world.alive} == {id(actor) for actor in known}
    assert len(known) == len({id(actor) for actor in known})


class Paused(World):
    """All stand still for an hour, in mid-episode, the driver as well."""

    def happen(self, answers):
        self.events += 1
        if self.events == 1:
            self.now_s += 3600.0
            return False
        for answer in answers:
            self.settle(answer, "success")
        return True


def test_a_run_that_stood_still_as_a_whole_has_lost_no_attempt():
    config = load_config(None, ["suite=fake", "policy=random", "episodes_per_task=2"])
    plan, world = plan_of(config), Paused(None, config)
    ended_by, _ = played(world, config, plan, workers=2)
    assert ended_by is None
    assert [line["kind"] for line in world.lines[1:]] == ["episode"] * len(plan) + ["served"]


class Unreachable(World):
    """A machine takes all workers along, again and again, and then all goes well."""

    def happen(self, answers):
        self.events += 1
        for answer in answers:
            gone = self.events <= 6 and answer.spec is not None
            self.settle(answer, "unreachable" if gone else "success" if answer.spec else "comes")
        return True


def test_machines_that_are_lost_are_not_taken_for_a_silent_policy():
    config = load_config(None, ["suite=fake", "policy=random", "episodes_per_task=2"])
    plan, world = plan_of(config), Unreachable(None, config)
    ended_by, _ = played(world, config, plan, workers=3)
    assert ended_by is None
    assert world.happened["unreachable"] >= 6


def test_the_schedules_had_everything_in_them():
    assert set(totals) == {*ENDS, *WELCOMES, "idle death", "late"}
    assert {"complete", "SetupError"} <= set(endings)
    print(f"{sum(endings.values())} schedules, {sum(totals.values())} events: {dict(endings)}, {dict(totals)}")

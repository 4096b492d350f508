"""The scheduler under random schedules: every episode gets exactly one record, whatever breaks."""

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ray_eval.driver.scheduler import Lease, Scheduler, Verdict
from ray_eval.errors import ContractError, EpisodeError, PolicyUnavailable, RayEvalError
from ray_eval.rollout.episode import error_result
from ray_eval.types import EpisodeResult, EpisodeSpec, Outcome

MAX_ATTEMPTS = 3


def episodes(tasks: int, init_states: int) -> list[EpisodeSpec]:
    return [
        EpisodeSpec("fake", task_id, init_state_id, env_seed=0, max_steps=10)
        for task_id in range(tasks)
        for init_state_id in range(init_states)
    ]


def success(lease: Lease) -> EpisodeResult:
    return EpisodeResult(lease.spec, Outcome.SUCCESS)


def broken(lease: Lease) -> EpisodeResult:
    return error_result(lease.spec, EpisodeError("broke"))


class Schedules(RuleBasedStateMachine):
    """Workers that come, finish, break and die in any order."""

    @initialize(tasks=st.integers(1, 3), init_states=st.integers(1, 4))
    def begin(self, tasks, init_states):
        self.plan = episodes(tasks, init_states)
        self.scheduler = Scheduler(self.plan, max_attempts=MAX_ATTEMPTS)
        self.records = Counter()
        self.attempts = Counter()
        self.free = Counter()
        self.past = []
        self.next_worker = 0

    def held(self) -> list[Lease]:
        return list(self.scheduler.leases)

    @rule(count=st.integers(1, 3))
    def lease(self, count):
        for _ in range(count):
            lease = self.scheduler.lease(f"worker-{self.next_worker}")
            self.next_worker += 1
            if lease is None:
                assert self.scheduler.waiting_count == 0
                return
            self.attempts[lease.spec.episode_id] += 1
            assert lease.attempt == self.attempts[lease.spec.episode_id]
            assert lease.attempt - self.free[lease.spec.episode_id] <= MAX_ATTEMPTS

    def settle(self, lease: Lease, result: EpisodeResult) -> Verdict:
        verdict = self.scheduler.finish(lease.lease_id, result)
        self.past.append(lease)
        if verdict is Verdict.FINAL:
            self.records[lease.spec.episode_id] += 1
        return verdict

    @precondition(lambda self: self.held())
    @rule(data=st.data(), kind=st.sampled_from(["success", "broken", "contract", "death", "unserved"]))
    def finish(self, data, kind):
        lease = data.draw(st.sampled_from(self.held()))
        contract = error_result(lease.spec, ContractError("never"))
        unserved = error_result(lease.spec, PolicyUnavailable("silence"))
        results = {"success": success(lease), "contract": contract, "unserved": unserved}
        verdict = self.settle(lease, results.get(kind, broken(lease)))
        if kind == "unserved" and self.free[lease.spec.episode_id] < MAX_ATTEMPTS:
            self.free[lease.spec.episode_id] += 1
        is_spent = lease.attempt - self.free[lease.spec.episode_id] == MAX_ATTEMPTS
        is_final = kind in ("success", "contract") or is_spent
        assert verdict is (Verdict.FINAL if is_final else Verdict.RETRY)
        if kind == "death":
            self.scheduler.retire(lease.worker)

    @precondition(lambda self: self.held())
    @rule(data=st.data())
    def preempted(self, data):
        lease = data.draw(st.sampled_from(self.held()))
        self.scheduler.give_back(lease.lease_id)
        self.scheduler.retire(lease.worker)
        self.free[lease.spec.episode_id] += 1
        self.past.append(lease)

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def late_result(self, data):
        late = data.draw(st.sampled_from(self.past))
        assert self.scheduler.finish(late.lease_id, success(late)) is Verdict.LATE

    @invariant()
    def nothing_is_lost_or_doubled(self):
        done = sum(self.records.values())
        assert set(self.records.values()) <= {1}
        assert done + self.scheduler.waiting_count + len(self.held()) == len(self.plan)
        assert self.scheduler.is_done == (done == len(self.plan))
        assert len({lease.spec.episode_id for lease in self.held()}) == len(self.held())


Schedules.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestSchedules = Schedules.TestCase


def test_a_worker_stays_on_its_task_while_there_is_work():
    scheduler = Scheduler(episodes(tasks=3, init_states=2))
    first = scheduler.lease("a")
    scheduler.lease("b")
    scheduler.finish(first.lease_id, success(first))
    assert scheduler.lease("a").spec.task_id == first.spec.task_id


def test_workers_begin_on_different_tasks():
    scheduler = Scheduler(episodes(tasks=3, init_states=5))
    assert {scheduler.lease(name).spec.task_id for name in "abc"} == {0, 1, 2}


def test_the_longest_task_goes_first():
    long = EpisodeSpec("libero_10", 0, 0, env_seed=0, max_steps=520)
    assert Scheduler([*episodes(2, 1), long]).lease("a").spec == long


def test_finished_episodes_are_not_leased_again():
    plan = episodes(1, 3)
    scheduler = Scheduler(plan, finished={plan[0].episode_id, plan[2].episode_id})
    assert scheduler.lease("a").spec == plan[1]
    assert scheduler.lease("b") is None


def test_a_worker_holds_one_lease():
    scheduler = Scheduler(episodes(1, 3))
    scheduler.lease("a")
    with pytest.raises(RayEvalError, match="second lease"):
        scheduler.lease("a")


def test_a_worker_runs_a_tasks_episodes_of_every_plan_before_the_next_task():
    scheduler = Scheduler(max_attempts=MAX_ATTEMPTS)
    for finished in ((), ("fake/0/0",), ()):
        scheduler.add(episodes(2, 2), finished)
    leased = []
    while not scheduler.is_done:
        lease = scheduler.lease("a")
        leased.append((lease.spec.task_id, lease.part, lease.spec.init_state_id))
        scheduler.finish(lease.lease_id, success(lease))
    # Task 1 has more waiting.
    assert leased == [
        *[(1, part, init_state_id) for part in range(3) for init_state_id in range(2)],
        *[(0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 2, 0), (0, 2, 1)],
    ]


def test_the_same_episode_of_two_plans_has_attempts_of_its_own():
    scheduler = Scheduler(max_attempts=2)
    scheduler.add(episodes(1, 1))
    scheduler.add(episodes(1, 1))
    first = scheduler.lease("a")
    assert scheduler.finish(first.lease_id, broken(first)) is Verdict.RETRY
    attempts = []
    while (lease := scheduler.lease("a")) is not None:
        attempts.append((lease.part, lease.attempt))
        scheduler.finish(lease.lease_id, success(lease))
    assert attempts == [(0, 2), (1, 1)]


def test_a_worker_without_work_helps_where_most_is_left_for_each():
    plan = [EpisodeSpec("fake", 0, index, env_seed=0, max_steps=10) for index in range(40)]
    plan += [EpisodeSpec("fake", 1, index, env_seed=0, max_steps=10) for index in range(12)]
    scheduler = Scheduler(plan)
    taken = [scheduler.lease(f"worker-{index}").spec.task_id for index in range(5)]
    # 39 or 11 left for two; 38 for three; 37 for four against 11 for two.
    assert taken == [0, 1, 0, 0, 0]

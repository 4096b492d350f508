"""The batcher under a clock and an executor that the test moves by hand."""

import asyncio
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_eval.errors import ContractError, EpisodeError
from ray_eval.sections import BatchingSection
from ray_eval.serving.batcher import Batcher, QueueFullError
from ray_eval.types import POLICY_STATE_LIMIT_BYTES, STATE, ActionChunk, Observation, PolicySpec


class ManualClock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


class ManualExecutor(Executor):
    """Holds what it is given until `run_next`."""

    def __init__(self):
        self.jobs = []

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.jobs.append((future, fn, args))
        return future

    async def run_next(self):
        """Runs what it holds, forwards until nobody waits, if it holds anything."""
        await settle()
        if self.jobs:
            future, fn, args = self.jobs.pop(0)
            future.set_result(fn(*args))
        await settle()


class Echo:
    """Answers with the seed; what it does wrong is injected."""

    def __init__(self, answer=None, clock=None, forward_s=0.0, batch_invariant=True):
        self.spec = PolicySpec(name="echo", keys=(STATE,), chunk_len=2, batch_invariant=batch_invariant)
        self.batches = []
        self._answer = answer or (lambda observations: [chunk(row.noise_seed) for row in observations])
        self._clock, self._forward_s = clock, forward_s

    def infer_batch(self, observations):
        self.batches.append([row.noise_seed for row in observations])
        if self._clock:
            self._clock.now_s += self._forward_s
        return self._answer(observations)


def chunk(value, dims=(2, 7), dtype=np.float32, policy_state=b""):
    return ActionChunk(np.full(dims, value, dtype), policy_state)


def ask(seed):
    return Observation({STATE: np.zeros(8, np.float32)}, "t", noise_seed=seed)


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


def batcher_of(policy, executor, clock=None, **limits):
    return Batcher(policy, BatchingSection(**limits), executor, clock or ManualClock())


def submit_each(batcher, seeds):
    return [asyncio.ensure_future(batcher.infer(ask(seed))) for seed in seeds]


async def answers_of(tasks):
    return [answer.actions[0, 0] for answer in await asyncio.gather(*tasks)]


def test_an_idle_policy_is_asked_at_once_and_what_comes_meanwhile_shares_the_next_forward():
    async def run():
        later = []

        def answer(observations):
            if not later:  # the first forward, during which others come
                later.extend(batcher.submit([ask(1), ask(2), ask(3)]))
            return [chunk(row.noise_seed) for row in observations]

        executor, policy = ManualExecutor(), Echo(answer)
        batcher = batcher_of(policy, executor)
        first = submit_each(batcher, [0])
        await settle()
        assert len(executor.jobs) == 1
        await executor.run_next()
        assert await answers_of([*first, *(ticket.answer for ticket in later)]) == [0, 1, 2, 3]
        assert policy.batches == [[0], [1, 2, 3]]

    asyncio.run(run())


def test_requests_are_served_first_come_first_served_up_to_the_limit():
    async def run():
        executor, policy = ManualExecutor(), Echo()
        batcher = batcher_of(policy, executor, max_batch_size=2)
        tasks = submit_each(batcher, range(5))
        for _ in range(3):
            await executor.run_next()
        assert await answers_of(tasks) == [0, 1, 2, 3, 4]
        assert policy.batches == [[0, 1], [2, 3], [4]]

    asyncio.run(run())


def test_a_policy_that_is_not_batch_invariant_gets_one_row_at_a_time():
    async def run():
        executor, policy = ManualExecutor(), Echo(batch_invariant=False)
        tasks = submit_each(batcher_of(policy, executor), range(3))
        for _ in range(3):
            await executor.run_next()
        await answers_of(tasks)
        assert policy.batches == [[0], [1], [2]]

    asyncio.run(run())


def test_a_full_queue_refuses_and_serves_on():
    async def run():
        executor = ManualExecutor()
        batcher = batcher_of(Echo(), executor, max_queue=2)
        tasks = submit_each(batcher, range(2))
        await settle()
        with pytest.raises(QueueFullError, match="at most 2 waiting"):
            await batcher.infer(ask(4))
        await executor.run_next()
        tasks += submit_each(batcher, [2, 3])
        await executor.run_next()
        assert await answers_of(tasks) == [0, 1, 2, 3]

    asyncio.run(run())


def test_several_rows_enter_the_queue_together_or_not_at_all():
    async def run():
        batcher = batcher_of(Echo(), ManualExecutor(), max_queue=2)
        with pytest.raises(QueueFullError):
            batcher.submit([ask(0), ask(1), ask(2)])
        assert batcher.metrics().waiting == 0

    asyncio.run(run())


def test_a_request_cancelled_while_it_waits_leaves_the_queue():
    async def run():
        executor, policy = ManualExecutor(), Echo()
        batcher = batcher_of(policy, executor)
        gone, kept = submit_each(batcher, [1, 2])
        await settle()
        gone.cancel()
        await settle()
        assert batcher.metrics().waiting == 1
        await executor.run_next()
        assert await answers_of([kept]) == [2]
        assert policy.batches == [[2]]

    asyncio.run(run())


def test_a_request_cancelled_in_the_forward_leaves_its_neighbours_alone():
    async def run():
        def answer(observations):
            gone.cancel()
            assert not batcher.withdraw([ticket])
            return [chunk(row.noise_seed) for row in observations]

        executor = ManualExecutor()
        batcher = batcher_of(Echo(answer), executor)
        gone, kept = submit_each(batcher, [1, 2])
        (ticket,) = batcher.submit([ask(3)])
        await executor.run_next()
        assert gone.cancelled()
        assert await answers_of([kept]) == [2]

    asyncio.run(run())


def test_a_queue_emptied_by_cancellation_starts_no_forward():
    async def run():
        executor, policy = ManualExecutor(), Echo()
        batcher = batcher_of(policy, executor)
        (ticket,) = batcher.submit([ask(0)])
        assert batcher.withdraw([ticket])
        await settle()
        assert not executor.jobs

    asyncio.run(run())


def poisoned(seed):
    def answer(observations):
        if any(row.noise_seed == seed for row in observations):
            raise StopIteration("poison")
        return [chunk(row.noise_seed) for row in observations]

    return answer


def outcomes_of(answer, seeds):
    """What each of several requests in one batch comes to, and the batches that the policy saw."""

    async def run():
        executor, policy = ManualExecutor(), Echo(answer)
        tasks = submit_each(batcher_of(policy, executor), seeds)
        await executor.run_next()
        return await asyncio.gather(*tasks, return_exceptions=True), policy.batches

    return asyncio.run(run())


def test_only_the_poisoned_row_of_a_batch_fails():
    outcomes, batches = outcomes_of(poisoned(1), [0, 1, 2])
    assert [type(outcome) for outcome in outcomes] == [ActionChunk, EpisodeError, ActionChunk]
    assert "StopIteration: poison" in str(outcomes[1])
    assert batches == [[0, 1, 2], [0], [1], [2]]


def test_a_batch_with_the_wrong_count_is_repeated_row_by_row():
    outcomes, _ = outcomes_of(lambda observations: [chunk(0)] * 2, [0, 1, 2])
    assert all(isinstance(outcome, ContractError) for outcome in outcomes)
    assert "expected 1 chunks for 1 observations, got 2" in str(outcomes[0])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (chunk(np.nan), r"finite actions, got nan at \[0, 0\]"),
        (chunk(np.inf), "finite actions, got inf"),
        (chunk(0, dims=(1, 7)), r"float32 \(2, 7\), got float32 \(1, 7\)"),
        (chunk(0, dims=(2, 6)), r"got float32 \(2, 6\)"),
        (chunk(0, dtype=np.float64), r"got float64 \(2, 7\)"),
        (ActionChunk([[0.0] * 7] * 2), "got list"),
        (chunk(0, policy_state=b"\0" * (POLICY_STATE_LIMIT_BYTES + 1)), "policy_state of at most 65536"),
        (chunk(0, policy_state="text"), "got 4 str"),
        (np.zeros((2, 7), np.float32), "an ActionChunk, got ndarray"),
    ],
)
def test_a_bad_chunk_fails_its_own_request_by_name(bad, message):
    outcomes, batches = outcomes_of(lambda observations: [chunk(0), bad, chunk(2)][: len(observations)], [0, 1, 2])
    assert [type(outcome) for outcome in outcomes] == [ActionChunk, ContractError, ActionChunk]
    with pytest.raises(ContractError, match=message):
        raise outcomes[1]
    assert batches == [[0, 1, 2]]


def test_the_metrics_add_up():
    async def run():
        clock = ManualClock()
        executor, policy = ManualExecutor(), Echo(clock=clock, forward_s=0.020)
        batcher = batcher_of(policy, executor, clock, max_batch_size=2)
        tasks = submit_each(batcher, [0, 1, 2])
        await settle()
        clock.now_s += 0.001  # the executor's thread was slow to start
        await executor.run_next()
        await asyncio.gather(*tasks)
        metrics = batcher.metrics()
        assert (metrics.requests, metrics.batches, metrics.batch_sizes, metrics.waiting) == (3, 2, {2: 1, 1: 1}, 0)
        assert metrics.forward_ms == pytest.approx(40)
        assert metrics.queue_wait_ms == pytest.approx(1 + 1 + 21)
        assert metrics.idle_while_queued_ms == pytest.approx(1)

    asyncio.run(run())


def test_no_caller_is_left_waiting_when_the_executor_is_gone():
    class GoneExecutor(Executor):
        def submit(self, fn, /, *args, **kwargs):
            raise RuntimeError("cannot schedule new futures after shutdown")

    async def run():
        batcher = batcher_of(Echo(), GoneExecutor())
        with pytest.raises(asyncio.CancelledError):
            await batcher.infer(ask(0))

    asyncio.run(run())


def test_no_caller_is_left_waiting_when_the_executor_drops_what_it_holds():
    async def run():
        with ThreadPoolExecutor(1) as executor:
            gate = threading.Event()
            executor.submit(gate.wait)
            waiting = submit_each(batcher_of(Echo(), executor), [0, 1])
            await settle()
            executor.shutdown(wait=False, cancel_futures=True)
            gate.set()
            assert await asyncio.gather(*(asyncio.wait_for(each, 10) for each in waiting), return_exceptions=True)
            assert all(each.cancelled() for each in waiting)

    asyncio.run(run())


def test_a_policy_that_exits_takes_the_event_loop_along_and_leaves_no_caller_waiting():
    def answer(_observations):
        raise SystemExit(3)

    waiting = []

    async def run():
        with ThreadPoolExecutor(1) as executor:
            waiting.extend(submit_each(batcher_of(Echo(answer), executor, max_batch_size=1), [0, 1]))
            await asyncio.gather(*waiting)

    with pytest.raises(SystemExit) as caught:
        asyncio.run(run())
    assert caught.value.code == 3
    assert [task.cancelled() for task in waiting] == [True, True]


events = st.lists(st.sampled_from(["ask", "ask", "forward", "cancel"]), max_size=40)


@given(events, st.integers(1, 4), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_whatever_the_schedule_each_request_gets_its_own_answer_once_and_in_order(schedule, max_batch_size, rng):
    async def run():
        executor, policy = ManualExecutor(), Echo()
        batcher = batcher_of(policy, executor, max_batch_size=max_batch_size)
        tasks = []
        for event in schedule:
            if event == "ask":
                tasks += submit_each(batcher, [len(tasks)])
                await settle()
            elif event == "forward" and executor.jobs:
                await executor.run_next()
            elif event == "cancel" and tasks:
                rng.choice(tasks).cancel()
                await settle()
        while executor.jobs:
            await executor.run_next()
        answered = [i for i, task in enumerate(tasks) if not task.cancelled()]
        assert [tasks[i].result().actions[0, 0] for i in answered] == answered
        computed = [seed for batch in policy.batches for seed in batch]
        assert computed == sorted(set(computed))
        assert set(answered) <= set(computed)
        assert max(map(len, policy.batches), default=0) <= max_batch_size
        assert batcher.metrics().waiting == 0

    asyncio.run(run())


class Lanes(Echo):
    """Computes each row by itself, three at a time; a seed of 0 waits until it is told."""

    lanes = 3

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()

    def infer_rows(self, observations):
        self.batches.append([row.noise_seed for row in observations])
        if observations[0].noise_seed == 0:
            self.gate.wait(20)
        if observations[0].noise_seed == 5:
            return [EpisodeError("five")]
        return [chunk(row.noise_seed) for row in observations]


def test_rows_with_lanes_of_their_own_wait_for_no_slow_neighbour_and_fail_alone():
    async def run():
        policy = Lanes()
        with ThreadPoolExecutor(policy.lanes) as executor:
            batcher = batcher_of(policy, executor)
            slow, *others = submit_each(batcher, range(10))
            outcomes = await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), 10)
            assert not slow.done()
            policy.gate.set()
            assert (await slow).actions[0, 0] == 0
        assert [str(o) if isinstance(o, EpisodeError) else o.actions[0, 0] for o in outcomes] == [
            1,
            2,
            3,
            4,
            "five",
            6,
            7,
            8,
            9,
        ]
        assert {len(batch) for batch in policy.batches} == {1}
        assert batcher.metrics().requests == 10

    asyncio.run(run())

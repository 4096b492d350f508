"""Requests gathered into forwards of a policy; the queue is the event loop's, the forwards have a thread of their own.

A forward starts as soon as the policy is idle and takes what waits by then, first come first served. Nothing is
stacked here: a policy receives a list, so ragged observations share a batch. Rows of a StagedPolicy go to its device
as they come, while a forward runs.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

from ray_eval.errors import ContractError, EpisodeError
from ray_eval.foreign import told
from ray_eval.interfaces import Policy, RowwisePolicy, StagedPolicy
from ray_eval.sections import BatchingSection
from ray_eval.serving.forward import answer_rows, free_cached_memory, is_out_of_memory
from ray_eval.serving.sizes import BatchSizes
from ray_eval.types import ActionChunk, Observation


class QueueFullError(EpisodeError):
    """As many requests wait as may wait; the caller tries again later."""


@dataclass(frozen=True, slots=True)
class BatcherMetrics:
    """Totals since the start; differences of two snapshots give rates."""

    requests: int
    """Observations that went through a forward."""
    batches: int
    """Forwards."""
    batch_sizes: Mapping[int, int]
    """How many forwards there were of each size."""
    queue_wait_ms: float
    """Sum over requests of the time from submission to the start of their forward."""
    forward_ms: float
    """Sum over forwards of the time in the policy."""
    idle_while_queued_ms: float
    """Time during which the policy was idle although a request waited."""
    waiting: int
    """Requests that wait now."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One request's place in the batcher."""

    observation: Observation
    """What the policy is asked about."""
    answer: asyncio.Future[ActionChunk]
    """The chunk to come; cancelled when the ticket is withdrawn."""
    submitted_at: float
    """The batcher's clock at submission."""
    is_waiting: bool = True
    """Whether its forward has not begun."""
    staged: Future[Any] | None = None
    """What the policy's `stage` makes of the observation; None where it stages nothing."""


@dataclass(slots=True)
class _Totals:
    batch_sizes: Counter[int] = field(default_factory=Counter)
    queue_wait_s: float = 0.0
    forward_s: float = 0.0
    idle_while_queued_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Forward:
    """What the policy's thread hands back: an answer or an exception per row, and when it worked."""

    answers: list[ActionChunk | Exception]
    started_at: float
    finished_at: float


class Batcher:
    """The queue before one policy.

    Args:
        policy: Called in the executor, one batch at a time.
        batching: Sizes of a batch and of the queue.
        executor: Runs the forwards; the caller owns it and gives it one thread, or as many as the policy has lanes.
        clock: Monotonic seconds; called on the event loop and in the executor.
        stager: Runs `stage` of a StagedPolicy; None has the forwards' thread do it.
    """

    def __init__(
        self,
        policy: Policy,
        batching: BatchingSection,
        executor: Executor,
        clock: Callable[[], float] = time.monotonic,
        stager: Executor | None = None,
    ) -> None:
        self._policy = policy
        self._spec = policy.spec
        self._max_queue = batching.max_queue
        self._sizes = BatchSizes(batching, self._spec)
        self._stager = stager or _Inline()
        self._stage = policy.stage if isinstance(policy, StagedPolicy) else None
        self._executor = executor
        self._clock = clock
        self._waiting: deque[Ticket] = deque()
        self._running: set[Ticket] = set()
        self._lock = threading.Lock()
        self._lanes = policy.lanes if isinstance(policy, RowwisePolicy) else 1
        self._most_rows = 1 if isinstance(policy, RowwisePolicy) else None
        self._active = 0
        self._idle_since = clock()
        self._totals = _Totals()

    async def infer(self, observation: Observation) -> ActionChunk:
        """The policy's answer. A call that is cancelled while it waits leaves the queue.

        Raises:
            QueueFullError: `max_queue` requests wait already.
            ContractError: the policy answered something that its spec forbids.
            EpisodeError: the policy raised something else.
        """
        (ticket,) = self.submit([observation])
        try:
            return await ticket.answer
        except asyncio.CancelledError:
            self.withdraw([ticket])
            raise

    def submit(self, observations: Sequence[Observation]) -> list[Ticket]:
        """Places in the queue, for all or none; the forward begins no sooner than the event loop's next turn.

        Raises:
            QueueFullError: the queue has not that many places left.
        """
        if len(self._waiting) + len(observations) > self._max_queue:
            raise QueueFullError(
                f"policy {self._spec.name!r}: expected at most {self._max_queue} waiting requests,"
                f" got {len(observations)} more than {len(self._waiting)}"
            )
        loop = asyncio.get_running_loop()
        tickets = [
            Ticket(observation, loop.create_future(), self._clock(), staged=self._staged(observation))
            for observation in observations
        ]
        with self._lock:
            self._waiting.extend(tickets)
            started = min(len(tickets), self._lanes - self._active)
            self._active += started
        for _ in range(started):
            loop.call_soon(self._start_lane, loop)
        return tickets

    def _staged(self, observation: Observation) -> Future[Any] | None:
        return None if self._stage is None else self._stager.submit(self._stage, observation)

    def withdraw(self, tickets: Sequence[Ticket]) -> bool:
        """Takes the tickets out of the queue if all of them still wait there; whether it did."""
        with self._lock:
            if not all(ticket.is_waiting for ticket in tickets):
                return False
            for ticket in tickets:
                self._waiting.remove(ticket)
                ticket.is_waiting = False
        for ticket in tickets:
            ticket.answer.cancel()
        return True

    def metrics(self) -> BatcherMetrics:
        """The totals so far."""
        sizes = dict(self._totals.batch_sizes)  # one step, because other threads ask as well
        return BatcherMetrics(
            requests=sum(size * count for size, count in sizes.items()),
            batches=sum(sizes.values()),
            batch_sizes=sizes,
            queue_wait_ms=self._totals.queue_wait_s * 1000,
            forward_ms=self._totals.forward_s * 1000,
            idle_while_queued_ms=self._totals.idle_while_queued_s * 1000,
            waiting=len(self._waiting),
        )

    def _start_lane(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            if not self._waiting:  # all were withdrawn
                self._active -= 1
                return
        try:
            lane = self._executor.submit(self._forward_all, loop)
        except RuntimeError:  # it is shut down
            self._lose_lane()
        else:
            lane.add_done_callback(
                lambda ended: loop.call_soon_threadsafe(self._lose_lane) if ended.cancelled() else None
            )

    def _lose_lane(self, error: BaseException | None = None) -> None:
        """Leaves nobody waiting, as the executor is gone, or the process is going down with the error."""
        with self._lock:
            self._active -= 1
            left = [*self._running, *self._waiting]
            self._running.clear()
            self._waiting.clear()
        for ticket in left:
            ticket.is_waiting = False
            ticket.answer.cancel()
        if error is not None:
            raise error

    def _take(self) -> list[Ticket]:
        """The next batch; without one the lane ends, and whoever comes next starts another."""
        with self._lock:
            if not self._waiting:
                self._active -= 1
            count = min(len(self._waiting), self._most_rows or self._sizes.limit)
            batch = [self._waiting.popleft() for _ in range(count)]
            for ticket in batch:
                ticket.is_waiting = False
            self._running.update(batch)
        return batch

    def _forward_all(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forwards until nobody waits; takes each batch itself, so that the event loop's work delays none."""
        try:
            while batch := self._take():
                forward = self._forward(batch)
                loop.call_soon_threadsafe(self._finish, batch, forward)
        except BaseException as error:  # noqa: BLE001 - the process is going down, which is the event loop's to do
            loop.call_soon_threadsafe(self._lose_lane, error)

    def _finish(self, batch: list[Ticket], forward: _Forward) -> None:
        with self._lock:
            self._running.difference_update(batch)
        self._count(batch, forward)
        self._deliver(batch, forward.answers)

    def _forward(self, batch: Sequence[Ticket]) -> _Forward:
        started_at = self._clock()
        rows, answers = self._rows(batch)
        answered = iter(answer_rows(self._policy, self._spec, rows, self._sizes) if rows else ())
        return _Forward([answer or next(answered) for answer in answers], started_at, self._clock())

    def _rows(self, batch: Sequence[Ticket]) -> tuple[list[Any], list[Exception | None]]:
        """The rows that could be staged, and per ticket what was raised where one could not."""
        rows: list[Any] = []
        errors: list[Exception | None] = []
        for ticket in batch:
            try:
                rows.append(self._row(ticket))
                errors.append(None)
            except (ContractError, EpisodeError) as error:
                errors.append(error)
            except Exception as error:  # noqa: BLE001 - a policy may raise anything, and only its own request fails of it
                errors.append(EpisodeError(f"policy {self._spec.name!r}: stage raised {told(error)}"))
        return rows, errors

    def _row(self, ticket: Ticket) -> Any:
        """What the policy is handed; waits for the staging, and raises what it raised.

        Where memory ran out, the row is staged once more, as the forward that went on beside has ended since.
        """
        if self._stage is None or ticket.staged is None:
            return ticket.observation
        try:
            return ticket.staged.result()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        ticket.staged = None  # its exception keeps what was staged until then
        free_cached_memory()
        return self._stage(ticket.observation)

    def _deliver(self, batch: Sequence[Ticket], answers: Sequence[ActionChunk | Exception]) -> None:
        for ticket, answer in zip(batch, answers, strict=True):
            if ticket.answer.done():  # its caller went away during the forward
                continue
            if isinstance(answer, Exception):
                ticket.answer.set_exception(answer)
            else:
                ticket.answer.set_result(answer)

    def _count(self, batch: Sequence[Ticket], forward: _Forward) -> None:
        totals = self._totals
        totals.batch_sizes[len(batch)] += 1
        totals.queue_wait_s += sum(forward.started_at - ticket.submitted_at for ticket in batch)
        totals.forward_s += forward.finished_at - forward.started_at
        work_since = max(self._idle_since, batch[0].submitted_at)
        totals.idle_while_queued_s += max(0.0, forward.started_at - work_since)
        self._idle_since = forward.finished_at


class _Inline(Executor):
    """Runs what it is given at once, in the caller's thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - raised again by the future's reader
            future.set_exception(error)
        return future

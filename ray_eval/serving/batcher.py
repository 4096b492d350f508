"""Requests gathered into forwards of a policy; pure asyncio, runs on the server's event loop.

A forward starts as soon as the policy is idle and takes what waits by then, first come first served. Nothing is
stacked here: a policy receives a list, so ragged observations share a batch.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np

from ray_eval.errors import ContractError, EpisodeError
from ray_eval.interfaces import Policy
from ray_eval.sections import BatchingSection
from ray_eval.types import POLICY_STATE_LIMIT_BYTES, ActionChunk, Observation, PolicySpec

logger = logging.getLogger(__name__)


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

    A policy that is not `batch_invariant` gets one observation at a time, so that its answers do not depend on
    what else waits.

    Args:
        policy: Called in the executor, one batch at a time.
        batching: Limits of a batch and of the queue.
        executor: Runs the forwards; the caller owns it and gives it one thread.
        clock: Monotonic seconds; called on the event loop and in the executor.
    """

    def __init__(
        self,
        policy: Policy,
        batching: BatchingSection,
        executor: Executor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._spec = policy.spec
        self._max_queue = batching.max_queue
        self._max_batch_size = batching.max_batch_size if self._spec.batch_invariant else 1
        self._executor = executor
        self._clock = clock
        self._waiting: deque[Ticket] = deque()
        self._worker: asyncio.Task[None] | None = None
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
        tickets = [Ticket(observation, loop.create_future(), self._clock()) for observation in observations]
        self._waiting.extend(tickets)
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return tickets

    def withdraw(self, tickets: Sequence[Ticket]) -> bool:
        """Takes the tickets out of the queue if all of them still wait there; whether it did."""
        if not all(ticket.is_waiting for ticket in tickets):
            return False
        for ticket in tickets:
            self._waiting.remove(ticket)
            ticket.is_waiting = False
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

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._run_batch(self._take())
        finally:
            self._worker = None

    def _take(self) -> list[Ticket]:
        count = min(len(self._waiting), self._max_batch_size)
        batch = [self._waiting.popleft() for _ in range(count)]
        for ticket in batch:
            ticket.is_waiting = False
        return batch

    async def _run_batch(self, batch: list[Ticket]) -> None:
        observations = [ticket.observation for ticket in batch]
        loop = asyncio.get_running_loop()
        try:
            forward = await loop.run_in_executor(self._executor, self._forward, observations)
        except BaseException:  # the process, or the executor, is going down: leave nobody waiting
            for ticket in batch:
                ticket.answer.cancel()
            raise
        self._count(batch, forward)
        self._deliver(batch, forward.answers)

    def _forward(self, observations: Sequence[Observation]) -> _Forward:
        started_at = self._clock()
        answers = answer_rows(self._policy, self._spec, observations)
        return _Forward(answers, started_at, self._clock())

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


def answer_rows(policy: Policy, spec: PolicySpec, observations: Sequence[Observation]) -> list[ActionChunk | Exception]:
    """One chunk or exception per observation; a batch that raises is repeated row by row, to find the row at fault.

    The exceptions are ContractError, or EpisodeError for whatever else the policy raises.
    """
    try:
        chunks = policy.infer_batch(observations)
        _check_count(chunks, len(observations), spec)
    except Exception as error:  # noqa: BLE001 - a policy may raise anything, and only its own request fails of it
        if len(observations) == 1:
            return [_as_ours(error, spec)]
        return [answer_rows(policy, spec, [observation])[0] for observation in observations]
    return [_checked(chunk, spec) for chunk in chunks]


def _as_ours(error: Exception, spec: PolicySpec) -> Exception:
    if isinstance(error, ContractError):
        return error
    logger.error("policy %r raised", spec.name, exc_info=error)
    return EpisodeError(f"policy {spec.name!r}: infer_batch raised {type(error).__name__}: {error}")


def _check_count(chunks: Sequence[ActionChunk], count: int, spec: PolicySpec) -> None:
    if len(chunks) != count:
        raise ContractError(
            f"policy {spec.name!r}: expected {count} chunks for {count} observations, got {len(chunks)}"
        )


def _checked(chunk: ActionChunk, spec: PolicySpec) -> ActionChunk | Exception:
    """The chunk, or what is wrong with it."""
    where, shape = f"policy {spec.name!r}", (spec.chunk_len, spec.action_dim)
    if not isinstance(chunk, ActionChunk):
        return ContractError(f"{where}: expected an ActionChunk, got {type(chunk).__name__}")
    actions = chunk.actions
    if not isinstance(actions, np.ndarray) or actions.shape != shape or actions.dtype != np.float32:
        got = f"{getattr(actions, 'dtype', type(actions).__name__)} {getattr(actions, 'shape', '')}".rstrip()
        return ContractError(f"{where}: expected actions float32 {shape}, got {got}")
    if not np.isfinite(actions).all():
        row, column = np.argwhere(~np.isfinite(actions))[0]
        return ContractError(f"{where}: expected finite actions, got {actions[row, column]} at [{row}, {column}]")
    if not isinstance(chunk.policy_state, bytes) or len(chunk.policy_state) > POLICY_STATE_LIMIT_BYTES:
        got = f"{len(chunk.policy_state)} {type(chunk.policy_state).__name__}"
        return ContractError(f"{where}: expected policy_state of at most {POLICY_STATE_LIMIT_BYTES} bytes, got {got}")
    return chunk

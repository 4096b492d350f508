"""Answers kept for requests that come again under the same id; pure asyncio, runs on the server's event loop.

A client that does not know whether its request arrived repeats it under the same id. It then gets the answer that
was computed, or joins the computation that is under way; the policy is not asked twice.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ray_eval.errors import ContractError

Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)


class ReusedIdError(ContractError):
    """A request came under the id of an earlier one with another content."""


class Work(Protocol[Answer_co]):
    """A computation that has been handed in."""

    async def result(self) -> Answer_co:
        """The answer, awaited by one task."""
        ...

    def withdraw(self) -> bool:
        """Gives the computation up if it has not begun; whether it did."""
        ...


class _Digest:
    """A content's digest, computed when it is first needed, and once."""

    def __init__(self, compute: Callable[[], bytes]) -> None:
        self._compute = compute
        self._value: bytes | None = None

    def value(self) -> bytes:
        if self._value is None:
            self._value = self._compute()
        return self._value


@dataclass(slots=True)
class _Flight(Generic[Answer]):
    digest: _Digest
    work: Work[Answer]
    task: asyncio.Task[Answer]
    callers: int = 0


class AnswerCache(Generic[Answer]):
    """The last answers by request id, and those under way.

    Failures are not kept: a repeated request is computed again.

    Args:
        size_bytes: Size of an answer.
        max_count: Most answers kept.
        max_bytes: Most bytes kept; the least recently used answers go first.
    """

    def __init__(self, size_bytes: Callable[[Answer], int], max_count: int = 4096, max_bytes: int = 64 << 20) -> None:
        self._size_bytes = size_bytes
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, tuple[bytes, Answer]] = OrderedDict()
        self._kept_bytes = 0
        self._flights: dict[str, _Flight[Answer]] = {}

    async def answer(
        self,
        request_id: str,
        compute_digest: Callable[[], bytes],
        start: Callable[[], Work[Answer]],
        comes_again: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """The answer kept, under way, or started now.

        The digest of a request that is new here is computed once its work has been handed in, so that it takes none
        of the time in which the work waits for it.

        A caller that is cancelled leaves the others undisturbed. When the last one leaves, work that has not begun
        is withdrawn, unless the caller `comes_again`: its repeat then finds the place in the queue that the first
        try had. Work that has begun is finished and kept in any case.

        Raises:
            ReusedIdError: the id was used with another digest.
        """
        digest = _Digest(compute_digest)
        kept = self._kept.get(request_id)
        if kept is not None:
            _check_digest(request_id, kept[0], digest.value())
            self._kept.move_to_end(request_id)
            return kept[1]
        flight = self._flights.get(request_id)
        if flight is None:
            flight = self._start(request_id, digest, start)
        else:
            _check_digest(request_id, flight.digest.value(), digest.value())
        return await self._join(request_id, flight, comes_again)

    def _start(self, request_id: str, digest: _Digest, start: Callable[[], Work[Answer]]) -> _Flight[Answer]:
        work = start()
        flight = _Flight(digest, work, asyncio.ensure_future(work.result()))
        self._flights[request_id] = flight
        # Behind the turn in which the work begins, beside which it is computed.
        asyncio.get_running_loop().call_soon(digest.value)
        flight.task.add_done_callback(lambda task: self._land(request_id, digest, task))
        return flight

    async def _join(self, request_id: str, flight: _Flight[Answer], comes_again: Callable[[], bool]) -> Answer:
        flight.callers += 1
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.callers == 1 and not comes_again() and flight.work.withdraw():
                self._flights.pop(request_id, None)
            raise
        finally:
            flight.callers -= 1

    def _land(self, request_id: str, digest: _Digest, task: asyncio.Task[Answer]) -> None:
        flight = self._flights.get(request_id)
        if flight is not None and flight.task is task:
            del self._flights[request_id]
        if not task.cancelled() and task.exception() is None:
            self._keep(request_id, digest.value(), task.result())

    def _keep(self, request_id: str, digest: bytes, answer: Answer) -> None:
        self._kept[request_id] = (digest, answer)
        self._kept_bytes += self._size_bytes(answer)
        while len(self._kept) > self._max_count or self._kept_bytes > self._max_bytes:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._kept_bytes -= self._size_bytes(dropped)


def _check_digest(request_id: str, known: bytes, digest: bytes) -> None:
    if known != digest:
        raise ReusedIdError(f"request {request_id!r}: expected the content that came under this id before, got another")

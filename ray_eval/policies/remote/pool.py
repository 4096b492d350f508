"""Connections to the servers of one policy: least-loaded routing, reconnects, deadlines; runs in the policy actor."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from ray_eval.errors import EpisodeError, PolicyUnavailable

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.1
"""How long an address is passed over after its first failure; doubled with each further one."""
LONGEST_PAUSE_S = 5.0
"""Longest that an address is passed over."""
DEAD_S = 5.0
"""How long a policy that has not answered yet is tried when nobody is there, or whoever is there hangs up."""
WORD_S = 10.0
"""After how long a wait for a first answer is spoken of."""

Answer = TypeVar("Answer")


class LinkBrokenError(Exception):
    """A connection cannot be made, or broke before its answer was here; the request may be sent again."""


class NoAnswerError(LinkBrokenError):
    """A server is there and took the request, but its answer did not come in time."""


class BadAnswerError(EpisodeError):
    """A server answered something that is no answer of its protocol."""


class WrongServerError(EpisodeError):
    """Whoever listens there speaks another protocol; asking again is of no use."""


class Link(Protocol):
    """One connection to one server, used by one thread at a time."""

    def close(self) -> None:
        """Hangs up; never raises."""
        ...


LinkType = TypeVar("LinkType", bound=Link)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the servers of one policy are waited for, in seconds."""

    answer_s: float
    """Longest wait for an answer, reconnects included, of a server that has answered before."""
    first_answer_s: float
    """The same of one that has not since it was there: it may load its weights or compile."""
    dead_s: float = DEAD_S
    """Longest that a policy which never answered is tried again after a connection failed."""
    word_s: float = WORD_S
    """After how long a wait for a first answer is spoken of."""


@dataclass(eq=False)
class _Server:
    address: str
    busy: int = 0
    failures: int = 0
    closed_until: float = 0.0
    has_answered: bool = False
    idle: list[Any] = field(default_factory=list)


@dataclass
class _Trial:
    """One request on its way to its answer: since when, and since when nothing goes right."""

    began: float
    first_failure: float | None = None
    last: Exception | None = None


class Pool(Generic[LinkType]):
    """Servers that answer alike.

    Args:
        addresses: Where they are.
        open_link: Connects to an address within a time; raises LinkBrokenError.
        connections: Most requests under way at one address.
        patience: How long to wait for them.
        clock: Monotonic seconds.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        open_link: Callable[[str, float], LinkType],
        connections: int,
        patience: Patience,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._servers = [_Server(address) for address in addresses]
        self._open_link = open_link
        self._connections = connections
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._changed = threading.Condition()
        self._has_answered = False
        self._threads = ThreadPoolExecutor(connections * len(addresses), thread_name_prefix="remote")

    def ask_all(self, asks: Sequence[Callable[[LinkType, float], Answer]]) -> list[Answer | Exception]:
        """Each request's answer, or what came of it; as many at once as there may be connections."""
        futures = [self._threads.submit(self._outcome, ask) for ask in asks]
        return [future.result() for future in futures]

    def ask(self, ask: Callable[[LinkType, float], Answer]) -> Answer:
        """The answer of the least loaded server, asked again elsewhere where a connection breaks.

        Args:
            ask: Sends the request over a link and waits for its answer for so many seconds.

        Raises:
            PolicyUnavailable: no answer within the time.
            EpisodeError: the server answered that it cannot, or something that is no answer.
        """
        return self._answer(ask, self._servers, is_answer=True)

    def ask_each(self, ask: Callable[[LinkType, float], Answer], *, is_answer: bool) -> dict[str, Answer]:
        """The answer of every server, by its address.

        Args:
            ask: As of `ask`.
            is_answer: Whether it takes a forward, after which the server has shown what it takes to make one.

        Raises:
            PolicyUnavailable: one did not answer within its time.
        """
        return {server.address: self._answer(ask, [server], is_answer=is_answer) for server in self._servers}

    def close(self) -> None:
        """Hangs up everywhere."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.hang_up()

    @contextlib.contextmanager
    def closed_on_failure(self) -> Iterator[None]:
        """Within, what is raised closes the pool first: of a policy that is refused nothing stays open."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def hang_up(self) -> None:
        """Closes the connections that are idle; the next requests open others."""
        _hang_up(self._servers)

    def _answer(
        self, ask: Callable[[LinkType, float], Answer], servers: Sequence[_Server], *, is_answer: bool
    ) -> Answer:
        trial = _Trial(self._clock())
        while self._clock() < self._end(trial, servers):
            with self._server_of(servers, trial) as server:
                if server is None:
                    break
                try:
                    return self._try(server, ask, self._deadline(trial, server), is_answer=is_answer)
                except LinkBrokenError as error:
                    trial.last = error
                    trial.first_failure = trial.first_failure or self._clock()
                    logger.warning("policy server at %s: %s", server.address, error)
        raise self._unavailable(trial, servers) from trial.last

    def _unavailable(self, trial: _Trial, servers: Sequence[_Server]) -> PolicyUnavailable:
        where = ", ".join(server.address for server in servers)
        is_slow = trial.last is None or isinstance(trial.last, NoAnswerError)
        waited_s = self._limit_s(servers) if is_slow else self._retrying_s
        remedy = "start the server or mend policy.addresses"
        if is_slow or self._has_answered:
            key = "timeout_s" if waited_s == self._patience.answer_s else "first_timeout_s"
            remedy = f"start the server, mend policy.addresses or raise policy.{key}"
        return PolicyUnavailable(
            f"policy server at {where}: expected an answer within {waited_s:g} s, got {trial.last or 'none'}; {remedy}"
        )

    @property
    def _retrying_s(self) -> float:
        """How long a connection that failed is tried again: a server that answered before is being restarted."""
        patience = self._patience
        return patience.answer_s if self._has_answered else min(patience.dead_s, patience.answer_s)

    def _limit_s(self, servers: Sequence[_Server]) -> float:
        has_answered = all(server.has_answered for server in servers)
        return self._patience.answer_s if has_answered else self._patience.first_answer_s

    def _deadline(self, trial: _Trial, server: _Server) -> float:
        return trial.began + self._limit_s([server])

    def _end(self, trial: _Trial, servers: Sequence[_Server]) -> float:
        """When a request is given up."""
        end = trial.began + self._limit_s(servers)
        return end if trial.first_failure is None else min(end, trial.first_failure + self._retrying_s)

    def _outcome(self, ask: Callable[[LinkType, float], Answer]) -> Answer | Exception:
        try:
            return self.ask(ask)
        except Exception as error:  # noqa: BLE001 - an adapter may raise anything, and only its own request fails of it
            return error

    def _try(
        self, server: _Server, ask: Callable[[LinkType, float], Answer], deadline: float, *, is_answer: bool
    ) -> Answer:
        link = server.idle.pop() if server.idle else None
        try:
            with self._word(server):
                if link is None:
                    link = self._open_link(server.address, max(0.001, deadline - self._clock()))
                answer = ask(link, max(0.001, deadline - self._clock()))
        except LinkBrokenError as error:
            if link is not None:
                link.close()
            self._pass_over(server, is_gone=not isinstance(error, NoAnswerError))
            raise
        except BaseException:
            # Whatever the connection still brings belongs to this request.
            if link is not None:
                link.close()
            raise
        server.failures = 0
        server.idle.append(link)
        server.has_answered |= is_answer
        self._has_answered |= is_answer
        return answer

    @contextlib.contextmanager
    def _word(self, server: _Server) -> Iterator[None]:
        """Within, the log says so where a first answer keeps everybody waiting."""
        if server.has_answered:
            yield
            return
        text = "policy server at %s: no first answer yet, it may be loading or compiling; waiting up to %g s"
        timer = threading.Timer(
            self._patience.word_s, logger.warning, (text, server.address, self._patience.first_answer_s)
        )
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _pass_over(self, server: _Server, *, is_gone: bool) -> None:
        pause_s = min(FIRST_PAUSE_S * 2**server.failures, LONGEST_PAUSE_S)
        server.failures += 1
        server.closed_until = self._clock() + pause_s
        if is_gone:  # who comes back in its place has everything before it that comes before a first answer
            server.has_answered = False
        _hang_up([server])  # they lead to the same process, which is gone

    @contextlib.contextmanager
    def _server_of(self, servers: Sequence[_Server], trial: _Trial) -> Iterator[_Server | None]:
        """The least loaded server that is not passed over, held for one request; None once the time is up."""
        server = self._taken(servers, trial)
        try:
            yield server
        finally:
            if server is not None:
                with self._changed:
                    server.busy -= 1
                    self._changed.notify()

    def _taken(self, servers: Sequence[_Server], trial: _Trial) -> _Server | None:
        while (now := self._clock()) < (end := self._end(trial, servers)):
            with self._changed:
                free = [server for server in servers if server.busy < self._connections]
                ready = [server for server in free if server.closed_until <= now]
                if ready:
                    server = min(ready, key=lambda each: each.busy)
                    server.busy += 1
                    return server
                if not free:
                    self._changed.wait(end - now)
                    continue
            self._sleep(max(0.0, min(end, *(each.closed_until for each in free)) - now))
        return None


def _hang_up(servers: Sequence[_Server]) -> None:
    for server in servers:
        while server.idle:
            server.idle.pop().close()

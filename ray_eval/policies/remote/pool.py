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

Answer = TypeVar("Answer")


class LinkBrokenError(Exception):
    """A connection cannot be made, or broke before its answer was here; the request may be sent again."""


class BadAnswerError(EpisodeError):
    """A server answered something that is no answer of its protocol."""


class Link(Protocol):
    """One connection to one server, used by one thread at a time."""

    def close(self) -> None:
        """Hangs up; never raises."""
        ...


LinkType = TypeVar("LinkType", bound=Link)


@dataclass(eq=False)
class _Server:
    address: str
    busy: int = 0
    failures: int = 0
    closed_until: float = 0.0
    idle: list[Any] = field(default_factory=list)


class Pool(Generic[LinkType]):
    """Servers that answer alike.

    Args:
        addresses: Where they are.
        open_link: Connects to an address within a time; raises LinkBrokenError.
        connections: Most requests under way at one address.
        timeout_s: Longest wait for one answer, reconnects included.
        clock: Monotonic seconds.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        open_link: Callable[[str, float], LinkType],
        connections: int,
        timeout_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._servers = [_Server(address) for address in addresses]
        self._open_link = open_link
        self._connections = connections
        self._timeout_s = timeout_s
        self._clock = clock
        self._sleep = sleep
        self._changed = threading.Condition()
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
        return self._answer(ask, self._servers, self._clock() + self._timeout_s)

    def ask_each(self, ask: Callable[[LinkType, float], Answer]) -> dict[str, Answer]:
        """The answer of every server, by its address.

        Raises:
            PolicyUnavailable: one did not answer within the time that all have together.
            EpisodeError: as of `ask`.
        """
        deadline = self._clock() + self._timeout_s
        return {server.address: self._answer(ask, [server], deadline) for server in self._servers}

    def _answer(self, ask: Callable[[LinkType, float], Answer], servers: Sequence[_Server], deadline: float) -> Answer:
        last: Exception | None = None
        while self._clock() < deadline:
            with self._server_of(servers, deadline) as server:
                if server is None:
                    break
                try:
                    return self._try(server, ask, deadline)
                except LinkBrokenError as error:
                    last = error
                    logger.warning("policy server at %s: %s", server.address, error)
        where = ", ".join(server.address for server in servers)
        raise PolicyUnavailable(
            f"policy server at {where}: expected an answer within {self._timeout_s:g} s, got {last or 'none'}; "
            "start the server, mend policy.addresses or raise policy.timeout_s"
        ) from last

    def close(self) -> None:
        """Hangs up everywhere."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for server in self._servers:
            while server.idle:
                server.idle.pop().close()

    def _outcome(self, ask: Callable[[LinkType, float], Answer]) -> Answer | Exception:
        try:
            return self.ask(ask)
        except Exception as error:  # noqa: BLE001 - an adapter may raise anything, and only its own request fails of it
            return error

    def _try(self, server: _Server, ask: Callable[[LinkType, float], Answer], deadline: float) -> Answer:
        link = server.idle.pop() if server.idle else None
        try:
            if link is None:
                link = self._open_link(server.address, max(0.001, deadline - self._clock()))
            answer = ask(link, max(0.001, deadline - self._clock()))
        except LinkBrokenError:
            if link is not None:
                link.close()
            self._pass_over(server)
            raise
        except BaseException:
            # Whatever the connection still brings belongs to this request.
            if link is not None:
                link.close()
            raise
        server.failures = 0
        server.idle.append(link)
        return answer

    def _pass_over(self, server: _Server) -> None:
        pause_s = min(FIRST_PAUSE_S * 2**server.failures, LONGEST_PAUSE_S)
        server.failures += 1
        server.closed_until = self._clock() + pause_s
        while server.idle:  # they lead to the same process, which is gone
            server.idle.pop().close()

    @contextlib.contextmanager
    def _server_of(self, servers: Sequence[_Server], deadline: float) -> Iterator[_Server | None]:
        """The least loaded server that is not passed over, held for one request; None once the time is up."""
        server = self._taken(servers, deadline)
        try:
            yield server
        finally:
            if server is not None:
                with self._changed:
                    server.busy -= 1
                    self._changed.notify()

    def _taken(self, servers: Sequence[_Server], deadline: float) -> _Server | None:
        while True:
            now = self._clock()
            if now >= deadline:
                return None
            with self._changed:
                free = [server for server in servers if server.busy < self._connections]
                ready = [server for server in free if server.closed_until <= now]
                if ready:
                    server = min(ready, key=lambda each: each.busy)
                    server.busy += 1
                    return server
                if not free:
                    self._changed.wait(deadline - now)
                    continue
            self._sleep(min(deadline, *(each.closed_until for each in free)) - now)

"""A closed network of workers and policy servers, event by event: who waits for whom, and for how long; pure.

A worker thinks (simulates, renders, encodes), asks, and waits for its answer. A server forwards as soon as it is idle,
all that waits by then up to its largest batch, first come first served. So it is built: see `serving/batcher.py`.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ray_eval.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Journey:
    """What one episode asks of its worker and of the policy."""

    thinks_s: tuple[float, ...]
    """The worker's own time before each request, and after the last; one longer than the requests."""
    lead_s: float = 0.0
    """How long the worker goes on by itself behind a request before it needs the answer."""

    def __post_init__(self) -> None:
        if not self.thinks_s or min(self.thinks_s) < 0 or self.lead_s < 0:
            raise ConfigError(f"journey: expected one time or more, none negative, got {self.thinks_s}, {self.lead_s}")


@dataclass(frozen=True, slots=True)
class Service:
    """The policy servers, all alike; worker i asks the one of its number modulo theirs."""

    forward_s: Callable[[int], float]
    """Time of a forward of so many rows."""
    max_rows: int
    """Most requests in one forward."""
    servers: int = 1
    """How many there are."""
    overhead_s: float = 0.0
    """What a request takes beside the wait and the forward: codec, network, threads."""
    cores: float = 0.0
    """CPU cores that each keeps busy while it forwards; 0 for a device of its own."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What happened."""

    duration_s: float
    """From the start to the last episode's end."""
    ended_s: tuple[float, ...]
    """When each episode ended, in that order."""
    requests: int
    """Answers."""
    forwards: int
    """Forwards of all servers."""
    busy_s: float
    """Time in forwards, over all servers."""
    servers: int
    """How many there were."""
    waited_s: float
    """Time that workers stood still for an answer, over all workers."""
    thought_s: float
    """Time that workers spent by themselves."""

    @property
    def busy_share(self) -> float:
        """Share of the time in which a server forwards, 0 to 1."""
        return self.busy_s / (self.servers * self.duration_s) if self.duration_s > 0 else 0.0

    @property
    def rows(self) -> float:
        """Mean rows of a forward."""
        return self.requests / self.forwards if self.forwards else 0.0

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return self.requests / self.duration_s if self.duration_s > 0 else 0.0


Journeys = Callable[[int], Journey | None]
"""The next episode of the worker of that number; None when nothing is left for it."""


def flow(workers: int, journeys: Journeys, service: Service, cores: float = float("inf")) -> Flow:
    """Lets so many workers run until no episode is left.

    Args:
        workers: how many.
        journeys: deals the episodes out.
        service: what they ask.
        cores: CPU cores that workers, and servers without a device, share; beyond them all are slower alike.
    """
    return _Network(workers, journeys, service, cores).run()


def in_turn(episodes: Sequence[Journey]) -> Journeys:
    """Deals episodes out in order, to whoever is free."""
    left: Iterator[Journey] = iter(episodes)
    return lambda _worker: next(left, None)


@dataclass(slots=True)
class _Server:
    waiting: deque[int] = field(default_factory=deque)
    is_busy: bool = False


class _Network:
    def __init__(self, workers: int, journeys: Journeys, service: Service, cores: float) -> None:
        if workers < 1:
            raise ConfigError(f"workers: expected 1 or more, got {workers}")
        self._journeys, self._service, self._cores = journeys, service, cores
        self._servers = [_Server() for _ in range(service.servers)]
        self._journey: list[Journey | None] = [None] * workers
        self._at = [0] * workers
        self._stands_since = [0.0] * workers
        self._answered = [0.0] * workers
        self._needed = [0.0] * workers
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._running = 0.0
        self._ended: list[float] = []
        self._requests = self._forwards = 0
        self._busy_s = self._waited_s = self._thought_s = 0.0

    def run(self) -> Flow:
        for worker in range(len(self._at)):
            self._begin(worker, 0.0)
        now = 0.0
        while self._events:
            now, _, event = heapq.heappop(self._events)
            event(now)
        return Flow(
            self._ended[-1] if self._ended else 0.0,
            tuple(self._ended),
            self._requests,
            self._forwards,
            self._busy_s,
            len(self._servers),
            self._waited_s,
            self._thought_s,
        )

    def _after(self, now: float, delay_s: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (now + delay_s, next(self._order), event))

    def _occupied(self, now: float, cores: float, time_s: float, then: Callable[[float], None]) -> float:
        """Keeps cores busy for a time, which is longer where there are too few of them; how long."""
        self._running += cores
        took_s = time_s * max(1.0, self._running / self._cores)

        def freed(at: float) -> None:
            self._running -= cores
            then(at)

        self._after(now, took_s, freed)
        return took_s

    # --- a worker ---

    def _begin(self, worker: int, now: float) -> None:
        journey = self._journeys(worker)
        self._journey[worker], self._at[worker] = journey, 0
        if journey is not None:
            self._think(worker, now, journey, journey.thinks_s[0])

    def _think(self, worker: int, now: float, journey: Journey, time_s: float) -> None:
        is_last = self._at[worker] == len(journey.thinks_s) - 1
        self._thought_s += self._occupied(
            now, 1.0, time_s, lambda at: self._end(worker, at) if is_last else self._ask(worker, at, journey)
        )

    def _end(self, worker: int, now: float) -> None:
        self._ended.append(now)
        self._begin(worker, now)

    def _ask(self, worker: int, now: float, journey: Journey) -> None:
        self._at[worker] += 1
        self._after(now, self._service.overhead_s / 2, lambda at: self._arrive(worker, at))
        # What it does meanwhile is part of what it would do behind the answer.
        lead_s = min(journey.lead_s, journey.thinks_s[self._at[worker]])
        self._needed[worker] = self._stands_since[worker] = float("inf")
        self._answered[worker] = float("inf")

        def needs(at: float) -> None:
            self._needed[worker] = at
            self._go_on(worker, at, journey, lead_s)

        if lead_s > 0:
            self._thought_s += self._occupied(now, 1.0, lead_s, needs)
        else:
            needs(now)

    def _go_on(self, worker: int, now: float, journey: Journey, lead_s: float) -> None:
        """Goes on once the answer is both needed and there."""
        if max(self._needed[worker], self._answered[worker]) > now:
            return
        self._waited_s += now - self._needed[worker]
        self._think(worker, now, journey, journey.thinks_s[self._at[worker]] - lead_s)

    # --- a server ---

    def _arrive(self, worker: int, now: float) -> None:
        server = self._servers[worker % len(self._servers)]
        server.waiting.append(worker)
        if not server.is_busy:
            server.is_busy = True
            # Whoever comes at the same moment shares the forward.
            self._after(now, 0.0, lambda at: self._forward(server, at))

    def _forward(self, server: _Server, now: float) -> None:
        if not server.waiting:
            server.is_busy = False
            return
        count = min(len(server.waiting), self._service.max_rows)
        batch = [server.waiting.popleft() for _ in range(count)]
        self._forwards += 1
        self._requests += count
        time_s = self._service.forward_s(count)
        self._busy_s += self._occupied(now, self._service.cores, time_s, lambda at: self._answer(server, batch, at))

    def _answer(self, server: _Server, batch: Sequence[int], now: float) -> None:
        for worker in batch:
            self._after(now, self._service.overhead_s / 2, lambda at, worker=worker: self._receive(worker, at))  # type: ignore[misc]
        self._forward(server, now)

    def _receive(self, worker: int, now: float) -> None:
        journey = self._journey[worker]
        assert journey is not None, "a worker that asked has an episode"  # noqa: S101 -- for the type
        self._answered[worker] = now
        self._go_on(worker, now, journey, min(journey.lead_s, journey.thinks_s[self._at[worker]]))

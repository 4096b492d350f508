"""How long a planned run takes with so many workers: the run's own scheduler over a simulated network; pure."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ray_eval.capacity.figures import EpisodeFigures, Figures
from ray_eval.capacity.hosts import Hosts
from ray_eval.capacity.network import Flow, Journey, Journeys, Service, flow
from ray_eval.driver.scheduler import Lease, Scheduler
from ray_eval.errors import ConfigError
from ray_eval.types import EpisodeResult, EpisodeSpec, Outcome

NEAR = 1.03
"""A setting within this factor of the fastest is as good, if it needs less."""
SIZES = (1, 2, 4, 8, 16, 32, 64)
"""Largest batches that are tried."""
BUSY = 0.85
"""From this share on something is what limits a run."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a user can choose."""

    workers: int
    """Workers."""
    replicas: int
    """Policy servers."""
    max_rows: int
    """Most requests in a forward."""


@dataclass(frozen=True, slots=True)
class Question:
    """What does not change from setting to setting."""

    figures: Figures
    """What was measured."""
    plan: tuple[EpisodeSpec, ...]
    """Episodes to run."""
    hosts: tuple[Hosts, ...]
    """Where."""
    lead_steps: int = 0
    """Control steps by which a request is sent ahead; 0 in sync mode."""
    policy_threads: int = 1
    """Cores of each policy server."""
    has_device: bool = False
    """Whether the policy forwards on a device of its own, and not on these cores."""
    fixed_rows: int | None = None
    """Rows of every forward where a run's identity has them; None where batches are free."""

    @property
    def cores(self) -> int:
        """CPU cores of all hosts."""
        return sum(hosts.count * hosts.cpus for hosts in self.hosts)

    @property
    def most_replicas(self) -> int:
        """Policy servers that have a device of their own, or cores."""
        gpus = sum(hosts.count * hosts.gpus for hosts in self.hosts)
        return max(1, gpus if self.has_device else (self.cores - 1) // max(1, self.policy_threads))

    def room(self, replicas: int) -> int:
        """Workers for which cores and memory are left beside so many policy servers."""
        left = replicas * self.policy_threads
        room = 0
        for hosts in sorted(self.hosts, key=lambda each: each.gpus == 0):
            for _ in range(hosts.count):
                taken = min(left, hosts.cpus)
                left -= taken
                fitting = hosts.cpus - taken
                if hosts.memory_bytes is not None:
                    free = hosts.memory_bytes - (self.figures.policy_bytes if taken else 0)
                    fitting = min(fitting, max(0, free) // self.figures.worker_bytes)
                room += fitting
        return max(1, room)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to be expected of a setting."""

    setting: Setting
    """The setting."""
    flow: Flow
    """The simulated run, from the first lease to the last result."""
    total_s: float
    """From the command to its end."""
    price: float | None
    """Of all hosts for that long; None where one has no price."""
    memory_bytes: int
    """Of all workers and policy servers."""

    @property
    def own_share(self) -> float:
        """Share of the workers' time in which they simulate."""
        return self.flow.thought_s / (self.setting.workers * self.flow.duration_s) if self.flow.duration_s else 0.0

    @property
    def limit(self) -> str:
        """What the run waits for most."""
        if self.flow.busy_share >= BUSY:
            return "the policy: more replicas, or larger batches"
        if self.own_share >= BUSY:
            return "simulation: more workers"
        share = self.flow.waited_s / (self.setting.workers * self.flow.duration_s) if self.flow.duration_s else 0.0
        if share > 1 - BUSY:
            return "answers: workers wait for theirs while the policy is not always busy; more workers, or replicas"
        return "the end: workers without an episode wait for those who have a long one"


def forecast(question: Question, setting: Setting) -> Forecast:
    """The run of one setting.

    Raises:
        ConfigError: nothing is planned.
    """
    figures = question.figures
    if not question.plan:
        raise ConfigError("plan: expected one episode or more, got none")
    padded = question.fixed_rows
    service = Service(
        forward_s=figures.forward if padded is None else lambda _rows: figures.forward(padded),
        max_rows=setting.max_rows if padded is None else padded,
        servers=setting.replicas,
        overhead_s=figures.overhead_s,
        cores=0.0 if question.has_device else float(question.policy_threads),
    )
    workers = min(setting.workers, len(question.plan))
    found = flow(workers, _dealt(question), service, float(max(1, question.cores)))
    total_s = figures.start_s + found.duration_s + figures.end_s
    per_hour = price_per_hour(question.hosts)
    price = None if per_hour is None else per_hour * total_s / 3600
    memory = workers * figures.worker_bytes + setting.replicas * figures.policy_bytes
    return Forecast(dataclasses.replace(setting, workers=workers), found, total_s, price, memory)


def price_per_hour(hosts: Sequence[Hosts]) -> float | None:
    """What all hosts cost together; None where one that is there has no price."""
    prices = [(each.count, each.price_per_hour) for each in hosts if each.count]
    return None if any(price is None for _, price in prices) else sum(count * (price or 0.0) for count, price in prices)


def recommend(question: Question) -> Forecast:
    """The least setting that is about as fast as any: batches first, then replicas, then workers."""
    replicas = question.most_replicas if question.has_device else 1
    most = question.room(replicas)
    largest = max(question.figures.forward_s)
    # None that was not timed: beyond, a line is a guess, and memory may not hold it.
    free = [size for size in (*SIZES, largest) if size <= largest]
    sizes = free if question.fixed_rows is None else [question.fixed_rows]
    best = _least(forecast(question, Setting(most, replicas, size)) for size in sizes)
    if question.has_device:
        rows = best.setting.max_rows
        best = _least(
            forecast(question, Setting(question.room(count), count, rows)) for count in range(1, replicas + 1)
        )
    chosen = best.setting
    counts = sorted({max(1, round(best.setting.workers * share / 8)) for share in range(1, 9)})
    return _least(forecast(question, Setting(workers, chosen.replicas, chosen.max_rows)) for workers in counts)


def _least(forecasts: Iterator[Forecast]) -> Forecast:
    """The first that is about as fast as the fastest."""
    found = list(forecasts)
    fastest = min(each.total_s for each in found)
    return next(each for each in found if each.total_s <= NEAR * fastest)


def _dealt(question: Question) -> Journeys:
    """Episodes as the run's scheduler deals them, each as long as one that was measured."""
    figures, scheduler = question.figures, Scheduler(question.plan)
    draw = random.Random(0)  # noqa: S311 -- no secret
    by_task: dict[str, list[EpisodeFigures]] = {}
    for episode in figures.episodes:
        by_task.setdefault(episode.task, []).append(episode)
    held: dict[int, Lease] = {}
    built: dict[int, tuple[str, int]] = {}

    def next_of(worker: int) -> Journey | None:
        before = held.pop(worker, None)
        if before is not None:
            scheduler.finish(before.lease_id, EpisodeResult(before.spec, Outcome.FAILURE))
        lease = scheduler.lease(str(worker))
        if lease is None:
            return None
        held[worker] = lease
        task = lease.spec.suite, lease.spec.task_id
        first_s = figures.dispatch_s + (0.0 if built.get(worker) == task else figures.build_s)
        built[worker] = task
        measured = draw.choice(by_task.get(f"{task[0]}/{task[1]}") or figures.episodes)
        return journey_of(measured, first_s, question.lead_steps)

    return next_of


def journey_of(measured: EpisodeFigures, first_s: float, lead_steps: int = 0) -> Journey:
    """A measured episode's own time in equal parts around its requests, behind what comes before it."""
    part_s = measured.own_s / (measured.requests + 1)
    thinks = [part_s] * (measured.requests + 1)
    thinks[0] += first_s
    return Journey(tuple(thinks), lead_steps * measured.own_s / measured.steps)


def places(hosts: Sequence[Hosts]) -> str:
    """The hosts in a few words."""
    return ", ".join(
        f"{each.count} x {each.name} ({each.cpus} cores, {each.gpus} GPUs)" for each in hosts if each.count
    )

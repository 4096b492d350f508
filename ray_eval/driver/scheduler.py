"""The scheduler: a pure state machine that leases episodes to workers; runs in the driver.

It knows no Ray, no clock and no disk. Which worker gets which episode, and in which order results come, changes
when a run ends and nothing else.
"""

from __future__ import annotations

import enum
from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ray_eval.errors import RayEvalError
from ray_eval.types import EpisodeResult, EpisodeSpec, Outcome

TaskKey = tuple[str, int]
"""(suite, task_id): what a worker keeps a built simulator of."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One attempt of one episode, given to one worker."""

    lease_id: int
    """Unique within the run."""
    spec: EpisodeSpec
    """The episode."""
    attempt: int
    """1-based."""
    worker: str
    """Who has it."""
    part: int = 0
    """Which of the plans, in the order in which they were added, it is an episode of."""


class Verdict(enum.StrEnum):
    """What became of a result."""

    FINAL = "final"
    """It is the episode's record."""
    RETRY = "retry"
    """The attempt broke; the episode will be leased again."""
    LATE = "late"
    """The lease was no longer held; the result is dropped."""


class Scheduler:
    """Every planned episode, waiting, leased or done."""

    def __init__(
        self, plan: Sequence[EpisodeSpec] | None = None, finished: Collection[str] = (), max_attempts: int = 3
    ) -> None:
        self._max_attempts = max_attempts
        self._waiting: dict[TaskKey, deque[_Job]] = {}
        self._attempts: Counter[tuple[int, str]] = Counter()
        self._free: Counter[tuple[int, str]] = Counter()
        self._leases: dict[int, Lease] = {}
        self._task_of: dict[str, TaskKey] = {}
        self._next_lease_id = 0
        self._open = 0
        self._parts = 0
        if plan is not None:
            self.add(plan, finished)

    def add(self, plan: Sequence[EpisodeSpec], finished: Collection[str] = ()) -> None:
        """Takes up another plan; a worker then runs a task's episodes of all plans, one after the other."""
        for spec in plan:
            if spec.episode_id not in finished:
                job = _Job(self._parts, spec)
                self._waiting.setdefault(job.task, deque()).append(job)
                self._open += 1
        self._parts += 1

    @property
    def is_done(self) -> bool:
        """Whether every episode has its record."""
        return self._open == 0

    @property
    def waiting_count(self) -> int:
        """Episodes that nobody holds."""
        return sum(len(episodes) for episodes in self._waiting.values())

    @property
    def leases(self) -> tuple[Lease, ...]:
        """Leases that are held, oldest first."""
        return tuple(self._leases.values())

    def lease(self, worker: str) -> Lease | None:
        """The next episode for a worker that holds none; None while nothing waits.

        A worker stays on its task while there is work; then it takes the task that nobody works on and has the
        longest way to go, then helps where most is left for each of those who work there, itself included. The order
        follows from the plan and from who asks when.

        Raises:
            RayEvalError: the worker holds a lease already.
        """
        if any(held.worker == worker for held in self._leases.values()):
            raise RayEvalError(f"scheduler: expected {worker} to hold nothing, got a second lease asked for")
        task = self._choose_task(worker)
        if task is None:
            return None
        job = self._take(task)
        self._attempts[job.key] += 1
        self._task_of[worker] = task
        lease = Lease(self._next_lease_id, job.spec, self._attempts[job.key], worker, job.part)
        self._leases[lease.lease_id] = lease
        self._next_lease_id += 1
        return lease

    def finish(self, lease_id: int, result: EpisodeResult) -> Verdict:
        """Takes a result; an error is leased again while attempts are left and a retry may cure it.

        An excused attempt does not count as one, `max_attempts` times: an episode may be what its policy dies of.
        """
        lease = self._leases.pop(lease_id, None)
        if lease is None:
            return Verdict.LATE
        key = lease.part, lease.spec.episode_id
        if result.is_excused and self._free[key] < self._max_attempts:
            self._free[key] += 1
        is_spent = not result.is_retryable or lease.attempt - self._free[key] >= self._max_attempts
        if result.outcome is Outcome.ERROR and not is_spent:
            self._put_back(_Job(lease.part, lease.spec))
            return Verdict.RETRY
        self._open -= 1
        return Verdict.FINAL

    def give_back(self, lease_id: int) -> None:
        """Takes a lease back whose attempt is to be as if it had not been made; nothing where it is no longer held."""
        lease = self._leases.pop(lease_id, None)
        if lease is not None:
            self._free[lease.part, lease.spec.episode_id] += 1
            self._put_back(_Job(lease.part, lease.spec))

    def retire(self, worker: str) -> None:
        """Forgets a worker that is gone; its lease is to be finished with an error first."""
        self._task_of.pop(worker, None)

    def _choose_task(self, worker: str) -> TaskKey | None:
        own = self._task_of.get(worker)
        if own in self._waiting:
            return own
        if not self._waiting:
            return None
        busy = Counter(task for name, task in self._task_of.items() if name != worker)
        # What nobody works on must be built by somebody; helping elsewhere costs one more build.
        return max(self._waiting, key=lambda task: (not busy[task], self._steps_left(task) / (busy[task] + 1)))

    def _steps_left(self, task: TaskKey) -> int:
        return sum(job.spec.max_steps for job in self._waiting[task])

    def _take(self, task: TaskKey) -> _Job:
        jobs = self._waiting[task]
        job = jobs.popleft()
        if not jobs:
            del self._waiting[task]
        return job

    def _put_back(self, job: _Job) -> None:
        self._waiting.setdefault(job.task, deque()).appendleft(job)


@dataclass(frozen=True, slots=True)
class _Job:
    """An episode of one of the plans."""

    part: int
    spec: EpisodeSpec

    @property
    def key(self) -> tuple[int, str]:
        return self.part, self.spec.episode_id

    @property
    def task(self) -> TaskKey:
        return self.spec.suite, self.spec.task_id

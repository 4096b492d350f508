"""Episodes in an order that is written down first, and how far it is complete; what a sequential test may look at."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence

from ray_eval.driver.folder import RunFolder
from ray_eval.driver.scheduler import Scheduler, TaskKey
from ray_eval.types import EpisodeSpec, Outcome

AHEAD = 32
"""Episodes of the order that a worker may be ahead of the first that waits, to stay with a simulator it has built."""


def shuffled(plan: Sequence[EpisodeSpec], seed: int) -> tuple[EpisodeSpec, ...]:
    """A plan in an order that owes nothing to tasks, init states or outcomes: by SHA-256 of `order|seed|episode_id`.

    Every prefix is then a random sample of the plan, which a test of its rates over all tasks needs.
    """
    return tuple(sorted(plan, key=lambda spec: hashlib.sha256(f"order|{seed}|{spec.episode_id}".encode()).digest()))


class OrderedScheduler(Scheduler):
    """Leases episodes in about the order of the plan, so that its complete prefix grows."""

    def __init__(self, order: Sequence[str], max_attempts: int) -> None:
        super().__init__(max_attempts=max_attempts)
        self._rank = {episode_id: rank for rank, episode_id in enumerate(order)}

    def add(self, plan: Sequence[EpisodeSpec], finished: Collection[str] = ()) -> None:
        """Takes up another plan; the same episode of several plans is leased one after the other."""
        super().add(plan, finished)
        for task, jobs in self._waiting.items():
            self._waiting[task] = type(jobs)(sorted(jobs, key=lambda job: (self._rank[job.spec.episode_id], job.part)))

    def _choose_task(self, worker: str) -> TaskKey | None:
        if not self._waiting:
            return None
        fronts = {task: self._rank[jobs[0].spec.episode_id] for task, jobs in self._waiting.items()}
        first = min(fronts.values())
        near = [task for task, rank in fronts.items() if rank < first + AHEAD]
        own = self._task_of.get(worker)
        if own in near:
            return own
        others = {task for name, task in self._task_of.items() if name != worker}
        return min(near, key=lambda task: (task in others, fronts[task]))


class CompletePrefix:
    """How far an order is complete in one run, or in several at once, and when that is enough.

    Args:
        order: episode ids.
        folders: the runs; an episode is complete when it is a success or a failure in all of them.
        decides: answers whether the outcomes of a complete prefix, a tuple for each episode, end it.
    """

    def __init__(
        self,
        order: Sequence[str],
        folders: Sequence[RunFolder],
        decides: Callable[[Sequence[tuple[bool, ...]]], bool],
    ) -> None:
        self._order = order
        self._folders = folders
        self._decides = decides
        self._outcomes: list[tuple[bool, ...]] = []
        # What broke in an earlier session is run again.
        self._broken_before = {key for key in order if self._is_broken(key)}
        self._is_decided = False

    @property
    def outcomes(self) -> list[tuple[bool, ...]]:
        """Successes of the episodes that count: of the complete prefix, up to the first that decided."""
        self.is_enough()
        return self._outcomes

    def is_enough(self) -> bool:
        """Whether the prefix decides, or an episode that broke for good stands in its way.

        Every further episode is looked at alone and in turn, whatever has come by now, so that the answer is a function
        of the outcomes and of nothing else.
        """
        while not self._is_decided and len(self._outcomes) < len(self._order):
            outcomes = self._next()
            if outcomes is None:
                break
            self._outcomes.append(outcomes)
            self._is_decided = self._decides(self._outcomes)
        return self._is_decided or self.broken not in {None, *self._broken_before}

    @property
    def broken(self) -> str | None:
        """The episode that broke for good and is next in the order; None where none is."""
        if self._is_decided or len(self._outcomes) == len(self._order):
            return None
        key = self._order[len(self._outcomes)]
        return key if self._is_broken(key) else None

    def _is_broken(self, key: str) -> bool:
        return any(folder.outcome_of(key) is Outcome.ERROR for folder in self._folders)

    def _next(self) -> tuple[bool, ...] | None:
        key = self._order[len(self._outcomes)]
        outcomes = [folder.outcome_of(key) for folder in self._folders]
        if any(outcome not in (Outcome.SUCCESS, Outcome.FAILURE) for outcome in outcomes):
            return None
        return tuple(outcome is Outcome.SUCCESS for outcome in outcomes)

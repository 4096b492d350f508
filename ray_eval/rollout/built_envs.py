"""The simulators that a worker has built and may need again, within its memory budget."""

from __future__ import annotations

import contextlib
import gc
import resource
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from ray_eval import heap
from ray_eval.interfaces import Env
from ray_eval.sections import EnvSettings

_STATM = Path("/proc/self/statm")
Builder = Callable[[str, int, EnvSettings], Env]
"""Builds the env of a suite's task."""


def resident_bytes() -> int:
    """Resident memory of this process."""
    with contextlib.suppress(OSError):
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    # Not Linux: what it held at most, in bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class BuiltEnvs:
    """Envs by task and settings, the one used last at the end; one of them is in use at a time.

    Args:
        build: Builds an env that is not there.
        resident: Bytes that this process holds now.
    """

    def __init__(self, build: Builder, resident: Callable[[], int] = resident_bytes) -> None:
        heap.keep_large_apart()
        self._build = build
        self._resident = resident
        self._empty_bytes = resident()
        self._envs: OrderedDict[tuple[str, int, EnvSettings], Env] = OrderedDict()

    def __len__(self) -> int:
        """Envs that are built."""
        return len(self._envs)

    def env_of(self, suite: str, task_id: int, settings: EnvSettings, budget_bytes: int) -> Env:
        """The task's env, built if need be; the others are closed, longest unused first, while the budget is exceeded.

        An env takes its memory when it is built and when it first renders, so room is made before building as
        well: for as much as one env has taken so far on average.
        """
        key = (suite, task_id, settings)
        if key not in self._envs:
            self._close_beyond(budget_bytes - self._average_bytes(), keep=0)
            self._envs[key] = self._build(suite, task_id, settings)
        self._envs.move_to_end(key)
        self._close_beyond(budget_bytes, keep=1)
        return self._envs[key]

    def discard(self, suite: str, task_id: int, settings: EnvSettings) -> None:
        """Closes a task's env, so that the next episode builds its own."""
        env = self._envs.pop((suite, task_id, settings), None)
        if env is not None:
            env.close()

    def close(self) -> None:
        """Closes every env."""
        while self._envs:
            self._close_oldest()

    def _average_bytes(self) -> int:
        return (self._resident() - self._empty_bytes) // max(1, len(self._envs))

    def _close_beyond(self, limit_bytes: int, keep: int) -> None:
        while len(self._envs) > keep and self._resident() > limit_bytes:
            self._close_oldest()

    def _close_oldest(self) -> None:
        _, env = self._envs.popitem(last=False)
        env.close()
        del env
        gc.collect()  # robosuite's objects refer to one another in circles, and hold the compiled model
        heap.trim()

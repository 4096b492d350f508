"""Which suites, tasks and init states there are; cheap enough for `ray-eval list` and `--dry-run`."""

from __future__ import annotations

from typing import Final

from ray_eval.envs.libero import suites as libero
from ray_eval.errors import ConfigError
from ray_eval.types import TaskEntry

FAKE_SUITE: Final = "fake"
"""Name of the suite of `FakeEnv`; not listed."""
FAKE_TASK_COUNT: Final = 3
"""Tasks of the fake suite."""
FAKE_INIT_STATE_COUNT: Final = 5
"""Init states of each fake task."""


def suites() -> tuple[str, ...]:
    """The suites that can be run, the fake one left out."""
    return libero.suites()


def tasks(suite: str) -> tuple[TaskEntry, ...]:
    """The suite's tasks in order.

    Raises:
        ConfigError: the suite is unknown, or registered without its files.
    """
    if suite == FAKE_SUITE:
        return tuple(_fake_task(task_id) for task_id in range(FAKE_TASK_COUNT))
    return tuple(TaskEntry(suite, task.task_id, task.name, task.instruction) for task in libero.tasks(suite))


def task(suite: str, task_id: int) -> TaskEntry:
    """One task of the suite.

    Raises:
        ConfigError: the suite or the task is unknown.
    """
    known = tasks(suite)
    if not 0 <= task_id < len(known):
        raise ConfigError(f"tasks: expected 0 to {len(known) - 1} in {suite}, got {task_id}")
    return known[task_id]


def init_state_count(suite: str, task_id: int) -> int:
    """How many init states are stored for the task.

    Raises:
        ConfigError: the suite or the task is unknown, or its states are not installed.
    """
    if suite == FAKE_SUITE:
        task(suite, task_id)
        return FAKE_INIT_STATE_COUNT
    return libero.init_state_count(suite, task_id)


def _fake_task(task_id: int) -> TaskEntry:
    return TaskEntry(FAKE_SUITE, task_id, f"reach_goal_{task_id}", f"reach goal {task_id}")

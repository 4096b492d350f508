"""Whether a task is one that its suite has; asked by simulators wherever a task is named."""

from __future__ import annotations

from ray_eval.errors import ConfigError


def check_task_id(suite: str, task_id: int, count: int) -> None:
    """Passes when a suite has a task.

    Args:
        suite: the suite.
        task_id: the task's index.
        count: how many the suite has.

    Raises:
        ConfigError: there is none of this index.
    """
    if not 0 <= task_id < count:
        raise ConfigError(f"tasks: expected 0 to {count - 1} in {suite}, got {task_id}")

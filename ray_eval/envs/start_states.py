"""Whether an episode's start state is one that its task has; asked by envs at each reset."""

from __future__ import annotations

from typing import Final

from ray_eval.errors import EpisodeError

FEWER: Final = "lower init_states or episodes_per_task"
"""What to do where a task has as many as it has."""
MORE: Final = "raise simulator.start_states"
"""What to do where the user has said how many there are."""


def check_start_state(where: str, index: int, count: int, remedy: str = "", *, noun: str = "a start state") -> None:
    """Passes when a start state exists.

    Args:
        where: the task, as an error names it.
        index: the episode's `init_state_id`.
        count: how many the task has.
        remedy: what to do otherwise.
        noun: what they are, with its article.

    Raises:
        EpisodeError: there is none of this index.
    """
    if not 0 <= index < count:
        advice = f"; {remedy}" if remedy else ""
        raise EpisodeError(f"{where}: expected {noun} in 0 to {count - 1}, got {index}{advice}")

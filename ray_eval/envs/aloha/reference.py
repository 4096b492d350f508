"""Plain gym-aloha as other evaluators step it: it draws three pictures at each step by itself."""

from __future__ import annotations

from typing import Any, Final

from ray_eval.types import Array

_IDS: Final = ("gym_aloha/AlohaTransferCube-v0", "gym_aloha/AlohaInsertion-v0")


class PlainTask:
    """One task of the package, with LeRobot's observations.

    Args:
        suite: `aloha`.
        task_id: 0 or 1.
        env_seed: Seed of start state 0.
    """

    def __init__(self, suite: str, task_id: int, env_seed: int) -> None:  # noqa: ARG002 -- there is one suite
        import gym_aloha  # noqa: F401 -- it registers the tasks
        import gymnasium

        self._env: Any = gymnasium.make(_IDS[task_id], obs_type="pixels_agent_pos", max_episode_steps=1000)
        self._env_seed = env_seed

    def reset(self, start_state: int) -> None:
        """Resets with the start state's seed."""
        self._env.reset(seed=self._env_seed + start_state)

    def step(self, action: Array) -> bool:
        """Steps; whether that was a success."""
        return bool(self._env.step(action)[-1]["is_success"])

    def close(self) -> None:
        """Frees the environment."""
        self._env.close()

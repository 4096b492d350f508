"""An environment of Gymnasium as other evaluators step it: start states by seed, success in `info`; for plain loops."""

from __future__ import annotations

from typing import Any

from ray_eval.types import Array


class SeededTask:
    """One environment with LeRobot's observations.

    Args:
        gym_id: Its name in Gymnasium's registry.
        env_seed: Seed of start state 0.
    """

    def __init__(self, gym_id: str, env_seed: int) -> None:
        import gymnasium

        self._env: Any = gymnasium.make(gym_id, obs_type="pixels_agent_pos", max_episode_steps=1000)
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

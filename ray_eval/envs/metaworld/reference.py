"""Plain Meta-World as other evaluators step it, drawing after each step; runs in its own interpreter."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ray_eval.envs.metaworld.tasks import tasks_of
from ray_eval.types import Array

SIZE_PX: Final = 224
"""Height and width of its images."""


class PlainTask:
    """One task of a suite: an environment of the package with a camera, and the goals of its benchmark.

    Args:
        suite: Suite of the task.
        task_id: Its index.
        env_seed: Seed of the benchmark.
    """

    def __init__(self, suite: str, task_id: int, env_seed: int) -> None:
        import metaworld

        name = (tasks_of(suite) or ())[task_id]
        benchmark = metaworld.MT1(name, seed=env_seed)
        self._tasks = benchmark.train_tasks
        drawn = {"render_mode": "rgb_array", "camera_name": "corner2", "width": SIZE_PX, "height": SIZE_PX}
        self._env: Any = benchmark.train_classes[name](**drawn)

    def reset(self, start_state: int) -> None:
        """Sets the goal, resets, and draws."""
        self._env.set_task(self._tasks[start_state])
        self._env.reset()
        self._draw()

    def step(self, action: Array) -> bool:
        """Steps and draws; whether the task holds."""
        info = self._env.step(action)[-1]
        self._draw()
        return bool(info["success"])

    def close(self) -> None:
        """Frees the environment."""
        self._env.close()

    def _draw(self) -> None:
        np.ascontiguousarray(self._env.render()[::-1, ::-1])

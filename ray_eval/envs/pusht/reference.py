"""Plain gym-pusht as other evaluators step it: it draws at each step by itself."""

from __future__ import annotations

from ray_eval.envs.gym_loop import SeededTask


class PlainTask(SeededTask):
    """The package's task.

    Args:
        suite: `pusht`.
        task_id: 0.
        env_seed: Seed of start state 0.
    """

    def __init__(self, suite: str, task_id: int, env_seed: int) -> None:  # noqa: ARG002 -- there is one task
        import gym_pusht  # noqa: F401 -- it registers the task

        super().__init__("gym_pusht/PushT-v0", env_seed)

"""Plain gym-aloha as other evaluators step it: it draws three pictures at each step by itself."""

from __future__ import annotations

from typing import Final

from ray_eval.envs.gym_loop import SeededTask

_IDS: Final = ("gym_aloha/AlohaTransferCube-v0", "gym_aloha/AlohaInsertion-v0")


class PlainTask(SeededTask):
    """One task of the package.

    Args:
        suite: `aloha`.
        task_id: 0 or 1.
        env_seed: Seed of start state 0.
    """

    def __init__(self, suite: str, task_id: int, env_seed: int) -> None:  # noqa: ARG002 -- there is one suite
        import gym_aloha  # noqa: F401 -- it registers the tasks

        super().__init__(_IDS[task_id], env_seed)

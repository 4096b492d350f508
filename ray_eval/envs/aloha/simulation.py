"""gym-aloha's own environment, which draws three pictures at each step, without them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ray_eval.errors import EpisodeError
from ray_eval.types import FloatArray, StepResult

ROBOT_QPOS: Final = 16
"""Joint positions of the two arms, before those of the objects. Source: gym-aloha@0.1.5 gym_aloha/tasks/sim.py."""


class Simulation:
    """The environment of one task of gym-aloha.

    The package hands an episode's object poses from its reset to dm_control's through a list of its module: between
    the two lines nothing else may reset, so one env belongs to one thread and envs take turns.

    Args:
        task: `transfer_cube` or `insertion`.
    """

    def __init__(self, task: str) -> None:
        import mujoco
        from gym_aloha.env import AlohaEnv

        mujoco.set_mju_user_warning(_ignore)
        self._task = task
        self._env: Any = _undrawn(AlohaEnv)(task)

    @property
    def model(self) -> Any:
        """The mjModel."""
        return self._env.physics.model.ptr

    @property
    def data(self) -> Any:
        """The mjData."""
        return self._env.physics.data.ptr

    def reset(self, seed: int) -> None:
        """The start that the package draws from the seed."""
        self._env.reset(seed=seed)

    def step(self, action: FloatArray) -> StepResult:
        """One control step (10 substeps, 20 ms) towards the (14,) joint positions, as float32; success is reward 4.

        Raises:
            EpisodeError: the simulation diverged.
        """
        from dm_control.rl.control import PhysicsError

        try:
            _, reward, _, _, info = self._env.step(action.astype(np.float32))
        except PhysicsError as error:
            raise EpisodeError(f"aloha/{self._task}: expected a stable simulation, got {error}") from error
        return StepResult(float(reward), is_success=bool(info["is_success"]))

    def joints(self) -> FloatArray:
        """(14,) joint positions as gym-aloha delivers them."""
        found: FloatArray = self._env.joints()
        return found

    def objects(self) -> FloatArray:
        """(7 N,) poses of the objects: x y z, qw qx qy qz each."""
        return np.array(self.data.qpos[ROBOT_QPOS:], dtype=np.float64)

    def state(self) -> FloatArray:
        """[time, qpos, qvel] as float64, a copy."""
        return np.concatenate([[self.data.time], self.data.qpos, self.data.qvel], dtype=np.float64)


def _undrawn(package_env: type[Any]) -> type[Any]:
    """gym-aloha's class with an observation that holds no pictures."""

    class Undrawn(package_env):  # type: ignore[misc]
        """Delivers what dm_control gives, which is the joints alone."""

        def _make_env_task(self, task_name: str) -> Any:
            env = super()._make_env_task(task_name)
            # An attribute of this one task object: dm_control asks it for the observation of each step.
            env.task.get_observation = lambda physics: {"qpos": env.task.get_qpos(physics)}
            return env

        def _format_raw_obs(self, raw_obs: Any) -> Any:
            return raw_obs

        @property
        def physics(self) -> Any:
            return self._env.physics

        def joints(self) -> FloatArray:
            return np.array(self._env.task.get_qpos(self._env.physics), dtype=np.float64)

    return Undrawn


def _ignore(message: str) -> None:
    """Keeps MuJoCo from writing its warnings into a file of the working directory; dm_control raises them."""

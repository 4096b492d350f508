"""Meta-World's own environment of one task, whose every episode is that of a fresh environment."""

from __future__ import annotations

import pickle
from typing import Any, Final

import numpy as np

from ray_eval.errors import EpisodeError
from ray_eval.types import FloatArray, StepResult

LEROBOT_CORNER2_M: Final = (0.75, 0.075, 0.7)
"""Where LeRobot puts the camera `corner2`. Source: lerobot@7427f31 src/lerobot/envs/metaworld.py."""
MODEL_FIELDS: Final = ("body_pos", "site_pos")
"""Fields of the mjModel that an episode's reset writes to: where objects, walls and goals are."""


class Simulation:
    """A Meta-World environment that draws nothing.

    A used one gives the bits of a fresh one: Meta-World's own `reset` builds the scene twice with `mj_resetData`
    between, so that only places of the first pass are left over, in the first image; before it model and mjData are
    put back as they were built. Between reset and step nothing computes in the mjData: an `mj_forward` there would
    move the solver's warm start, and with it every later state.

    Args:
        task: Meta-World's name.
        is_goal_hidden: Whether the observation has zeros in the goal's place.
    """

    def __init__(self, task: str, *, is_goal_hidden: bool) -> None:
        import mujoco
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS

        mujoco.set_mju_user_warning(_ignore)
        self._task, self._is_goal_hidden = task, is_goal_hidden
        self.env: Any = ALL_V3_ENVIRONMENTS[task]()
        """Meta-World's environment, without a renderer."""
        self._built = {name: getattr(self.model, name).copy() for name in MODEL_FIELDS}
        self._warnings = self._warning_counts()

    @property
    def model(self) -> Any:
        """The mjModel; objects' and goals' places in it are the present episode's."""
        return self.env.model

    def reset_to_goal(self, goal: FloatArray) -> FloatArray:
        """The (39,) first observation of Meta-World's way: `set_task`, then `reset`."""
        self._set_task(goal)
        return self._reset()

    def reset_seeded(self, seed: int) -> FloatArray:
        """The (39,) first observation of LeRobot's way: the goal is drawn while resetting.

        Two goals are drawn, and the first stays in the scene while the hand settles: in six tasks the same goal starts
        elsewhere than by `reset_to_goal`. Source: lerobot@7427f31 src/lerobot/envs/metaworld.py.
        """
        self._set_task(None)
        self.env._freeze_rand_vec = False  # noqa: SLF001 -- here and below: what LeRobot does
        self.env.seeded_rand_vec = True
        self.env.seed(seed)
        return self._reset()

    @property
    def goal(self) -> FloatArray:
        """The vector that the present episode was made from, 3 to 6 numbers; a copy."""
        return np.array(self.env._last_rand_vec, dtype=np.float64)  # noqa: SLF001 -- Meta-World has no public way

    def step(self, action: FloatArray) -> tuple[FloatArray, StepResult]:
        """The (39,) observation after one control step (5 substeps, 12.5 ms), its reward and its success.

        Args:
            action: (4,), executed as float32 as Meta-World's action space has it.

        Raises:
            EpisodeError: MuJoCo warned of the step; of some of what it warns it has reset its data by then.
        """
        observation, reward, _, _, info = self.env.step(action.astype(np.float32))
        self._refuse_warnings()
        return np.asarray(observation), StepResult(float(reward), is_success=bool(info["success"]))

    def state(self) -> FloatArray:
        """[time, qpos, qvel, mocap position, mocap quaternion], a copy."""
        data = self.env.data
        return np.concatenate(
            [[data.time], data.qpos, data.qvel, data.mocap_pos.ravel(), data.mocap_quat.ravel()], dtype=np.float64
        )

    def close(self) -> None:
        """Frees the environment."""
        self.env.close()

    def _set_task(self, goal: FloatArray | None) -> None:
        from metaworld.types import Task

        env = self.env
        data = {"rand_vec": goal, "env_cls": type(env), "partially_observable": self._is_goal_hidden}
        env.set_task(Task(self._task, pickle.dumps(data)))

    def _reset(self) -> FloatArray:
        import mujoco

        for name, values in self._built.items():
            getattr(self.model, name)[:] = values
        mujoco.mj_resetData(self.model, self.env.data)
        mujoco.mj_forward(self.model, self.env.data)
        observation, _ = self.env.reset()
        self._warnings = self._warning_counts()
        return np.array(observation, dtype=np.float64)

    def _refuse_warnings(self) -> None:
        counts = self._warning_counts()
        if counts != self._warnings:
            import mujoco

            kinds = enumerate(zip(counts, self._warnings, strict=True))
            named = ", ".join(mujoco.mjtWarning(kind).name for kind, (now, then) in kinds if now != then)
            raise EpisodeError(f"{self._task}: expected a step without a warning of MuJoCo, got {named}")

    def _warning_counts(self) -> list[int]:
        """How often MuJoCo has warned, by kind."""
        counts: list[int] = self.env.data.warning.number.tolist()
        return counts


def _ignore(message: str) -> None:
    """Keeps MuJoCo from writing its warnings into a file of the working directory; they are counted in its mjData."""

"""LIBERO's own environment for one task, whose every episode is that of a fresh environment."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ray_eval.envs.libero.control_step import ControlStep
from ray_eval.envs.libero.model_cache import ModelCache
from ray_eval.envs.libero.snapshot import PackedSnapshot, SnapshotRecorder
from ray_eval.envs.libero.task_env import Compiler, make_task_env
from ray_eval.envs.libero.textures import Split, split
from ray_eval.errors import EpisodeError
from ray_eval.types import FloatArray, StepResult

if TYPE_CHECKING:
    from ray_eval.envs.libero.mipmaps import KeptTextures

T = TypeVar("T")

RANDOMIZATION_TRIES = 100
"""Draws of an object placement before an episode is given up; plain LIBERO tries for ever."""


class Simulation:
    """A LIBERO environment that renders nothing, with the instant of observation kept (see `snapshot`).

    The canonical episode is construct, seed, hard reset, init state, as in a new process; here the reset is warm
    (see `task_env`).
    """

    def __init__(self, bddl_path: Path, models: ModelCache) -> None:
        self._models = models
        self.scene: str | None = None
        """What names the compiled scene by all that it is made of; None where that is not known."""
        self._split: Split | None = None
        self.env: Any = _construct(bddl_path, self._compiled)
        """LIBERO's environment, without the wrapper `ControlEnv`."""
        self._recorder = SnapshotRecorder(self.env)
        self._control_step = ControlStep(self.env, self._recorder)
        self._control_step.bind()  # here already, so that compiling is part of the build

    @property
    def controller(self) -> Any:
        """The arm's OSC controller; another object after every reset."""
        return self.env.robots[0].controller

    @property
    def observed(self) -> PackedSnapshot:
        """What plain LIBERO's last `reset`, `set_init_state` or `step` observed."""
        return self._recorder.latest

    def reset(self, seed: int, init_state: FloatArray | None) -> None:
        """Brings the env to the init state, or to what the seed draws where that is None; nothing is settled.

        Raises:
            EpisodeError: no valid placement was drawn, or the init state is not one of this model.
        """
        self.env.forget_resets()
        self.env.seed(seed)
        placed(self.env.reset)
        if init_state is not None:
            self._check_size(init_state)
            self._set_init_state(init_state)
        self._control_step.bind()

    def step(self, action: FloatArray) -> StepResult:
        """One control step's reward, and whether the goal holds on the poses that its last substep left.

        Raises:
            EpisodeError: the simulation diverged.
        """
        return self._control_step.run(action)

    def state(self) -> FloatArray:
        """[time, qpos, qvel], a copy."""
        data = self.env.sim.data
        return np.concatenate([[data.time], data.qpos, data.qvel])

    @property
    def textures(self) -> KeptTextures | None:
        """The scene's textures; None where its mjModel has them itself."""
        from ray_eval.envs.libero.mipmaps import KeptTextures

        return None if self._split is None else KeptTextures(self._models, self._split.textures)

    def compiled_anew(self) -> Any:
        """Another mjModel (the binding's own) of the scene, as it was compiled."""
        if self.scene is None or self._split is None:
            return self._models.compiled_as(self.scene, self.env.mjcf)
        return self._models.compiled_as(_bare(self.scene), self._split.mjcf)

    def _compiled(self, mjcf: str) -> Any:
        self.scene = self._models.key(mjcf)
        self._split = None if self.scene is None else split(mjcf)
        if self.scene is not None and self._split is not None:
            model = self._models.compiled_as(_bare(self.scene), self._split.mjcf)
            names = [model.texture(index).name for index in range(model.ntex)]
            if names == [texture.name for texture in self._split.textures]:
                return model
            self._split = None
        return self._models.compiled_as(self.scene, mjcf)

    def close(self) -> None:
        """Frees the simulation."""
        self._control_step.release()
        self._recorder.release()
        self.env.close()

    def _set_init_state(self, init_state: FloatArray) -> None:
        """What LIBERO's `ControlEnv.set_init_state` does. Source: LIBERO@8f1084e envs/env_wrapper.py."""
        env = self.env
        env.sim.set_state_from_flattened(init_state)
        env.sim.forward()
        env._check_success()  # noqa: SLF001 -- here and below: robosuite's and LIBERO's own steps
        env._post_process()  # noqa: SLF001
        env._update_observables(force=True)  # noqa: SLF001

    def _check_size(self, init_state: FloatArray) -> None:
        model = self.env.sim.model
        expected = 1 + model.nq + model.nv
        if len(init_state) != expected:
            raise EpisodeError(
                f"init state: expected {expected} numbers (time, qpos, qvel), got {len(init_state)}; "
                "the stored init states belong to another version of this task"
            )


def _bare(scene: str) -> str:
    """What names a scene without its textures."""
    return hashlib.sha256(f"{scene}|textures apart".encode()).hexdigest()


def placed(attempt: Callable[[], T]) -> T:
    """What `attempt` returns once it draws a valid object placement.

    A failed draw is repeated with the random numbers that follow, as LIBERO does; any other exception passes.

    Raises:
        EpisodeError: every draw failed.
    """
    from robosuite.utils.errors import RandomizationError

    for _ in range(RANDOMIZATION_TRIES):
        with contextlib.suppress(RandomizationError):
            return attempt()
    raise EpisodeError(
        f"reset: expected a valid object placement within {RANDOMIZATION_TRIES} draws, got none; "
        "another env_seed draws others"
    )


def _construct(bddl_path: Path, compile_model: Compiler) -> Any:
    """A task's environment; a fixed seed keeps what construction draws from failing on some days only."""
    np.random.seed(0)  # noqa: NPY002 -- LIBERO draws from the global generator
    return placed(lambda: make_task_env(bddl_path, compile_model))

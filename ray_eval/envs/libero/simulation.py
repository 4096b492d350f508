"""LIBERO's own environment for one task, whose every episode is that of a fresh environment."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ray_eval.envs.libero.snapshot import SceneSnapshot, SnapshotRecorder
from ray_eval.errors import EpisodeError
from ray_eval.types import FloatArray

T = TypeVar("T")

RANDOMIZATION_TRIES = 100
"""Draws of an object placement before an episode is given up; plain LIBERO tries for ever."""


class Simulation:
    """One `ControlEnv` that renders nothing, with the instant of observation kept (see `snapshot`).

    The canonical episode is construct, seed, hard reset, init state. robosuite's hard reset rebuilds everything
    but LIBERO's list `object_property_initializers`, which grows by its own length each time and shifts what is
    drawn afterwards; it is cut back to its length after construction.
    """

    def __init__(self, bddl_path: Path) -> None:
        self._control_env = _construct(bddl_path)
        self._initializer_count = len(self.env.object_property_initializers)
        self._recorder = SnapshotRecorder(self.env)

    @property
    def env(self) -> Any:
        """Robosuite's environment inside LIBERO's wrapper."""
        return self._control_env.env

    @property
    def controller(self) -> Any:
        """The arm's OSC controller; another object after every reset."""
        return self.env.robots[0].controller

    @property
    def snapshot(self) -> SceneSnapshot:
        """What plain LIBERO's last `reset`, `set_init_state` or `step` observed."""
        return self._recorder.latest

    def reset(self, seed: int, init_state: FloatArray | None) -> None:
        """Brings the env to the init state, or to what the seed draws where that is None; nothing is settled.

        Raises:
            EpisodeError: no valid placement was drawn, or the init state is not one of this model.
        """
        del self.env.object_property_initializers[self._initializer_count :]
        self._control_env.seed(seed)
        placed(self.env.reset)  # not ControlEnv.reset, which swallows every exception and tries for ever
        if init_state is not None:
            self._check_size(init_state)
            self._control_env.set_init_state(init_state)

    def step(self, action: FloatArray) -> float:
        """The env's reward of one control step.

        Raises:
            EpisodeError: the simulation diverged.
        """
        _, reward, _, _ = self._control_env.step(action)
        self._check_finite()
        return float(reward)

    def is_success(self) -> bool:
        """Whether the goal holds, judged on the poses that the last substep left."""
        return bool(self._control_env.check_success())

    def state(self) -> FloatArray:
        """[time, qpos, qvel], a copy."""
        data = self.env.sim.data
        return np.concatenate([[data.time], data.qpos, data.qvel])

    def close(self) -> None:
        """Frees the simulation."""
        self._control_env.close()

    def _check_size(self, init_state: FloatArray) -> None:
        model = self.env.sim.model
        expected = 1 + model.nq + model.nv
        if len(init_state) != expected:
            raise EpisodeError(
                f"init state: expected {expected} numbers (time, qpos, qvel), got {len(init_state)}; "
                "the stored init states belong to another version of this task"
            )

    def _check_finite(self) -> None:
        """MuJoCo resets a diverged simulation by itself and only counts a warning."""
        import mujoco

        data = self.env.sim.data
        kinds = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)
        is_sane = not any(data.warning[kind].number for kind in kinds)
        if not (is_sane and np.isfinite(data.qpos).all() and np.isfinite(data.qvel).all()):
            raise EpisodeError(
                f"step: expected finite positions and velocities, got a simulation that diverged at {data.time:.3f} s; "
                "check the scale of the policy's actions"
            )


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


def _construct(bddl_path: Path) -> Any:
    """A `ControlEnv` without cameras that computes what one with cameras does; its draws concern no episode."""
    _silence_macro_hint()
    from libero.libero.envs.env_wrapper import ControlEnv

    np.random.seed(0)  # noqa: NPY002 -- LIBERO draws from the global generator
    options = {"use_camera_obs": False, "has_offscreen_renderer": False, "ignore_done": True}
    control_env = placed(lambda: ControlEnv(bddl_file_name=str(bddl_path), **options))
    inner = control_env.env
    inner._initialize_sim = _with_forward(inner, inner._initialize_sim)  # noqa: SLF001 -- see there
    return control_env


def _with_forward(env: Any, initialize_sim: Callable[..., None]) -> Callable[..., None]:
    """`initialize_sim`, then the forward that robosuite's render context makes there when there is one.

    Each forward moves the solver's warm start, and with it the last bits of the trajectory.
    """

    def initialize(xml_string: str | None = None) -> None:
        initialize_sim(xml_string)
        env.sim.forward()

    return initialize


def _silence_macro_hint() -> None:
    """Drops robosuite's advice, at every import, to write a private macro file."""
    logging.getLogger("robosuite_logs").addFilter(lambda record: "macro" not in record.getMessage())

"""LIBERO as its own users run it: `OffScreenRenderEnv`, both cameras drawn at every step, a hard reset per episode.

In a fresh environment per episode it is the oracle of exactness; with one environment per task, as other evaluators
use it, the baseline of speed. Nothing of `LiberoEnv` is used here.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ray_eval.envs.libero import suites
from ray_eval.types import Array, FloatArray

SETTLE_ACTION: Final = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0)
"""What every evaluator executes while objects come to rest. Source: openpi@15a9616 examples/libero/main.py."""
CAMERAS: Final = ("agentview", "robot0_eye_in_hand")
"""LIBERO's two cameras."""

Observation = Mapping[str, Any]
"""robosuite's dictionary of one observation."""


def load_libero() -> None:
    """Imports LIBERO's environments, which takes seconds, so that nobody's clock has to."""
    from libero.libero import envs  # noqa: F401


@dataclass(frozen=True, slots=True, eq=False)
class PlainStep:
    """What plain LIBERO gave for one control step."""

    observation: Observation
    """What `step` returned; images are under `agentview_image` and `robot0_eye_in_hand_image`."""
    reward: float
    """The env's reward."""
    is_success: bool
    """`check_success()` after the step."""
    state: FloatArray
    """[time, qpos, qvel] after the step, a copy."""


class PlainLibero:
    """One of LIBERO's own environments, seeded before every reset.

    Args:
        suite: Name of the suite.
        task_id: Index of the task.
        size_px: Height and width of both cameras.
        has_cameras: Whether there are cameras at all; without them `step` costs physics and robosuite's Python.
    """

    def __init__(self, suite: str, task_id: int, *, size_px: int = 256, has_cameras: bool = True) -> None:
        from libero.libero.envs import OffScreenRenderEnv
        from libero.libero.envs.env_wrapper import ControlEnv

        options: dict[str, Any] = {"bddl_file_name": str(suites.task(suite, task_id).bddl_path)}
        if has_cameras:
            self.env = OffScreenRenderEnv(**options, camera_heights=size_px, camera_widths=size_px)
        else:
            self.env = ControlEnv(**options, use_camera_obs=False, has_offscreen_renderer=False)
        self._has_cameras = has_cameras
        self._is_drawing = True

    def reset(self, seed: int, init_state: FloatArray | None, *, is_sparse: bool = False) -> Observation:
        """Seeds, resets hard and sets the init state, where there is one; settles nothing.

        With `is_sparse` images can be left out of single steps (see `step`).
        """
        self._is_drawing = True
        self.env.seed(seed)
        observation: Observation = self.env.reset()
        if init_state is not None:
            observation = self.env.set_init_state(init_state)
        if is_sparse:
            # A camera that is switched off and on again samples at another instant; one whose sensor is answered
            # without drawing keeps its timer.
            for camera in CAMERAS:
                self._make_sparse(self.env.env._observables[f"{camera}_image"])  # noqa: SLF001 -- no public way
        return observation

    def step(self, action: Array, *, has_images: bool = True) -> PlainStep:
        """One control step; without `has_images` its images are black, if the reset was sparse."""
        self._is_drawing = has_images
        observation, reward, _, _ = self.env.step(action)
        return PlainStep(observation, float(reward), bool(self.env.check_success()), self.state())

    def state(self) -> FloatArray:
        """[time, qpos, qvel], a copy."""
        state: FloatArray = np.array(self.env.get_sim_state())
        return state

    def mark(self) -> None:
        """Keeps the present as the state from which `bare_physics_s` starts."""
        import mujoco

        sim = self.env.env.sim
        model, data = sim.model._model, sim.data._data  # noqa: SLF001 -- there is no public way
        signature = mujoco.mjtState.mjSTATE_INTEGRATION
        self._marked = np.empty(mujoco.mj_stateSize(model, signature))
        mujoco.mj_getState(model, data, self._marked, signature)

    def bare_physics_s(self, substep_count: int = 25) -> float:
        """Seconds of `mj_step` alone from the marked state, as many as a control step has, on mjData of its own.

        The torques are those of the present, after the step that followed the mark.
        """
        import mujoco

        sim = self.env.env.sim
        model, data = sim.model._model, mujoco.MjData(sim.model._model)  # noqa: SLF001
        mujoco.mj_setState(model, data, self._marked, mujoco.mjtState.mjSTATE_INTEGRATION)
        data.ctrl[:] = sim.data.ctrl
        mujoco.mj_forward(model, data)
        started = time.perf_counter()
        for _ in range(substep_count):
            mujoco.mj_step(model, data)
        return time.perf_counter() - started

    def render(self, camera: str, size_px: int = 256) -> Array:
        """The camera's image of the present, as robosuite's own sensors draw it: rows bottom-up."""
        image: Array = self.env.env.sim.render(camera_name=camera, width=size_px, height=size_px)
        return image

    def close(self) -> None:
        """Frees the environment and its GL context."""
        if self._has_cameras:
            self.env.env.sim._render_context_offscreen.gl_ctx.make_current()  # noqa: SLF001 -- or EGL complains
        self.env.close()

    def _make_sparse(self, observable: Any) -> None:
        draw = observable._sensor  # noqa: SLF001 -- set_sensor would draw
        blank = np.zeros(observable._data_shape, np.uint8)  # noqa: SLF001

        @functools.wraps(draw)
        def drawn_when_wanted(cache: Any) -> Any:
            return draw(cache) if self._is_drawing else blank

        observable._sensor = drawn_when_wanted  # noqa: SLF001


@dataclass(frozen=True, slots=True, eq=False)
class PlainEpisode:
    """What an episode of plain LIBERO is made of."""

    seed: int
    """Applied before the reset."""
    init_state: FloatArray | None
    """[time, qpos, qvel]; None keeps what the reset drew."""
    actions: Array
    """(T, 7), executed one after the other."""
    settle_steps: int = 10
    """Steps with `SETTLE_ACTION` before."""
    images_every: int = 1
    """Steps, counted from the end of settling, from one with images to the next."""


def play(
    plain: PlainLibero, episode: PlainEpisode, before_step: Callable[[Any, int], None] = lambda _env, _step: None
) -> Iterator[PlainStep]:
    """Yields what there is after settling, then after each action.

    Args:
        plain: The environment; a fresh one for the canonical episode.
        episode: What is played.
        before_step: Called with robosuite's env and the index of the action that follows.
    """
    is_sparse = episode.images_every > 1
    observation = plain.reset(episode.seed, episode.init_state, is_sparse=is_sparse)
    last = PlainStep(observation, 0.0, is_success=False, state=plain.state())
    for index in range(episode.settle_steps):
        last = plain.step(np.array(SETTLE_ACTION), has_images=index == episode.settle_steps - 1)
    yield last
    for step, action in enumerate(episode.actions):
        before_step(plain.env.env, step)
        yield plain.step(action, has_images=(step + 1) % episode.images_every == 0)


def plain_state_vector(observation: Observation) -> Array:
    """(8,) float32: eef position, axis-angle by robosuite's own conversion, two finger positions."""
    from robosuite.utils.transform_utils import quat2axisangle

    # The conversion clips its argument in place.
    rotation = quat2axisangle(np.array(observation["robot0_eef_quat"]))
    parts = [observation["robot0_eef_pos"], rotation, observation["robot0_gripper_qpos"]]
    return np.concatenate(parts).astype(np.float32)

"""`LiberoEnv`: one LIBERO task behind the Env seam; owned by one thread of a worker, as is its GL context."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ray_eval.envs import actions
from ray_eval.envs.history import FrameHistory
from ray_eval.envs.libero import suites
from ray_eval.envs.libero.environment_state import EnvironmentLayout
from ray_eval.envs.libero.model_cache import ModelCache, default_folder
from ray_eval.envs.libero.preprocessing import RgbImage, image_steps, preprocess
from ray_eval.envs.libero.reading import SceneReader
from ray_eval.envs.libero.rendering import SceneRenderer
from ray_eval.envs.libero.settings import IMAGE_SIZE_PX, own_settings
from ray_eval.envs.libero.settling import FreeBodies, disturbed
from ray_eval.envs.libero.simulation import Simulation
from ray_eval.envs.libero.snapshot import PackedSnapshot
from ray_eval.envs.libero.state import ControllerPose, RobotIndices, read_robot, rotation_axis_angle, state_vector
from ray_eval.envs.start_states import FEWER, check_start_state
from ray_eval.scene import SceneReading
from ray_eval.sections import EnvSettings
from ray_eval.types import (
    ENVIRONMENT_STATE,
    IMAGE,
    IMAGE_KEYS,
    STATE,
    WRIST_IMAGE,
    Array,
    Disturbed,
    EpisodeSpec,
    FloatArray,
    StepResult,
)

CAMERAS: Final[Mapping[str, str]] = {IMAGE: "agentview", WRIST_IMAGE: "robot0_eye_in_hand"}
"""LIBERO's camera behind each image key."""


@dataclass(slots=True, eq=False)
class Frame:
    """One control step as a policy may see it, and the images drawn of it so far."""

    observed: PackedSnapshot
    """What the observation is made of."""
    controller_pose: ControllerPose
    """Position and rotation that the controller last read."""
    raw_images: dict[str, RgbImage] = field(default_factory=dict)
    """Images by key, as robosuite delivers them, with the noise."""
    noise: Callable[[RgbImage], RgbImage] | None = None
    """What becomes of the raw agentview image, of 256 px then; None leaves it clean, as LIBERO does."""


class LiberoEnv:
    """One LIBERO task, whose every episode is that of a fresh environment whatever ran before.

    Observations are exactly those that plain LIBERO's `step` returns; cameras are drawn only when `observe` is
    called. The global NumPy generator belongs to the env between `reset` and the episode's end.
    """

    def __init__(self, suite: str, task_id: int, settings: EnvSettings) -> None:
        self._where = f"{suite}/{task_id}"
        self._task = self._found(suite, task_id)
        self._settings = settings
        self._own = own_settings(settings)
        recipe = settings.recipe
        self._steps = {
            IMAGE: image_steps(recipe.images, is_rotated=recipe.images.is_agentview_rotated),
            WRIST_IMAGE: image_steps(recipe.images, is_rotated=recipe.images.is_wrist_rotated),
        }
        self._history = FrameHistory[Frame](recipe.keys, recipe.n_obs_steps, self._made)
        self._render_count = 0
        self._disturbed: tuple[Disturbed, ...] | None = None
        self._simulation, self._renderer = self._opened()
        self._reader: SceneReader | None = None
        self._bind()

    @property
    def task(self) -> str:
        """LIBERO's name of the task."""
        return self._task.name

    @property
    def instruction(self) -> str:
        """The sentence that the settings choose of the task's two, or their `task_text`."""
        if self._settings.task_text is not None:
            return self._settings.task_text
        return suites.sentence(self._task, self._own.instruction)

    @property
    def environment_names(self) -> tuple[str, ...]:
        """Names beside `observation.environment_state` (see `environment_state`); empty where it is not asked for."""
        return self._layout.names if ENVIRONMENT_STATE in self._settings.recipe.keys else ()

    @property
    def render_count(self) -> int:
        """Camera images made for observations since the last `reset`."""
        return self._render_count

    @property
    def disturbed(self) -> tuple[Disturbed, ...] | None:
        """Objects that the start state did not hold (see `settling`); None where nothing was settled."""
        return self._disturbed

    def reset(self, episode: EpisodeSpec) -> None:
        """Brings the env to step 0: seeded, hard reset, at its init state, settled.

        Raises:
            EpisodeError: the init state does not exist or does not fit, or no placement was found.
        """
        self._history.clear()
        self._render_count = 0
        self._simulation.reset(episode.env_seed, self._init_state(episode.init_state_id))
        self._bind()
        self._renderer.begin_episode(self._simulation.env.sim.model)
        self._settle()
        self._history.append(self._frame())

    def observe(self) -> Mapping[str, Array]:
        """The recipe's arrays at the present step; with `n_obs_steps` > 1 stacked, oldest first."""
        return self._history.observe()

    def native_action(self, action: Array) -> FloatArray:
        """The (7,) float64 action for a policy's (7,): its gripper value transformed as the settings say.

        Raises:
            ContractError: the shape is another, or a number is not finite.
        """
        return actions.native_action(action, self._own.gripper)

    def noop_action(self) -> FloatArray:
        """Zeros with the gripper open; in absolute control the controller's goal pose, as zeros are a pose there."""
        if self._own.control == "delta":
            return np.array([0.0] * 6 + [actions.GRIPPER_OPEN])
        controller = self._simulation.controller
        return np.concatenate(
            [controller.goal_pos, rotation_axis_angle(controller.goal_ori), [actions.GRIPPER_OPEN]], dtype=np.float64
        )

    def step(self, action: FloatArray) -> StepResult:
        """Executes one native action for one control step (25 substeps, 50 ms).

        Raises:
            EpisodeError: the simulation diverged.
        """
        result = self._simulation.step(action)
        self._history.append(self._frame())
        return result

    def simulator_state(self) -> FloatArray:
        """[time, qpos, qvel] as float64, a copy."""
        return self._simulation.state()

    def picture(self, key: str = IMAGE) -> RgbImage:
        """A camera's (H, W, 3) RGB image for people: upright, not mirrored; not counted in `render_count`."""
        return np.ascontiguousarray(self._raw_image(self._history.present, key)[::-1])

    def scene(self) -> SceneReading:
        """The exact scene as the present step left it."""
        self._reader = self._reader or SceneReader(self._simulation.env)
        return self._reader.read()

    def close(self) -> None:
        """Frees the simulation and the GL context; the env is not used again."""
        self._history.clear()
        self._reader = None
        self._renderer.close()
        self._simulation.close()

    def _found(self, suite: str, task_id: int) -> suites.Task:
        return suites.task(suite, task_id)

    def _states(self) -> FloatArray:
        return suites.init_states(self._where.rpartition("/")[0], self._task.task_id)

    def _opened(self) -> tuple[Simulation, SceneRenderer]:
        models = ModelCache(default_folder(), self._settings.model_cache_bytes)
        simulation = Simulation(self._task.bddl_path, models)
        return simulation, SceneRenderer(
            simulation.env.sim.model, simulation.compiled_anew, simulation.scene, simulation.textures
        )

    def _bind(self) -> None:
        """Looks up where robot and objects are in the model at hand."""
        self._indices = RobotIndices.of(self._simulation.env)
        self._layout = EnvironmentLayout.of(self._simulation.env)
        self._bodies = FreeBodies.of(self._simulation.env)
        self._reader = None

    def _init_state(self, init_state_id: int) -> FloatArray | None:
        if self._own.init_states == "sampled":
            return None
        states = self._states()
        check_start_state(self._where, init_state_id, len(states), FEWER, noun="an init state")
        state: FloatArray = states[init_state_id]
        return state

    def _settle(self) -> None:
        """Lets objects come to rest under delta control; absolute control begins afterwards."""
        gripper = actions.GRIPPER_OPEN if self._own.settle_action == "gripper_open" else 0.0
        data = self._simulation.env.sim.data
        before = self._bodies.poses(data)
        for _ in range(self._own.settle_steps):
            self._simulation.step(np.array([0.0] * 6 + [gripper]))
        if self._own.settle_steps:
            after, speeds = self._bodies.poses(data), self._bodies.speeds(data)
            self._disturbed = tuple(disturbed(self._bodies.names, before, after, speeds))
        self._simulation.controller.use_delta = self._own.control == "delta"

    def _frame(self) -> Frame:
        controller = self._simulation.controller
        return Frame(self._simulation.observed, (np.array(controller.ee_pos), np.array(controller.ee_ori_mat)))

    def _made(self, frame: Frame, key: str) -> Array:
        if key in IMAGE_KEYS:
            self._render_count += 1
            return preprocess(self._raw_image(frame, key), self._steps[key])
        if key == STATE:
            reading = read_robot(frame.observed.snapshot, self._indices, frame.controller_pose)
            return state_vector(reading, self._own.state_format)
        return self._layout.read(frame.observed.snapshot)

    def _raw_image(self, frame: Frame, key: str) -> RgbImage:
        if key not in frame.raw_images:
            noise = frame.noise if key == IMAGE else None
            size_px = IMAGE_SIZE_PX if noise else self._settings.recipe.images.render_size_px or IMAGE_SIZE_PX
            image = self._renderer.render(frame.observed.snapshot, CAMERAS[key], size_px)
            frame.raw_images[key] = noise(image) if noise else image
        return frame.raw_images[key]

"""`MetaworldEnv`: one Meta-World task behind the Env seam; owned by one thread, as is its GL context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ray_eval.envs import actions
from ray_eval.envs.history import FrameHistory
from ray_eval.envs.libero.preprocessing import RgbImage, image_steps, preprocess
from ray_eval.envs.metaworld import goals
from ray_eval.envs.metaworld.settings import MetaworldSettings
from ray_eval.envs.metaworld.simulation import LEROBOT_CORNER2_M, Simulation
from ray_eval.envs.metaworld.tasks import GOAL_COUNT, INSTRUCTIONS, MAX_STEPS
from ray_eval.envs.mujoco_cameras import CameraRenderer, Poses
from ray_eval.envs.start_states import FEWER, check_start_state
from ray_eval.errors import EpisodeError
from ray_eval.sections import EnvSettings
from ray_eval.types import (
    ENVIRONMENT_STATE,
    IMAGE_PREFIX,
    SINGLE_IMAGE,
    STATE,
    Array,
    EpisodeSpec,
    FloatArray,
    StepResult,
    is_image,
)

ACTION_DIM: Final = 4
"""Displacement of the hand along x, y, z and the gripper's effort."""
STATE_DIM: Final = 4
"""Numbers of `observation.state`, the first of the observation: the hand's place and how far the gripper is open."""
GRIPPER_OPEN: Final = -1.0
"""The gripper's effort that opens it, and with which the hand is reset."""
NATIVE_SIZE_PX: Final = 480
"""Height and width of Meta-World's own images."""
UPSIDE_DOWN: Final = "corner2"
"""The camera whose image comes upside down."""


@dataclass(slots=True, eq=False)
class _Frame:
    """One control step as a policy may see it, and the images drawn of it so far, by camera."""

    observation: FloatArray
    poses: Poses
    images: dict[str, RgbImage] = field(default_factory=dict)


class MetaworldEnv:
    """One Meta-World task, whose every episode is that of a fresh environment whatever ran before.

    Args:
        task: Meta-World's name.
        is_goal_hidden: Whether the goal is left out of the observation.
        own: Meta-World's own settings.
        settings: What every env is told.
    """

    def __init__(self, task: str, own: MetaworldSettings, settings: EnvSettings, *, is_goal_hidden: bool) -> None:
        self._task, self._own, self._settings = task, own, settings
        recipe = settings.recipe
        turned = own.is_corner2_turned
        self._steps = {
            camera_is_turned: image_steps(recipe.images, is_rotated=camera_is_turned)
            for camera_is_turned in {False, turned}
        }
        self._history = FrameHistory[_Frame](recipe.keys, recipe.n_obs_steps, self._made)
        self._simulation = Simulation(task, is_goal_hidden=is_goal_hidden)
        if own.corner2 == "lerobot":
            model = self._simulation.model
            model.cam_pos[model.camera(UPSIDE_DOWN).id] = LEROBOT_CORNER2_M
        self._renderer = CameraRenderer(self._simulation.model)
        self._render_count = self._step_count = self._budget = 0
        self._gripper = GRIPPER_OPEN

    @property
    def task(self) -> str:
        """Meta-World's name of the task."""
        return self._task

    @property
    def instruction(self) -> str:
        """LeRobot's sentence for the task, or the settings' `task_text`."""
        return INSTRUCTIONS[self._task] if self._settings.task_text is None else self._settings.task_text

    @property
    def environment_names(self) -> tuple[str, ...]:
        """One name for each of the 39 numbers; empty where the privileged state is not asked for."""
        return OBSERVATION_NAMES if ENVIRONMENT_STATE in self._settings.recipe.keys else ()

    @property
    def render_count(self) -> int:
        """Camera images made for observations since the last `reset`."""
        return self._render_count

    def reset(self, episode: EpisodeSpec) -> None:
        """Brings the env to step 0: the goal chosen by the route, the whole of Meta-World's reset.

        Raises:
            EpisodeError: the goal does not exist, or the budget is longer than Meta-World can run.
        """
        if episode.max_steps > MAX_STEPS:
            raise EpisodeError(
                f"{self._task}: expected a budget of at most {MAX_STEPS} steps, got {episode.max_steps}; Meta-World "
                "refuses a further one"
            )
        self._history.clear()
        self._render_count = self._step_count = 0
        self._budget, self._gripper = episode.max_steps, GRIPPER_OPEN
        self._append(self._first_observation(episode))

    def observe(self) -> Mapping[str, Array]:
        """The recipe's arrays at the present step; with `n_obs_steps` > 1 stacked, oldest first."""
        return self._history.observe()

    def native_action(self, action: Array) -> FloatArray:
        """The (4,) float64 action for a policy's (4,), unchanged: Meta-World limits it itself.

        Raises:
            ContractError: the shape is another, or a number is not finite, of which MuJoCo makes a reset in silence.
        """
        return actions.checked_action(action, ACTION_DIM)

    def noop_action(self) -> FloatArray:
        """No displacement, and the gripper's last effort; open at the start."""
        return np.array([0.0, 0.0, 0.0, self._gripper])

    def step(self, action: FloatArray) -> StepResult:
        """Executes one action for one control step (12.5 ms), as float32.

        Raises:
            EpisodeError: MuJoCo warned, or the episode is over.
        """
        observation, result = self._simulation.step(action)
        self._step_count += 1
        self._gripper = float(action[-1])
        self._append(observation)
        is_told = self._own.success == "any" or self._step_count == self._budget
        return StepResult(result.reward, is_success=result.is_success and is_told)

    def simulator_state(self) -> FloatArray:
        """[time, qpos, qvel, mocap position, mocap quaternion] as float64, a copy."""
        return self._simulation.state()

    def picture(self, key: str = SINGLE_IMAGE) -> RgbImage:
        """A camera's (480, 480, 3) RGB image for people: upright; not counted in `render_count`."""
        camera = self._camera(key)
        image = self._renderer.render(self._history.present.poses, camera, NATIVE_SIZE_PX, NATIVE_SIZE_PX)
        return np.ascontiguousarray(image[::-1, ::-1]) if camera == UPSIDE_DOWN else image

    def close(self) -> None:
        """Frees the simulation and the GL context; the env is not used again."""
        self._history.clear()
        self._renderer.close()
        self._simulation.close()

    def _first_observation(self, episode: EpisodeSpec) -> FloatArray:
        if self._own.route == "seeded":
            return self._simulation.reset_seeded(episode.env_seed)
        check_start_state(self._task, episode.init_state_id, GOAL_COUNT, FEWER, noun="a goal")
        known = goals.goals(self._task, episode.env_seed, goals.default_folder())
        return self._simulation.reset_to_goal(known[episode.init_state_id])

    def _append(self, observation: FloatArray) -> None:
        self._history.append(_Frame(observation, Poses.of(self._simulation.env.data)))

    def _camera(self, key: str) -> str:
        return self._own.camera if key == SINGLE_IMAGE else key.removeprefix(IMAGE_PREFIX)

    def _made(self, frame: _Frame, key: str) -> Array:
        if is_image(key):
            return self._image(frame, self._camera(key))
        # As float64: the packaged experts read it, and give other actions for rounded numbers.
        return frame.observation[:STATE_DIM].astype(np.float32) if key == STATE else frame.observation

    def _image(self, frame: _Frame, camera: str) -> RgbImage:
        if camera not in frame.images:
            self._render_count += 1
            size_px = self._settings.recipe.images.render_size_px or NATIVE_SIZE_PX
            raw = self._renderer.render(frame.poses, camera, size_px, size_px)
            is_turned = camera == UPSIDE_DOWN and self._own.is_corner2_turned
            frame.images[camera] = preprocess(raw, self._steps[is_turned])
        return frame.images[camera]


def _moment_names(when: str) -> tuple[str, ...]:
    objects = (f"object_{number}_{part}" for number in (1, 2) for part in ("x", "y", "z", "qx", "qy", "qz", "qw"))
    return tuple(f"{when}{name}" for name in ("hand_x", "hand_y", "hand_z", "gripper_open", *objects))


OBSERVATION_NAMES: Final = (
    *_moment_names(""),
    *_moment_names("last_"),
    "goal_x",
    "goal_y",
    "goal_z",
)
"""Components of Meta-World's observation: this step, the step before, the goal; zeros where there is no object.

Source: metaworld@3.1.1 sawyer_xyz_env.py (_get_obs).
"""

"""`AlohaEnv`: one task of gym-aloha behind the Env seam; owned by one thread, as is its GL context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ray_eval.envs import actions
from ray_eval.envs.aloha.settings import AlohaSettings
from ray_eval.envs.aloha.simulation import Simulation
from ray_eval.envs.aloha.tasks import HEIGHT_PX, INSTRUCTIONS, JOINTS, OBJECT_NAMES, WIDTH_PX
from ray_eval.envs.history import FrameHistory
from ray_eval.envs.libero.preprocessing import image_steps, preprocess
from ray_eval.envs.mujoco_cameras import CameraRenderer, Poses
from ray_eval.envs.start_states import MORE, check_start_state
from ray_eval.sections import EnvSettings
from ray_eval.types import (
    ENVIRONMENT_STATE,
    IMAGE_PREFIX,
    STATE,
    Array,
    EpisodeSpec,
    FloatArray,
    StepResult,
    is_image,
)

PICTURE_KEY: Final = f"{IMAGE_PREFIX}top"
"""The camera that people are shown."""


@dataclass(slots=True, eq=False)
class _Frame:
    """One control step as a policy may see it, and the images drawn of it so far, by key."""

    joints: FloatArray
    objects: FloatArray
    poses: Poses
    images: dict[str, Array] = field(default_factory=dict)


class AlohaEnv:
    """One task of gym-aloha, whose every episode is that of a fresh environment whatever ran before.

    Args:
        task: gym-aloha's name.
        own: Aloha's own settings.
        settings: What every env is told.
    """

    def __init__(self, task: str, own: AlohaSettings, settings: EnvSettings) -> None:
        self._task, self._own, self._settings = task, own, settings
        self._steps = image_steps(settings.recipe.images, is_rotated=False)
        self._history = FrameHistory[_Frame](settings.recipe.keys, settings.recipe.n_obs_steps, self._made)
        self._simulation = Simulation(task)
        self._renderer = CameraRenderer(self._simulation.model)
        self._render_count = 0
        self._target = np.zeros(len(JOINTS))

    @property
    def task(self) -> str:
        """gym-aloha's name of the task."""
        return self._task

    @property
    def instruction(self) -> str:
        """The sentence of LeRobot's data set, or the settings' `task_text`."""
        return INSTRUCTIONS[self._task] if self._settings.task_text is None else self._settings.task_text

    @property
    def environment_names(self) -> tuple[str, ...]:
        """The objects, with seven numbers each; empty where the privileged state is not asked for."""
        return OBJECT_NAMES[self._task] if ENVIRONMENT_STATE in self._settings.recipe.keys else ()

    @property
    def render_count(self) -> int:
        """Camera images made for observations since the last `reset`."""
        return self._render_count

    def reset(self, episode: EpisodeSpec) -> None:
        """The start that seed `env_seed + init_state_id` draws.

        Raises:
            EpisodeError: the start state does not exist.
        """
        check_start_state(f"aloha/{self._task}", episode.init_state_id, self._own.start_states, MORE)
        self._history.clear()
        self._render_count = 0
        self._simulation.reset(episode.env_seed + episode.init_state_id)
        self._target = self._simulation.joints()
        self._append()

    def observe(self) -> Mapping[str, Array]:
        """The recipe's arrays at the present step; with `n_obs_steps` > 1 stacked, oldest first."""
        return self._history.observe()

    def native_action(self, action: Array) -> FloatArray:
        """The (14,) float64 action for a policy's (14,), neither scaled nor limited: gym-aloha does not either.

        Raises:
            ContractError: the shape is another, or a number is not finite.
        """
        return actions.checked_action(action, len(JOINTS))

    def noop_action(self) -> FloatArray:
        """The present joint targets: the last action's, at the start where the joints are."""
        return self._target.copy()

    def step(self, action: FloatArray) -> StepResult:
        """Executes one action for one control step (20 ms), as float32.

        Raises:
            EpisodeError: the simulation diverged.
        """
        result = self._simulation.step(action)
        self._target = np.array(action)
        self._append()
        return result

    def simulator_state(self) -> FloatArray:
        """[time, qpos, qvel] as float64, a copy."""
        return self._simulation.state()

    def picture(self, key: str = PICTURE_KEY) -> Array:
        """A camera's (480, 640, 3) RGB image for people; not counted in `render_count`."""
        return self._drawn(self._history.present, key)

    def close(self) -> None:
        """Frees the GL context; the env is not used again."""
        self._history.clear()
        self._renderer.close()

    def _append(self) -> None:
        simulation = self._simulation
        self._history.append(_Frame(simulation.joints(), simulation.objects(), Poses.of(simulation.data)))

    def _made(self, frame: _Frame, key: str) -> Array:
        if not is_image(key):
            return (frame.joints if key == STATE else frame.objects).astype(np.float32)
        self._render_count += 1
        frame.images[key] = preprocess(self._drawn(frame, key), self._steps)
        return frame.images[key]

    def _drawn(self, frame: _Frame, key: str) -> Array:
        return self._renderer.render(frame.poses, key.removeprefix(IMAGE_PREFIX), HEIGHT_PX, WIDTH_PX)

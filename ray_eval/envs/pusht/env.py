"""`PushtEnv`: PushT behind the Env seam; owned by one thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ray_eval.envs import actions
from ray_eval.envs.history import FrameHistory
from ray_eval.envs.libero.preprocessing import image_steps, preprocess
from ray_eval.envs.pusht.settings import PushtSettings
from ray_eval.envs.pusht.simulation import Drawing, Simulation, Stroke
from ray_eval.envs.pusht.simulator import INSTRUCTION, SUITE
from ray_eval.envs.start_states import MORE, check_start_state
from ray_eval.sections import EnvSettings
from ray_eval.types import ENVIRONMENT_STATE, SINGLE_IMAGE, STATE, Array, EpisodeSpec, FloatArray, StepResult

ACTION_DIM: Final = 2
"""Where the agent is to go, x and y."""
KEYPOINT_NAMES: Final = tuple(f"corner_{corner}_{axis}" for corner in range(8) for axis in "xy")
"""Components of `observation.environment_state`: the block's corners, px."""
NATIVE_SIZE_PX: Final = 96
"""Height and width of an image where the protocol names none, as gym-pusht has it."""
PICTURE_SIZE_PX: Final = 680
"""Height and width of gym-pusht's video."""


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """One control step as a policy may see it."""

    agent: FloatArray
    keypoints: FloatArray
    strokes: tuple[Stroke, ...]


class PushtEnv:
    """PushT, whose every episode is that of a fresh environment whatever ran before."""

    def __init__(self, own: PushtSettings, settings: EnvSettings) -> None:
        self._own, self._settings = own, settings
        recipe = settings.recipe
        self._steps = image_steps(recipe.images, is_rotated=False)
        self._history = FrameHistory[_Frame](recipe.keys, recipe.n_obs_steps, self._made)
        self._simulation = Simulation()
        self._is_seen = SINGLE_IMAGE in recipe.keys
        self._drawing = Drawing()
        self._render_count = 0
        self._last_action: FloatArray | None = None

    @property
    def task(self) -> str:
        """`pusht`."""
        return SUITE

    @property
    def instruction(self) -> str:
        """The task in words, or the settings' `task_text`."""
        return INSTRUCTION if self._settings.task_text is None else self._settings.task_text

    @property
    def environment_names(self) -> tuple[str, ...]:
        """One name for each of the 16 numbers; empty where the privileged state is not asked for."""
        return KEYPOINT_NAMES if ENVIRONMENT_STATE in self._settings.recipe.keys else ()

    @property
    def render_count(self) -> int:
        """Images made for observations since the last `reset`."""
        return self._render_count

    def reset(self, episode: EpisodeSpec) -> None:
        """The start that seed `env_seed + init_state_id` draws.

        Raises:
            EpisodeError: the start state does not exist.
        """
        check_start_state("pusht", episode.init_state_id, self._own.start_states, MORE)
        self._history.clear()
        self._render_count, self._last_action = 0, None
        self._simulation.reset(episode.env_seed + episode.init_state_id)
        self._append()

    def observe(self) -> Mapping[str, Array]:
        """The recipe's arrays at the present step; with `n_obs_steps` > 1 stacked, oldest first."""
        return self._history.observe()

    def native_action(self, action: Array) -> FloatArray:
        """The (2,) float64 action for a policy's (2,), unchanged: gym-pusht does not limit it to the arena either.

        Raises:
            ContractError: the shape is another, or a number is not finite, which gym-pusht takes without a word.
        """
        return actions.checked_action(action, ACTION_DIM)

    def noop_action(self) -> FloatArray:
        """Where the agent is."""
        return self._simulation.agent

    def step(self, action: FloatArray) -> StepResult:
        """Executes one action for one control step (0.1 s)."""
        result = self._simulation.step(action)
        self._last_action = action
        self._append()
        return result

    def simulator_state(self) -> FloatArray:
        """[time, agent, block] with their velocities as float64, a copy; coverage and reward are no part of it."""
        return self._simulation.state()

    def picture(self, key: str = SINGLE_IMAGE) -> Array:  # noqa: ARG002 -- there is one camera
        """The (680, 680, 3) RGB image of gym-pusht's video, with a cross at the last action of this episode."""
        return self._drawing.image(self._simulation.strokes(), PICTURE_SIZE_PX, self._last_action)

    def close(self) -> None:
        """Nothing to free."""
        self._history.clear()

    def _append(self) -> None:
        simulation = self._simulation
        strokes = simulation.strokes() if self._is_seen else ()
        self._history.append(_Frame(simulation.agent, simulation.keypoints(), strokes))

    def _made(self, frame: _Frame, key: str) -> Array:
        if key == STATE:
            return frame.agent.astype(np.float32)
        if key == ENVIRONMENT_STATE:
            return frame.keypoints.astype(np.float32)
        self._render_count += 1
        size_px = self._settings.recipe.images.render_size_px or NATIVE_SIZE_PX
        return preprocess(self._drawing.image(frame.strokes, size_px), self._steps)

"""`GymnasiumEnv`: one Gymnasium environment behind the Env seam; owned by one thread of a worker."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ray_eval.envs import actions
from ray_eval.envs.gymnasium import opening
from ray_eval.envs.gymnasium.observing import RENDER, checked, checked_image, leaves, wired
from ray_eval.envs.gymnasium.settings import GymnasiumSettings, success_rule
from ray_eval.envs.history import FrameHistory
from ray_eval.envs.libero.preprocessing import image_steps, preprocess
from ray_eval.envs.start_states import MORE, check_start_state
from ray_eval.errors import ConfigError, EpisodeError
from ray_eval.sections import EnvSettings
from ray_eval.types import ENVIRONMENT_STATE, Array, EpisodeSpec, FloatArray, StepResult, is_image


@dataclass(slots=True, eq=False)
class _Frame:
    """What the environment showed after one step, by path; what `render` draws is added when it is asked for."""

    arrays: dict[str, Array]
    images: dict[str, Array] = field(default_factory=dict)


class GymnasiumEnv:
    """One environment, whose every episode begins with a seeded reset; it is stepped no further once it has ended.

    Its state, of which the trajectory's hash is made, is what it shows: every array of the observation, an image by its
    own hash, and the number of steps.
    """

    def __init__(self, own: GymnasiumSettings, settings: EnvSettings) -> None:
        self._own, self._settings = own, settings
        self._rule = success_rule(own.success)
        self._env = opening.opened(own)
        self._low, self._high = opening.bounds_of(self._env)
        self._noop = np.array(own.noop or np.zeros(len(self._low)), np.float64)
        if self._noop.shape != self._low.shape:
            self._env.close()
            raise ConfigError(f"simulator.noop: expected {len(self._low)} numbers, got {len(self._noop)}")
        self._image_steps = image_steps(settings.recipe.images, is_rotated=False)
        self._history = FrameHistory[_Frame](settings.recipe.keys, settings.recipe.n_obs_steps, self._made)
        self._paths: dict[str, str] = {}
        self._first: dict[str, Array] = {}
        self._steps = self._render_count = 0

    @property
    def task(self) -> str:
        """The environment's id."""
        return self._own.id

    @property
    def instruction(self) -> str:
        """What the user calls the task, or the id; the settings' `task_text` before both."""
        return self._settings.task_text or self._own.instruction or self._own.id

    @property
    def environment_names(self) -> tuple[str, ...]:
        """One name for each number; empty where the privileged state is not asked for."""
        if ENVIRONMENT_STATE not in self._settings.recipe.keys or ENVIRONMENT_STATE not in self._first:
            return ()
        return tuple(f"joint:{index}" for index in range(self._first[ENVIRONMENT_STATE].size))

    @property
    def render_count(self) -> int:
        """Images handed out since the last `reset`."""
        return self._render_count

    @property
    def paths(self) -> Mapping[str, str]:
        """Where each observation key is found; known from the first `reset` on."""
        return self._paths

    @property
    def first(self) -> Mapping[str, Array]:
        """The first observation that was ever seen, by key."""
        return self._first

    def reset(self, episode: EpisodeSpec) -> None:
        """Resets with the seed `env_seed` + start state.

        Raises:
            EpisodeError: the start state does not exist, or the observation is not what it was at first.
            ConfigError: the observation has other parts than the user names.
        """
        check_start_state(self._own.id, episode.init_state_id, self._own.start_states, MORE)
        self._history.clear()
        self._steps = self._render_count = 0
        observation, _ = self._env.reset(seed=episode.env_seed + episode.init_state_id)
        if not self._paths:
            can_render = opening.can_render(self._env)
            self._paths = wired(self._own.keys, leaves(observation), can_render=can_render)
        self._append(observation)

    def observe(self) -> Mapping[str, Array]:
        """The recipe's arrays at the present step."""
        return self._history.observe()

    def native_action(self, action: Array) -> FloatArray:
        """The (A,) float64 action, neither scaled nor limited.

        Raises:
            ContractError: the shape is another, or a number is not finite.
        """
        return actions.checked_action(action, len(self._low))

    def noop_action(self) -> FloatArray:
        """`simulator.noop`, or zeros."""
        return self._noop.copy()

    def step(self, action: FloatArray) -> StepResult:
        """One step of the environment.

        Raises:
            EpisodeError: the observation changed its shape or is not finite.
            ContractError: the info lacks what the success rule names.
        """
        given = action.astype(self._env.action_space.dtype)
        observation, reward, terminated, truncated, info = self._env.step(given)
        self._steps += 1
        self._append(observation)
        earned = float(reward)
        is_success = self._rule(earned, bool(terminated), info)
        if not np.isfinite(earned):
            raise EpisodeError(f"{self._own.id}: expected a finite reward, got {earned}; the simulation diverged")
        recorded = earned if self._own.reward == "recorded" else 0.0
        return StepResult(recorded, is_success, is_over=bool(terminated or truncated))

    def simulator_state(self) -> FloatArray:
        """[steps, every number of the observation, four numbers of each image's hash] as float64."""
        arrays = self._history.present.arrays
        parts = [np.array([float(self._steps)]), *(_numbers(arrays[path]) for path in sorted(arrays))]
        return np.concatenate(parts)

    def draw(self) -> None:
        """Draws every image that `render` gives, so that `first` has them."""
        for key, path in self._paths.items():
            if path == RENDER:
                self._raw(self._history.present, key)

    def picture(self, key: str = "") -> Array:
        """What `render()` draws, or the first image of the observation; not counted in `render_count`.

        Raises:
            EpisodeError: there is neither.
        """
        if opening.can_render(self._env) and not key:
            return checked_image("picture", RENDER, np.asarray(self._env.render()))
        images = [each for each in self._paths if is_image(each)]
        if not images:
            raise EpisodeError(
                f"{self._own.id}: expected an image, got none; write simulator.kwargs.render_mode=rgb_array"
            )
        return self._raw(self._history.present, key or images[0])

    def close(self) -> None:
        """Closes the environment."""
        self._history.clear()
        self._env.close()

    def _append(self, observation: Any) -> None:
        frame = _Frame({path: np.array(array) for path, array in leaves(observation).items()})
        for key, path in self._paths.items():
            if path == RENDER:
                # A frame that is behind cannot be drawn any more.
                if self._settings.recipe.n_obs_steps > 1 and key in self._settings.recipe.keys:
                    self._raw(frame, key)
                continue
            if path not in frame.arrays:
                raise EpisodeError(f"{key} ({path}): expected it in every observation, got {', '.join(frame.arrays)}")
            array = checked(key, path, frame.arrays[path], self._first.get(key))
            self._first.setdefault(key, array)
        self._history.append(frame)

    def _made(self, frame: _Frame, key: str) -> Array:
        if is_image(key):
            self._render_count += 1
            return preprocess(self._raw(frame, key), self._image_steps)
        return np.atleast_1d(frame.arrays[self._paths[key]]).astype(np.float32)

    def _raw(self, frame: _Frame, key: str) -> Array:
        path = self._paths[key]
        if path != RENDER:
            return frame.arrays[path]
        if key not in frame.images:
            drawn = np.asarray(self._env.render())
            like = self._first.get(key)
            frame.images[key] = checked_image(key, path, drawn, None if like is None else like.shape)
            self._first.setdefault(key, frame.images[key])
        return frame.images[key]


def _numbers(array: Array) -> FloatArray:
    """An array's numbers; of an image the four numbers of its hash."""
    if array.ndim >= 3 or array.dtype.kind not in "biuf":
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
        return np.frombuffer(digest[:16], "<u4").astype(np.float64)
    return array.reshape(-1).astype(np.float64)

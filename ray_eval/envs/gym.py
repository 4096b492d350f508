"""LIBERO tasks as Gymnasium environments; importing this module registers `ray_eval/Libero-v0`.

    import gymnasium, ray_eval.envs.gym
    env = gymnasium.make("ray_eval/Libero-v0", suite="libero_object", task_id=0)

`gymnasium.make("ray_eval.envs.gym:ray_eval/Libero-v0", ...)` needs no import; Gymnasium 1.0 and later look for
environments nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol, cast

import gymnasium
import numpy as np
from gymnasium import spaces

from ray_eval.envs import make_env
from ray_eval.envs.actions import ACTION_DIM
from ray_eval.envs.libero.settings import IMAGE_SIZE_PX, own_settings
from ray_eval.envs.registry import simulator_for
from ray_eval.errors import ConfigError, did_you_mean
from ray_eval.interfaces import Env
from ray_eval.sections import EnvSettings, ObservationRecipe, require, shown
from ray_eval.types import (
    ENVIRONMENT_STATE,
    IMAGE,
    POSE_SIZE,
    STATE,
    WRIST_IMAGE,
    Array,
    EnvSpec,
    EpisodeSpec,
    is_image,
)

ENV_ID: Final = "ray_eval/Libero-v0"
"""The environment's name in Gymnasium's registry."""
DEFAULT_SETTINGS: Final = EnvSettings(ObservationRecipe((IMAGE, WRIST_IMAGE, STATE)))
"""Both cameras at 256 px, rotated by 180 degrees, and the 8D state; 10 settle steps."""
DEFAULT_MAX_STEPS: Final = 520
"""The longest budget of the four standard suites (libero_10). Source: openpi@15a9616 examples/libero/main.py."""

_STATE_LIMIT: Final = 1000.0
_ENV_SEEDS: Final = 2**31
_INIT_STATE: Final = "init_state_id"


class PicturedEnv(Env, Protocol):
    """An env that people can look at."""

    def picture(self, key: str = IMAGE) -> Array:
        """A camera's (H, W, 3) uint8 RGB image at the present step: upright, not mirrored."""
        ...


class LiberoGym(gymnasium.Env[dict[str, Array], Array]):  # type: ignore[misc]
    """One task; terminated on success, truncated after `max_steps`.

    `reset(seed=s)` gives the episode of ray-eval's `env_seed` s; without a seed one is drawn, as is the init
    state unless `options={"init_state_id": i}` names it. `info` says which were taken, and `is_success`.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 -- Gymnasium's own

    def __init__(
        self,
        suite: str,
        task_id: int,
        settings: EnvSettings = DEFAULT_SETTINGS,
        max_steps: int = DEFAULT_MAX_STEPS,
        render_mode: str | None = None,
    ) -> None:
        """Builds the simulator.

        Raises:
            ConfigError: an argument is none, or there is no such suite or task.
        """
        require(isinstance(suite, str), "suite", "a suite's name", suite)
        require(isinstance(settings, EnvSettings), "settings", "EnvSettings", settings)
        require(render_mode in (None, "rgb_array"), "render_mode", "None or 'rgb_array'", render_mode)
        task_id, max_steps = _whole("task_id", task_id), _whole("max_steps", max_steps, least=1)
        self._env: PicturedEnv | None = cast("PicturedEnv", make_env(suite, task_id, settings))
        self._suite, self._task_id, self._max_steps = suite, task_id, max_steps
        self._simulator = simulator_for(settings.simulator, suite)
        self._is_sampled = own_settings(settings).init_states == "sampled"
        self._steps = 0
        self._episode_info: dict[str, Any] = {}
        self.render_mode = render_mode
        self.action_space = spaces.Box(-1.0, 1.0, (ACTION_DIM,), np.float32)
        self.observation_space = _observation_space(
            settings.recipe, self._simulator.spec(suite, task_id), self._env.environment_names
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """The observation at step 0, and which episode it is.

        Raises:
            ConfigError: an option is unknown, or its value is none.
            EpisodeError: there is no such init state.
        """
        chosen = _init_state_id(options)
        super().reset(seed=seed)
        env_seed = int(self.np_random.integers(_ENV_SEEDS)) if seed is None else seed
        drawn = self._drawn_init_state()
        init_state_id = drawn if chosen is None else chosen
        self._open_env.reset(EpisodeSpec(self._suite, self._task_id, init_state_id, env_seed, self._max_steps))
        self._steps = 0
        self._episode_info = {
            "task": self._open_env.instruction,
            "init_state_id": init_state_id,
            "env_seed": env_seed,
        }
        return self._observation(), self._info(is_success=False)

    def step(self, action: Array) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """One control step with a policy's action: observation, reward, terminated, truncated, info."""
        result = self._open_env.step(self._open_env.native_action(action))
        self._steps += 1
        is_truncated = self._steps >= self._max_steps and not result.is_success
        info = self._info(is_success=result.is_success)
        return self._observation(), result.reward, result.is_success, is_truncated, info

    def render(self) -> Array | None:
        """Agentview for people, flipped upright and not mirrored; None without a render mode."""
        return self._open_env.picture() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Frees the simulator; may be called again."""
        if self._env is not None:
            self._env.close()
            self._env = None

    @property
    def _open_env(self) -> PicturedEnv:
        if self._env is None:
            raise gymnasium.error.ClosedEnvironmentError(f"{ENV_ID}: expected an open env, got a closed one; make one")
        return self._env

    def _drawn_init_state(self) -> int:
        count = 1 if self._is_sampled else self._simulator.start_state_count(self._suite, self._task_id)
        return int(self.np_random.integers(count))

    def _observation(self) -> dict[str, Array]:
        return {key: array.copy() for key, array in self._open_env.observe().items()}

    def _info(self, *, is_success: bool) -> dict[str, Any]:
        return {**self._episode_info, "is_success": is_success}


def _whole(name: str, value: Any, least: int = 0) -> int:
    """An integer of Python's or NumPy's, at least so large."""
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    require(is_whole and value >= least, name, f"an integer from {least} upwards", value)
    return int(value)


def _init_state_id(options: Any) -> int | None:
    """The init state that `reset` is told; None for any."""
    require(options is None or isinstance(options, Mapping), "options", "a mapping or None", options)
    for name in options or {}:
        if name != _INIT_STATE:
            hint = did_you_mean(name, [_INIT_STATE])
            raise ConfigError(f"options: expected {_INIT_STATE} alone, got {shown(name)}.{hint}")
    return _whole(_INIT_STATE, options[_INIT_STATE]) if options else None


def _observation_space(recipe: ObservationRecipe, spec: EnvSpec, names: tuple[str, ...]) -> spaces.Dict:
    return spaces.Dict({key: _box(key, recipe, spec, names) for key in recipe.keys})


def _box(key: str, recipe: ObservationRecipe, spec: EnvSpec, names: tuple[str, ...]) -> spaces.Box:
    history = () if recipe.n_obs_steps == 1 else (recipe.n_obs_steps,)
    if is_image(key):
        size_px = recipe.images.image_size_px or recipe.images.render_size_px or IMAGE_SIZE_PX
        return spaces.Box(0, 255, (*history, size_px, size_px, 3), np.uint8)
    sizes: Mapping[str, int] = {
        STATE: len(spec.state.names) if spec.state is not None else 0,
        ENVIRONMENT_STATE: sum(1 if name.startswith("joint:") else POSE_SIZE for name in names),
    }
    return spaces.Box(-_STATE_LIMIT, _STATE_LIMIT, (*history, sizes[key]), np.float32)


def register() -> None:
    """Adds `ray_eval/Libero-v0` to Gymnasium's registry, once."""
    if ENV_ID not in gymnasium.registry:
        gymnasium.register(ENV_ID, entry_point="ray_eval.envs.gym:LiberoGym")


register()

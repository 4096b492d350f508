"""A Gymnasium environment made: its module imported, its time limit left to us, its spaces looked at."""

from __future__ import annotations

import importlib
import json
from typing import Any

import numpy as np

from ray_eval.envs.gymnasium.observing import RENDER
from ray_eval.envs.gymnasium.settings import GymnasiumSettings
from ray_eval.errors import ConfigError, SetupError
from ray_eval.foreign import told
from ray_eval.types import FloatArray

INSTALL = "pip install gymnasium and the environment's own package, or name an interpreter with both: simulator.python"


def check_named(settings: GymnasiumSettings) -> None:
    """Passes when an environment is named.

    Raises:
        ConfigError: none is.
    """
    if not settings.id:
        raise ConfigError("simulator.id: expected an id of Gymnasium's registry, got none; write simulator.id=NAME-v0")


def opened(settings: GymnasiumSettings) -> Any:
    """The environment, without Gymnasium's time limit and checks: steps are counted and checked here.

    Raises:
        ConfigError: no id is named, or Gymnasium does not know it.
        SetupError: a package is missing, or the environment cannot be made.
    """
    check_named(settings)
    try:
        import gymnasium
    except ImportError as error:
        raise SetupError(f"gymnasium: expected it in this interpreter, got {told(error)}; {INSTALL}") from error
    if settings.module is not None:
        try:
            importlib.import_module(settings.module)
        except Exception as error:
            raise SetupError(f"simulator.module={settings.module}: expected a module, got {told(error)}") from error
    try:
        made = gymnasium.make(settings.id, max_episode_steps=-1, disable_env_checker=True, **_arguments(settings))
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.NameNotFound, ModuleNotFoundError) as error:
        raise ConfigError(
            f"simulator.id={settings.id}: expected a registered environment, got {told(error)}; name the module that "
            "registers it: simulator.module=PACKAGE"
        ) from error
    except Exception as error:
        raise SetupError(f"simulator.id={settings.id}: expected an environment, got {told(error)}") from error
    if isinstance(made, gymnasium.vector.VectorEnv):
        raise ConfigError(f"simulator.id={settings.id}: expected one environment, got a vector of them")
    return made


def budget_of(env: Any) -> int | None:
    """Steps that the registration allows; None where it does not say."""
    return getattr(env.spec, "max_episode_steps", None) or _registered(env)


def _registered(env: Any) -> int | None:
    import gymnasium

    spec = gymnasium.registry.get(env.spec.id) if env.spec is not None else None
    return None if spec is None else spec.max_episode_steps


def bounds_of(env: Any) -> tuple[FloatArray, FloatArray]:
    """Smallest and largest value of each component of an action.

    Raises:
        ConfigError: the action is no vector of numbers.
    """
    import gymnasium

    space = env.action_space
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise ConfigError(
            f"simulator.id: expected an action that is a vector of numbers (Box), got {space}; wrap the environment in "
            "one that takes such a vector"
        )
    return np.array(space.low, np.float64), np.array(space.high, np.float64)


def can_render(env: Any) -> bool:
    """Whether `render()` gives RGB arrays."""
    return bool(env.render_mode == "rgb_array")


def _arguments(settings: GymnasiumSettings) -> dict[str, Any]:
    given = {name: _read(value) for name, value in settings.kwargs.items()}
    return {"render_mode": "rgb_array", **given} if RENDER in settings.keys.values() else given


def _read(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value

"""Which part of a Gymnasium observation goes to which observation key, and what each must look like; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ray_eval.errors import ConfigError, EpisodeError, did_you_mean
from ray_eval.types import (
    ENVIRONMENT_STATE,
    IMAGE_PREFIX,
    KEY_FORMS,
    SINGLE_IMAGE,
    STATE,
    Array,
    FloatArray,
    is_image,
    is_observation_key,
)

RENDER: Final = "render"
"""Stands for what `render()` draws."""
WHOLE: Final = "."
"""Stands for the whole observation."""


def leaves(observation: Any, path: str = "") -> dict[str, Array]:
    """The arrays of an observation by their dotted path; a plain array is at `.`."""
    if isinstance(observation, Mapping):
        found: dict[str, Array] = {}
        for name, inner in observation.items():
            found |= leaves(inner, f"{path}.{name}" if path else str(name))
        return found
    return {path or WHOLE: np.asarray(observation)}


def wired(keys: Mapping[str, str], first: Mapping[str, Array], *, can_render: bool) -> dict[str, str]:
    """Path by observation key: the user's, or LeRobot's names where she says none.

    Args:
        keys: What the user says.
        first: The arrays of a first observation.
        can_render: Whether `render()` draws an RGB array.

    Raises:
        ConfigError: a key has no form that an observation key has, or a path is not there, or nothing is found.
    """
    known = (*first, *([RENDER] if can_render else []))
    if not keys:
        return _usual(first)
    for key, path in keys.items():
        if not is_observation_key(key):
            raise ConfigError(f"simulator.keys.{key}: expected {KEY_FORMS}, got {key!r}")
        if path not in known:
            raise ConfigError(
                f"simulator.keys.{key}: expected a part of the observation among {', '.join(known)}, got {path!r}."
                f"{did_you_mean(path, known)}"
            )
    return dict(keys)


def _usual(first: Mapping[str, Array]) -> dict[str, str]:
    """LeRobot's own names. Source: lerobot@0.4.4 src/lerobot/envs/utils.py (preprocess_observation)."""
    usual = {"pixels": SINGLE_IMAGE, "agent_pos": STATE, "environment_state": ENVIRONMENT_STATE}
    found = {usual[path]: path for path in first if path in usual}
    found |= {f"{IMAGE_PREFIX}{path[7:]}": path for path in first if path.startswith("pixels.")}
    if not found:
        raise ConfigError(
            f"simulator.keys: expected to be told what is what of {', '.join(first)}, got nothing; write for instance "
            f"simulator.keys.{STATE}={next(iter(first))}"
        )
    return found


def checked_image(key: str, path: str, image: Array, shape: tuple[int, ...] | None = None) -> Array:
    """An RGB image, as it was first seen.

    Raises:
        EpisodeError: it is none, or of another shape than before.
    """
    is_rgb = image.ndim == 3 and image.shape[-1] == 3 and image.dtype == np.uint8
    if not is_rgb or shape not in (None, image.shape):
        expected = "(height, width, 3) uint8" if shape is None else f"{shape} uint8, as at first"
        raise EpisodeError(f"{key} ({path}): expected {expected}, got {image.shape} {image.dtype}")
    return image


def checked_vector(key: str, path: str, values: Array, size: int | None = None) -> FloatArray:
    """A vector of finite numbers, as long as it was first seen.

    Raises:
        EpisodeError: it is none.
    """
    if values.dtype.kind not in "biuf" or values.ndim > 1 or size not in (None, values.size):
        expected = "one dimension of numbers" if size is None else f"{size} numbers, as at first"
        raise EpisodeError(f"{key} ({path}): expected {expected}, got {values.shape} {values.dtype}")
    if not np.isfinite(values).all():
        raise EpisodeError(f"{key} ({path}): expected finite numbers, got {values.tolist()}; the simulation diverged")
    return np.atleast_1d(values).astype(np.float64)


def checked(key: str, path: str, array: Array, like: Array | None = None) -> Array:
    """An observation's array by its key, of the shape of the one that was first seen.

    Raises:
        EpisodeError: it is not what its key stands for.
    """
    if is_image(key):
        return checked_image(key, path, array, None if like is None else like.shape)
    return checked_vector(key, path, array, None if like is None else like.size)

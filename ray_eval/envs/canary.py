"""A simulator's canary made of one of its own envs: a short fixed episode, hashed part by part; runs in each worker."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import numpy as np

from ray_eval.interfaces import Env
from ray_eval.types import ActionSpec, Array, Canary, EpisodeSpec, FloatArray, is_image

STEPS: Final = 20
"""Control steps of the physics part."""


def canary_of_env(env: Env, episode: EpisodeSpec, action: ActionSpec, *, has_pixels: bool) -> Canary:
    """What this machine makes of an episode's first steps under fixed actions within the bounds; the env is closed.

    Args:
        env: One whose recipe asks for an image, where `has_pixels` is set.
        episode: The episode.
        action: What the env executes; a component without bounds gets numbers in [-1, 1].
        has_pixels: Whether the image after the last step is hashed as well.
    """
    try:
        env.reset(episode)
        states = [env.simulator_state()]
        for row in fixed_actions(action, STEPS):
            env.step(row)
            states.append(env.simulator_state())
        images = [array for key, array in env.observe().items() if is_image(key)] if has_pixels else []
    finally:
        env.close()
    return Canary(_sha256(states), numpy_digest(), _sha256(images) if has_pixels else None)


def numpy_digest() -> str:
    """SHA-256 of what NumPy's own functions and linear algebra make of fixed numbers here."""
    return _sha256(_numpy_functions())


def fixed_actions(action: ActionSpec, steps: int) -> FloatArray:
    """(steps, A) float64 actions, the same everywhere, within the middle half of the bounds."""
    low, high = np.array(action.low), np.array(action.high)
    bounded = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
    draw = np.random.Generator(np.random.PCG64(1)).uniform(0.25, 0.75, (steps, action.dim))
    fixed: FloatArray = low + draw * (high - low)
    return fixed


def _numpy_functions() -> Iterator[Array]:
    draw = np.random.Generator(np.random.PCG64(2))
    numbers, matrices = draw.uniform(-3, 3, 1000), draw.uniform(-1, 1, (32, 7, 7))
    for values in (numbers, numbers.astype(np.float32)):
        yield from (np.sin(values), np.cos(values), np.exp(values), np.arctan2(values, values[::-1]))
        yield from (np.sqrt(np.abs(values)), np.array([values.sum(), values @ values]))
    for matrix in matrices:
        yield from (np.linalg.inv(matrix @ matrix.T + np.eye(7)), np.linalg.svd(matrix)[1], matrix @ matrix)


def _sha256(arrays: Iterator[Array] | list[Array]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

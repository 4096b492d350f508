"""A tiny deterministic policy for tests of everything around a policy; solves `FakeEnv`'s reaching tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ray_eval.errors import ContractError
from ray_eval.types import (
    ENVIRONMENT_STATE,
    IMAGE_KEYS,
    STATE,
    ActionChunk,
    Array,
    FloatArray,
    Observation,
    PolicySpec,
)

STEP_SIZE_M: Final = 0.05
"""How far an action component of 1 moves the fake env's point in one step."""
SPEED: Final = 0.5
"""Largest action component, so that an episode takes several requests."""
GRIPPER_OPEN: Final = -1.0
"""Last component of every action."""


class FakePolicy:
    """Moves `state[:3]` towards the first pose of the privileged state; a pure function of each observation.

    `policy_state` counts the requests of the episode, as text, so that a test can follow the memory's way.
    """

    def __init__(self, chunk_len: int = 4, *, images: bool = True) -> None:
        keys = (*IMAGE_KEYS, STATE, ENVIRONMENT_STATE) if images else (STATE, ENVIRONMENT_STATE)
        self._spec = PolicySpec("fake", keys, chunk_len, batch_invariant=True)

    @property
    def spec(self) -> PolicySpec:
        """State and privileged state, and with `images` both cameras, which it does not look at."""
        return self._spec

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation.

        Raises:
            ContractError: an array is missing or too short, or the memory is not its own.
        """
        return [ActionChunk(self._actions(o), str(_requests(o) + 1).encode()) for o in observations]

    def _actions(self, observation: Observation) -> Array:
        position, goal = _point(observation, STATE), _point(observation, ENVIRONMENT_STATE)
        actions = np.zeros((self._spec.chunk_len, self._spec.action_dim))
        actions[:, -1] = GRIPPER_OPEN
        for row in actions:
            row[:3] = np.clip((goal - position) / STEP_SIZE_M, -SPEED, SPEED)
            position = position + STEP_SIZE_M * row[:3]
        return actions.astype(np.float32)


def _point(observation: Observation, key: str) -> FloatArray:
    array = observation.arrays.get(key)
    if array is None or array.ndim != 1 or array.size < 3:
        shape = None if array is None else array.shape
        raise ContractError(f"fake: {key}: expected a vector that begins with x y z, got shape {shape}")
    return np.asarray(array[:3], dtype=np.float64)


def _requests(observation: Observation) -> int:
    try:
        return int(observation.policy_state or b"0")
    except ValueError as e:
        raise ContractError(f"fake: policy_state: expected a number, got {observation.policy_state[:40]!r}") from e

"""The last frames of an episode, and the observation they make; arrays are made when they are first asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import numpy as np

from ray_eval.types import Array

Frame = TypeVar("Frame")


class FrameHistory(Generic[Frame]):
    """The present frame and the `n_obs_steps` - 1 before it, each array of each made at most once."""

    def __init__(self, keys: tuple[str, ...], n_obs_steps: int, make: Callable[[Frame, str], Array]) -> None:
        self._keys = keys
        self._make = make
        self._frames: deque[tuple[Frame, dict[str, Array]]] = deque(maxlen=n_obs_steps)
        self._n_obs_steps = n_obs_steps

    @property
    def present(self) -> Frame:
        """The frame of the present step."""
        return self._frames[-1][0]

    def append(self, frame: Frame) -> None:
        """Makes `frame` the present one; the oldest falls out."""
        self._frames.append((frame, {}))

    def clear(self) -> None:
        """Forgets every frame."""
        self._frames.clear()

    def observe(self) -> Mapping[str, Array]:
        """One array per key; with `n_obs_steps` > 1 stacked oldest first, the oldest repeated where frames lack."""
        return {key: self._stacked(key) for key in self._keys}

    def _stacked(self, key: str) -> Array:
        if self._n_obs_steps == 1:
            return self._array(0, key)
        missing = self._n_obs_steps - len(self._frames)
        return np.stack([self._array(max(0, index - missing), key) for index in range(self._n_obs_steps)])

    def _array(self, index: int, key: str) -> Array:
        frame, arrays = self._frames[index]
        if key not in arrays:
            arrays[key] = self._make(frame, key)
        return arrays[key]

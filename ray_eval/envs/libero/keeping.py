"""Which geoms of a scene are worth keeping as an image, from what stood still so far; pure, runs in each worker."""

from __future__ import annotations

from typing import Final

import numpy as np

from ray_eval.envs.libero.scene_geoms import is_equal
from ray_eval.types import Array

FILL: Final = 40_000
"""What the samples of a kept image cost, in triangles; of the order of what was measured at 256 px."""
SIMPLE: Final = 200
"""Triangles of a geom that is no mesh."""


class Stillness:
    """One camera's images so far: what was in two in a row the same, and what drawing that has cost.

    Args:
        costs: (ngeom,) triangles of each geom.
        is_fixed: (ngeom,) bool: which belong to the world, and so most likely stand still.
    """

    def __init__(self, costs: Array, is_fixed: Array) -> None:
        self._costs = costs
        self._is_fixed = is_fixed
        self._frame: bytes | None = None
        self._geoms: Array | None = None
        self._wasted = 0
        self._is_calm = self._was_calm = True
        self.is_still = np.zeros(len(costs), dtype=np.bool_)
        """(ngeom,) which are as they were in the image before, seen from where it was seen."""

    def see(self, frame: bytes, geoms: Array) -> None:
        """Takes the next image.

        Args:
            frame: Everything that an image depends on beside its geoms.
            geoms: (ngeom,) of `scene_geoms.GEOM`, as `scene_geoms.pictured` gives them.
        """
        is_first = self._geoms is None
        if self._geoms is None or frame != self._frame:
            self.is_still = np.zeros(len(geoms), dtype=np.bool_)
        else:
            self.is_still = is_equal(geoms, self._geoms)
        self._was_calm, self._is_calm = self._is_calm, is_first or bool(self.is_still[self._is_fixed].all())
        self._frame, self._geoms = frame, geoms

    @property
    def is_calm(self) -> bool:
        """Whether what is kept now may be of use: False where even fixed geoms, or the camera, keep moving."""
        return self._is_calm or self._was_calm

    def is_worth_keeping(self, wanted: Array, is_drawn: Array, is_reflected: Array) -> bool:
        """Whether by now as much has been drawn in vain as it would cost to keep what stands still.

        Args:
            wanted: (ngeom,) bool: what would be kept.
            is_drawn: (ngeom,) bool: what has to be drawn now as it is not kept.
            is_reflected: (ngeom,) bool: what is drawn twice.
        """
        costs = self._costs * (1 + is_reflected)
        self._wasted += int(costs[wanted & is_drawn].sum())
        if self._wasted < FILL + costs[wanted].sum():
            return False
        self._wasted = 0
        return True

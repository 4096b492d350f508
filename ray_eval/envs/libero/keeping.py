"""Which geoms of a scene are worth keeping as an image, from what stood still so far; pure, runs in each worker."""

from __future__ import annotations

from typing import Final

import numpy as np

from ray_eval.envs.libero.scene_geoms import is_equal
from ray_eval.types import Array

FILL: Final = 20_000
"""What the samples of a kept image cost, in triangles; of the order of what was measured at 256 px."""
MIRROR: Final = 4
"""How often more samples are filled where a mirror shows what is kept."""
SIMPLE: Final = 200
"""Triangles of a geom that is no mesh."""


class Stillness:
    """One camera's images so far: what was in two in a row the same, and what drawing that has cost.

    Args:
        costs: (ngeom,) triangles of each geom.
        is_fixed: (ngeom,) bool: which belong to the world, and so most likely stand still.
        is_driven: (ngeom,) bool: which an actuator moves. Of the others it is expected that they lie where they are
            when an episode begins.
    """

    def __init__(self, costs: Array, is_fixed: Array, is_driven: Array) -> None:
        self._costs = costs
        self._is_fixed = is_fixed
        self._is_driven = is_driven
        self._frame: bytes | None = None
        self._geoms: Array | None = None
        self._wasted = 0
        self._is_calm = self._was_calm = True
        self.is_still = np.zeros(len(costs), dtype=np.bool_)
        """(ngeom,) which are as they were in the image before, seen from where it was seen; in the first one, those
        that are expected to be so in the next."""

    def begin(self) -> None:
        """Another episode begins: what was seen before says nothing of its images."""
        self._frame, self._geoms, self._wasted = None, None, 0

    def see(self, frame: bytes, geoms: Array) -> None:
        """Takes the next image.

        Args:
            frame: Everything that an image depends on beside its geoms.
            geoms: (ngeom,) of `scene_geoms.GEOM`, as `scene_geoms.pictured` gives them.
        """
        is_first = self._geoms is None
        if self._geoms is None:
            self.is_still = ~self._is_driven
        elif frame != self._frame:
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

        What is wanted and drawn anyhow is drawn once for both; reflections of what is kept already come twice.

        Args:
            wanted: (ngeom,) bool: what would be kept.
            is_drawn: (ngeom,) bool: what has to be drawn now as it is not kept.
            is_reflected: (ngeom,) bool: what is drawn twice.
        """
        reflections = self._costs * is_reflected
        self._wasted += int((self._costs + reflections)[wanted & is_drawn].sum())
        mirrored = MIRROR * FILL + int(reflections[wanted & ~is_drawn].sum()) if is_reflected.any() else 0
        if self._wasted < FILL + mirrored:
            return False
        self._wasted = 0
        return True

"""Cameras of a MuJoCo model, drawn on mjData of their own; a GL context belongs to the thread that made it."""

from __future__ import annotations

import atexit
import contextlib
import weakref
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_open_renderers: weakref.WeakSet[CameraRenderer] = weakref.WeakSet()


POSE_FIELDS: Final = (
    "xpos",
    "xquat",
    "xmat",
    "geom_xpos",
    "geom_xmat",
    "site_xpos",
    "site_xmat",
    "cam_xpos",
    "cam_xmat",
    "light_xpos",
    "light_xdir",
)
"""Fields of mjData that decide what is drawn of models without tendons, skins and flexible bodies."""


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """What the images of one step depend on besides the model; copies of the fields of `POSE_FIELDS`, in order."""

    fields: tuple[NDArray[np.float64], ...]
    """As the simulation has them, behind its positions or not."""

    @classmethod
    def of(cls, data: Any) -> Poses:
        """The present ones of an mjData."""
        return cls(tuple(getattr(data, name).copy() for name in POSE_FIELDS))


class CameraRenderer:
    """Draws poses as MuJoCo's own renderer draws them; builds its GL context at the first drawing.

    The poses are put into mjData of the renderer's own, so that nothing that is drawn touches the simulation.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._data: Any = None
        self._by_size: dict[tuple[int, int], Any] = {}

    def render(self, poses: Poses, camera: str, height_px: int, width_px: int) -> NDArray[np.uint8]:
        """The camera's (height_px, width_px, 3) RGB image, its first row at the top."""
        import mujoco

        if self._data is None:
            self._data = mujoco.MjData(self._model)
        for name, values in zip(POSE_FIELDS, poses.fields, strict=True):
            getattr(self._data, name)[:] = values
        renderer = self._renderer(height_px, width_px)
        renderer.update_scene(self._data, camera=camera)
        return np.array(renderer.render())

    def close(self) -> None:
        """Frees the GL context; a later drawing would build another one."""
        while self._by_size:
            _, renderer = self._by_size.popitem()
            renderer.close()
        self._data = None
        _open_renderers.discard(self)

    def _renderer(self, height_px: int, width_px: int) -> Any:
        size = (height_px, width_px)
        if size not in self._by_size:
            import mujoco

            buffer = self._model.vis.global_
            buffer.offwidth, buffer.offheight = max(buffer.offwidth, width_px), max(buffer.offheight, height_px)
            self._by_size[size] = mujoco.Renderer(self._model, height_px, width_px)
            _register_for_exit(self)
        return self._by_size[size]


def _register_for_exit(renderer: CameraRenderer) -> None:
    """Has the context freed at exit, before MuJoCo takes the EGL display away from under it."""
    atexit.unregister(_close_all)
    atexit.register(_close_all)
    _open_renderers.add(renderer)


def _close_all() -> None:
    for renderer in list(_open_renderers):
        with contextlib.suppress(Exception):
            renderer.close()

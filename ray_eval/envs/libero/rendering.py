"""Camera images of snapshots, drawn with robosuite's own offscreen context on mjData of their own.

Geoms that an image cannot show are left out (see `culling`). Nothing here touches the simulation's mjData; the
mjModel's visual fields are swapped in for one drawing and put back. GL contexts belong to the thread that made them.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ray_eval.envs.libero.snapshot import MODEL_FIELDS, POSE_FIELDS, SceneSnapshot

if TYPE_CHECKING:
    from ray_eval.envs.libero.culling import SceneBounds

HIDDEN_GROUP = 5
"""A geom group that robosuite does not draw."""

_open_renderers: weakref.WeakSet[SceneRenderer] = weakref.WeakSet()


class SceneRenderer:
    """Draws snapshots of one compiled scene; builds its GL context at the first drawing (about 1.5 s).

    The context holds the scene's meshes and textures. It outlives a rebuild of the same task, whose assets are
    the same: `rebind` gives it the new mjModel.
    """

    def __init__(self, model: Any) -> None:
        self._scene = _Scene(model)
        self._context: Any = None

    def rebind(self, model: Any) -> None:
        """Draws from another compilation of the same scene (a robosuite MjModel) from now on."""
        if model is self._scene.model:
            return
        self._scene = _Scene(model)
        if self._context is not None:
            self._context.sim = self._scene
            self._context.model, self._context.data = self._scene.model, self._scene.data

    def render(self, snapshot: SceneSnapshot, camera: str, size_px: int) -> NDArray[np.uint8]:
        """The camera's (size_px, size_px, 3) RGB image as robosuite delivers it: rows bottom-up."""
        context, camera_id = self._current_context(), self._scene.model.camera_name2id(camera)
        with self._scene.showing(snapshot, camera_id):
            context.render(width=size_px, height=size_px, camera_id=camera_id)
        image: NDArray[np.uint8] = context.read_pixels(size_px, size_px)
        return image

    def close(self) -> None:
        """Frees the GL context; a later drawing would build another one."""
        if self._context is not None:
            self._context.gl_ctx.make_current()
            self._context = None
        _open_renderers.discard(self)

    def _current_context(self) -> Any:
        if self._context is None:
            self._context = _offscreen_context(self._scene)
            _register_for_exit(self)
        else:
            self._context.gl_ctx.make_current()
        return self._context


class _Scene:
    """What robosuite's render context takes for a simulation: an mjModel, and mjData that nothing steps."""

    def __init__(self, model: Any) -> None:
        from robosuite.utils.binding_utils import MjData

        self.model = model
        self.data = MjData(model)

    @functools.cached_property
    def _bounds(self) -> SceneBounds:
        """Made at the first image."""
        from ray_eval.envs.libero.culling import SceneBounds

        return SceneBounds(self.model._model)  # noqa: SLF001 -- robosuite has no public way

    def forward(self) -> None:
        """Nothing: the context's constructor wants the simulation moved, and a forward would move its solver."""

    def add_render_context(self, context: Any) -> None:
        """Nothing: the renderer owns the context."""

    @contextlib.contextmanager
    def showing(self, snapshot: SceneSnapshot, camera_id: int | None = None) -> Iterator[None]:
        """Puts the snapshot's poses into the mjData, and its visual fields into the mjModel for the while.

        Geoms that the camera cannot see are in a group that is not drawn; without a camera, all are drawn.
        """
        model, data = self.model._model, self.data._data  # noqa: SLF001 -- robosuite has no public way
        for name in POSE_FIELDS:
            getattr(data, name)[:] = getattr(snapshot, name)
        present = {name: getattr(model, name).copy() for name in (*MODEL_FIELDS, "geom_group")}
        try:
            if camera_id is not None:
                model.geom_group[self._bounds.unseen(snapshot, camera_id)] = HIDDEN_GROUP
            for name in MODEL_FIELDS:
                getattr(model, name)[:] = getattr(snapshot, name)
            yield
        finally:
            for name, value in present.items():
                getattr(model, name)[:] = value


def _offscreen_context(scene: _Scene) -> Any:
    """Robosuite's offscreen context with the settings that its own environments give it."""
    from robosuite.utils.binding_utils import MjRenderContextOffscreen

    from ray_eval.envs.libero.culling import COLLISION_GROUP, VISUAL_GROUP

    context = MjRenderContextOffscreen(scene, device_id=-1)
    context.vopt.geomgroup[COLLISION_GROUP] = 0
    context.vopt.geomgroup[VISUAL_GROUP] = 1
    context.vopt.geomgroup[HIDDEN_GROUP] = 0  # as it is anyway; robosuite's models do not use it
    return context


def _register_for_exit(renderer: SceneRenderer) -> None:
    """Has the context freed at exit, before robosuite takes the EGL display away from under it."""
    atexit.unregister(_close_all)
    atexit.register(_close_all)
    _open_renderers.add(renderer)


def _close_all() -> None:
    for renderer in list(_open_renderers):
        renderer.close()

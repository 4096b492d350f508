"""Camera images of snapshots, drawn in robosuite's own offscreen context from mjData of their own.

Software renderers are given only the triangles that can be seen (see `drawing`), once that has shown to draw the same
image as MuJoCo; others draw as robosuite does. Nothing here touches the simulation's mjData; the mjModel's visual
fields are swapped in for one drawing and put back. GL contexts belong to the thread that made them.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_eval.envs.libero.drawing import Drawing
from ray_eval.envs.libero.snapshot import MODEL_FIELDS, POSE_FIELDS, SceneSnapshot

SOFTWARE_RENDERERS = ("llvmpipe", "softpipe")
"""Starts of OpenGL's renderer strings for which triangles, not pixels, take the time."""

_log = logging.getLogger(__name__)
_open_renderers: weakref.WeakSet[SceneRenderer] = weakref.WeakSet()


class SceneRenderer:
    """Draws snapshots of one compiled scene; builds its GL context at the first drawing (about 1.5 s).

    The context holds the scene's meshes and textures. It outlives a rebuild of the same task, whose assets are
    the same: `rebind` gives it the new mjModel.
    """

    def __init__(self, model: Any) -> None:
        self._scene = _Scene(model)
        self._context: Any = None
        self._drawing: Drawing | None = None
        self._is_culling = True
        self._proven: set[str] = set()

    @property
    def is_culling(self) -> bool:
        """Whether what cannot be seen is left out; False after the first image where that does not pay, or differs."""
        return self._is_culling

    def rebind(self, model: Any) -> None:
        """Draws from another compilation of the same scene (a robosuite MjModel) from now on."""
        self._scene = _Scene(model)
        if self._context is not None:
            self._context.sim = self._scene
            self._context.model, self._context.data = self._scene.model, self._scene.data

    def render(self, snapshot: SceneSnapshot, camera: str, size_px: int) -> NDArray[np.uint8]:
        """The camera's (size_px, size_px, 3) RGB image as robosuite delivers it: rows bottom-up.

        A camera's first image in a context is drawn in both ways; where they differ, MuJoCo's is right for good.
        """
        self._current_context()
        with self._scene.showing(snapshot):
            image = self._culled_image(camera, size_px) if self._is_culling else None
            if image is not None and camera in self._proven:
                return image
            plain = self._plain_image(camera, size_px)
        if image is not None:
            self._proven.add(camera)
            if not np.array_equal(image, plain):
                self._is_culling = False
                _log.warning(
                    "%s: expected the same image without what cannot be seen, got %d other pixels; "
                    "drawing everything from now on, which is slower",
                    camera,
                    np.count_nonzero((image != plain).any(axis=-1)),
                )
        return plain

    def _plain_image(self, camera: str, size_px: int) -> NDArray[np.uint8]:
        """The image as robosuite draws it."""
        self._context.render(width=size_px, height=size_px, camera_id=self._scene.model.camera_name2id(camera))
        return self._pixels(size_px)

    def _culled_image(self, camera: str, size_px: int) -> NDArray[np.uint8] | None:
        """The image drawn from what can be seen; None where the scene asks for more than that."""
        context = self._context
        if size_px > min(context.con.offWidth, context.con.offHeight):
            return None  # robosuite's own render makes the buffer larger
        if self._drawing is None or self._drawing.context is not context.con:
            self._drawing = Drawing(self._scene.model._model, context.con)  # noqa: SLF001 -- there is no public way
        self._scene.update(context, camera)
        if not self._drawing.can_draw(context.scn):
            return None
        self._drawing.draw(context.scn, size_px, size_px)
        return self._pixels(size_px)

    def _pixels(self, size_px: int) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = self._context.read_pixels(size_px, size_px)
        return image

    def close(self) -> None:
        """Frees the GL context; a later drawing would build another one."""
        if self._context is not None:
            self._context.gl_ctx.make_current()
            self._context = self._drawing = None
            self._proven.clear()
        _open_renderers.discard(self)

    def _current_context(self) -> Any:
        if self._context is None:
            self._context = _offscreen_context(self._scene)
            self._is_culling = _renderer_name().startswith(SOFTWARE_RENDERERS)
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

    def forward(self) -> None:
        """Nothing: the context's constructor wants the simulation moved, and a forward would move its solver."""

    def add_render_context(self, context: Any) -> None:
        """Nothing: the renderer owns the context."""

    def update(self, context: Any, camera: str) -> None:
        """Brings the context's mjvScene to the present poses, seen from the camera, as robosuite does."""
        import mujoco

        context.cam.type = mujoco.mjtCamera.mjCAMERA_FIXED
        context.cam.fixedcamid = self.model.camera_name2id(camera)
        model, data = self.model._model, self.data._data  # noqa: SLF001 -- robosuite has no public way
        every = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, data, context.vopt, context.pert, context.cam, every, context.scn)

    @contextlib.contextmanager
    def showing(self, snapshot: SceneSnapshot) -> Iterator[None]:
        """Puts the snapshot's poses into the mjData, and its visual fields into the mjModel for the while."""
        model, data = self.model._model, self.data._data  # noqa: SLF001 -- robosuite has no public way
        for name in POSE_FIELDS:
            getattr(data, name)[:] = getattr(snapshot, name)
        present = {name: getattr(model, name).copy() for name in MODEL_FIELDS}
        try:
            for name in MODEL_FIELDS:
                getattr(model, name)[:] = getattr(snapshot, name)
            yield
        finally:
            for name, value in present.items():
                getattr(model, name)[:] = value


def _offscreen_context(scene: _Scene) -> Any:
    """Robosuite's offscreen context with the settings that its own environments give it."""
    from robosuite.utils.binding_utils import MjRenderContextOffscreen

    context = MjRenderContextOffscreen(scene, device_id=-1)
    context.vopt.geomgroup[0] = 0  # collision geoms
    context.vopt.geomgroup[1] = 1  # visual geoms
    return context


def _renderer_name() -> str:
    """The current context's renderer, for instance `llvmpipe (LLVM 15.0.6, 256 bits)`."""
    from OpenGL import GL  # type: ignore[import-untyped]

    return str(GL.glGetString(GL.GL_RENDERER).decode())


def _register_for_exit(renderer: SceneRenderer) -> None:
    """Has the context freed at exit, before robosuite takes the EGL display away from under it."""
    atexit.unregister(_close_all)
    atexit.register(_close_all)
    _open_renderers.add(renderer)


def _close_all() -> None:
    for renderer in list(_open_renderers):
        renderer.close()

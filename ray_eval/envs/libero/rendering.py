"""Camera images of snapshots, drawn with robosuite's own offscreen context on mjData of their own.

OpenGL gets what the scene wears (see `uploading`). Geoms that an image cannot show are left out (see `culling`), and
what stands still is drawn once (see `background`), as soon as the machine code for it is there (see `compiling`). The
first image of each camera is held against robosuite's, once on a machine (see `proofs`). Nothing here touches the
simulation's mjData; the mjModel's visual fields are swapped in for one drawing and put back. GL contexts belong to the
thread that made them.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ray_eval.envs.libero.compiling import IMAGES, is_ready
from ray_eval.envs.libero.snapshot import MODEL_FIELDS, POSE_FIELDS, SceneSnapshot

if TYPE_CHECKING:
    from ray_eval.envs.libero.background import Background
    from ray_eval.envs.libero.culling import SceneBounds
    from ray_eval.envs.libero.mipmaps import KeptTextures
    from ray_eval.envs.libero.uploading import Upload

logger = logging.getLogger(__name__)

HIDDEN_GROUP = 5
"""A geom group that robosuite does not draw."""

_open_renderers: weakref.WeakSet[SceneRenderer] = weakref.WeakSet()


class SceneRenderer:
    """Draws snapshots of one compiled scene; builds its GL context at the first drawing (about 0.5 s).

    The context holds the scene's meshes and textures. It outlives a rebuild of the same task, whose assets are
    the same: `begin_episode` gives it the new mjModel.

    Args:
        model: The scene, a robosuite MjModel.
        compile_anew: Gives another mjModel of it, the binding's own. Then the context alone keeps the textures.
        name: Names it by all that it is made of; None has its first images held against robosuite's each time.
        textures: Those of the scene, where the model has none.
    """

    def __init__(
        self,
        model: Any,
        compile_anew: Callable[[], Any] | None = None,
        name: str | None = None,
        textures: KeptTextures | None = None,
    ) -> None:
        from ray_eval.envs.libero.uploading import Upload

        self._name = name
        self._scene = _Scene(model, Upload(_binding(model), compile_anew, textures))
        self._context: Any = None
        self._views: dict[tuple[int, int], _View] = {}

    def begin_episode(self, model: Any) -> None:
        """Draws from another compilation of the same scene (a robosuite MjModel), or the same one, from now on."""
        if model is self._scene.model:
            for view in self._views.values():
                view.begin_episode()
            return
        self._scene.upload.turn_to(_binding(model))
        self._scene = _Scene(model, self._scene.upload)
        if self._context is not None:
            self._context.gl_ctx.make_current()
            self._forget_views()
            self._context.sim = self._scene
            self._context.model, self._context.data = self._scene.model, self._scene.data

    def render(self, snapshot: SceneSnapshot, camera: str, size_px: int) -> NDArray[np.uint8]:
        """The camera's (size_px, size_px, 3) RGB image as robosuite delivers it: rows bottom-up."""
        context, camera_id = self._current_context(), self._scene.model.camera_name2id(camera)
        if (camera_id, size_px) not in self._views:
            name = self._name and f"{self._name} {camera} {size_px}"
            self._views[camera_id, size_px] = _View(self._scene, camera_id, size_px, name)
        view = self._views[camera_id, size_px]
        if not is_ready(IMAGES):
            return view.whole(context, snapshot)
        image = view.on_background(context, snapshot)
        return view.without_unseen(context, snapshot) if image is None else image

    def close(self) -> None:
        """Frees the GL context; a later drawing would build another one."""
        if self._context is not None:
            self._context.gl_ctx.make_current()
            self._forget_views()
            self._context = None
        _open_renderers.discard(self)

    def _forget_views(self) -> None:
        """Their context is current, and goes with nothing of theirs in it."""
        for view in self._views.values():
            view.free()
        self._views.clear()

    def _current_context(self) -> Any:
        if self._context is None:
            self._context = _offscreen_context(self._scene)
            _register_for_exit(self)
        else:
            self._context.gl_ctx.make_current()
            if not self._scene.upload.is_current:
                self._context.con.free()
                self._context._set_mujoco_context_and_buffers()  # noqa: SLF001 -- as robosuite does for a larger image
        return self._context


class _View:
    """One camera's images of one size, in one context; what is proven of them is remembered under the name."""

    def __init__(self, scene: _Scene, camera_id: int, size_px: int, name: str | None) -> None:
        self._scene, self._camera_id, self._size_px, self._name = scene, camera_id, size_px, name
        self._background: Background | None = None
        self._is_proven = self._is_aside = False

    def on_background(self, context: Any, snapshot: SceneSnapshot) -> NDArray[np.uint8] | None:
        """The image, of which what stands still was drawn before; None where it is to be drawn otherwise."""
        from OpenGL.error import Error as OpenGlError  # type: ignore[import-untyped]

        if self._is_aside:
            return None
        try:
            with self._scene.showing(snapshot):
                return self._proven(context, snapshot)
        except (OpenGlError, NotImplementedError) as error:
            self._set_aside(str(error))
        return None

    def without_unseen(self, context: Any, snapshot: SceneSnapshot) -> NDArray[np.uint8]:
        """The image, drawn by robosuite without geoms that the camera cannot see."""
        with self._scene.showing(snapshot, self._camera_id):
            return self._by_robosuite(context)

    def whole(self, context: Any, snapshot: SceneSnapshot) -> NDArray[np.uint8]:
        """The image, drawn by robosuite with everything in it."""
        with self._scene.showing(snapshot):
            return self._by_robosuite(context)

    def begin_episode(self) -> None:
        """Things lie elsewhere from now on."""
        if self._background is not None:
            self._background.begin_episode()

    def free(self) -> None:
        """Gives OpenGL's memory back; the context is current."""
        if self._background is not None:
            self._background.free()
            self._background = None

    def _proven(self, context: Any, snapshot: SceneSnapshot) -> NDArray[np.uint8] | None:
        """The image on the background, which has once given the same as robosuite."""
        if self._background is not None and self._background.con is not context.con:
            self.free()
        expected = None
        if self._background is None:
            from ray_eval.envs.libero import proofs
            from ray_eval.envs.libero.background import Background

            self._is_aside = not Background.is_of_use(self._scene.binding, self._scene.bounds, self._camera_id)
            if self._is_aside:
                return None
            self._is_proven |= self._name is not None and proofs.is_proven(self._name)
            if self._is_proven:
                self._make_room(context)
            else:
                expected = self._by_robosuite(context)  # which makes room itself
            self._scene.fill(context, self._camera_id)
            self._background = Background(
                context, self._scene.binding, self._scene.bounds, self._camera_id, self._size_px
            )
        self._scene.fill(context, self._camera_id)
        if not self._background.draw(snapshot):
            return expected
        image: NDArray[np.uint8] = context.read_pixels(self._size_px, self._size_px)
        if not self._is_proven:
            self._prove(image, self._by_robosuite(context) if expected is None else expected)
        return image if self._is_proven else expected

    def _prove(self, image: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
        """Holds an image against robosuite's; where they differ, all are drawn as ever."""
        from ray_eval.envs.libero import proofs

        difference = np.any(image != expected, axis=2).sum()
        self._is_proven = difference == 0
        if not self._is_proven:
            self._set_aside(f"{difference} pixels differ from robosuite's")
        elif self._name is not None:
            proofs.keep(self._name)

    def _make_room(self, context: Any) -> None:
        """Makes the context large enough, as robosuite does before it draws."""
        width, height = context.con.offWidth, context.con.offHeight
        if self._size_px > min(width, height):
            context.update_offscreen_size(max(self._size_px, width), max(self._size_px, height))

    def _by_robosuite(self, context: Any) -> NDArray[np.uint8]:
        context.render(width=self._size_px, height=self._size_px, camera_id=self._camera_id)
        image: NDArray[np.uint8] = context.read_pixels(self._size_px, self._size_px)
        return image

    def _set_aside(self, reason: str) -> None:
        self._is_aside = True
        self.free()
        logger.warning("images: what stands still is drawn anew each time: %s", reason)


class _Scene:
    """What robosuite's render context takes for a simulation: an mjModel, and mjData that nothing steps."""

    def __init__(self, model: Any, upload: Upload) -> None:
        from robosuite.utils.binding_utils import MjData

        self.model = model
        self.data = MjData(model)
        self.upload = upload

    @property
    def binding(self) -> Any:
        """MuJoCo's own mjModel."""
        return _binding(self.model)

    @functools.cached_property
    def bounds(self) -> SceneBounds:
        """Made at the first image."""
        from ray_eval.envs.libero.culling import SceneBounds

        return SceneBounds(self.binding)

    def forward(self) -> None:
        """Nothing: the context's constructor wants the simulation moved, and a forward would move its solver."""

    def add_render_context(self, context: Any) -> None:
        """Nothing: the renderer owns the context."""

    def fill(self, context: Any, camera_id: int) -> None:
        """Has robosuite's context hold what it would draw."""
        import mujoco

        context.cam.type, context.cam.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, camera_id
        everything, data = mujoco.mjtCatBit.mjCAT_ALL, self.data._data  # noqa: SLF001
        mujoco.mjv_updateScene(self.binding, data, context.vopt, context.pert, context.cam, everything, context.scn)

    @contextlib.contextmanager
    def showing(self, snapshot: SceneSnapshot, camera_id: int | None = None) -> Iterator[None]:
        """Puts the snapshot's poses into the mjData, and its visual fields into the mjModel for the while.

        Geoms that the camera cannot see are in a group that is not drawn; without a camera, all are drawn.
        """
        model, data = self.binding, self.data._data  # noqa: SLF001 -- robosuite has no public way
        for name in POSE_FIELDS:
            getattr(data, name)[:] = getattr(snapshot, name)
        present = {name: getattr(model, name).copy() for name in (*MODEL_FIELDS, "geom_group")}
        try:
            if camera_id is not None:
                model.geom_group[self.bounds.unseen(snapshot, camera_id)] = HIDDEN_GROUP
            for name in MODEL_FIELDS:
                getattr(model, name)[:] = getattr(snapshot, name)
            yield
        finally:
            for name, value in present.items():
                getattr(model, name)[:] = value


def _binding(model: Any) -> Any:
    """MuJoCo's own mjModel of robosuite's."""
    return model._model  # noqa: SLF001 -- robosuite has no public way


def _offscreen_context(scene: _Scene) -> Any:
    """Robosuite's offscreen context with the settings that its own environments give it."""
    from ray_eval.envs.libero.culling import COLLISION_GROUP, VISUAL_GROUP

    context = _context_class()(scene, device_id=-1)
    context.vopt.geomgroup[COLLISION_GROUP] = 0
    context.vopt.geomgroup[VISUAL_GROUP] = 1
    context.vopt.geomgroup[HIDDEN_GROUP] = 0  # as it is anyway; robosuite's models do not use it
    return context


@functools.cache
def _context_class() -> Any:
    """Robosuite's offscreen context, which uploads what the scene says."""
    import mujoco
    from robosuite.utils.binding_utils import MjRenderContextOffscreen

    class Offscreen(MjRenderContextOffscreen):  # type: ignore[misc] # robosuite has no types
        def _set_mujoco_context_and_buffers(self) -> None:
            self.con = self.sim.upload.made()
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.con)

    return Offscreen


def _register_for_exit(renderer: SceneRenderer) -> None:
    """Has the context freed at exit, before robosuite takes the EGL display away from under it."""
    atexit.unregister(_close_all)
    atexit.register(_close_all)
    _open_renderers.add(renderer)


def _close_all() -> None:
    for renderer in list(_open_renderers):
        renderer.close()

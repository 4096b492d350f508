"""What geoms look like to a camera, kept as samples in OpenGL, and images drawn on top of it; runs in each worker.

What is kept is drawn by `mjr_render` itself. A sample holds the final colour and depth, but where the mirror's face is
the nearest: there it holds what is reflected, and a stencil of 1, so that `mjr_render` goes on as if it had just drawn
that. It then adds what else is reflected, the mirror, and the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import mujoco
import numpy as np
from OpenGL import GL  # type: ignore[import-untyped]

from ray_eval.envs.libero.culling import MESH
from ray_eval.envs.libero.draw_lists import DrawLists, copy_samples, counted_samples
from ray_eval.envs.libero.scene_geoms import GEOM
from ray_eval.envs.libero.sight import face
from ray_eval.types import Array

_REFLECTION: Final = int(mujoco.mjtRndFlag.mjRND_REFLECTION)
_SKYBOX: Final = int(mujoco.mjtRndFlag.mjRND_SKYBOX)


@dataclass(frozen=True, slots=True, eq=False)
class DrawnScene:
    """A filled mjvScene in a context that is current, and the lists of that context."""

    con: Any
    """`mujoco.MjrContext`."""
    scene: Any
    """`mujoco.MjvScene`."""
    rows: Array
    """Its memory (see `scene_geoms`)."""
    lists: DrawLists
    """Made for `size_px`."""
    size_px: int
    """Height and width of images."""

    def draw(self, *rows: Array, source: int | None, has_mirror: bool) -> None:
        """Draws these geoms, in order, into the context's buffer.

        Args:
            rows: Arrays of `scene_geoms.GEOM`.
            source: A framebuffer object to begin with; None for an empty image.
            has_mirror: Whether `mjr_render` will find a mirror among them, and the camera above it.
        """
        has_first = source is not None or has_mirror
        geoms = np.concatenate([in_place(self.lists.first), *rows] if has_first else rows)
        self.rows[: len(geoms)] = geoms
        self.scene.ngeom = len(geoms)
        try:
            if has_first:
                self.lists.begin(has_kept=source is not None, has_mirror=has_mirror)
            if source is not None:
                GL.glBindFramebuffer(GL.GL_READ_FRAMEBUFFER, source)
            mujoco.mjr_render(mujoco.MjrRect(0, 0, self.size_px, self.size_px), self.scene, self.con)
        finally:
            self.lists.end()


class KeptImage:
    """Samples of one image, of the form that a context draws into.

    Args:
        con: The `mujoco.MjrContext`, current.
        size_px: Height and width.

    Raises:
        OpenGL.error.Error: this OpenGL refuses.
    """

    def __init__(self, con: Any, size_px: int) -> None:
        self.name = int(GL.glGenFramebuffers(1))
        """The framebuffer object."""
        self._buffers = [int(name) for name in np.ravel(GL.glGenRenderbuffers(2))]
        GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, self.name)
        for own, original, attachment in (
            (self._buffers[0], con.offColor, GL.GL_COLOR_ATTACHMENT0),
            (self._buffers[1], con.offDepthStencil, GL.GL_DEPTH_STENCIL_ATTACHMENT),
        ):
            form = _internal_format(original)
            GL.glBindRenderbuffer(GL.GL_RENDERBUFFER, own)
            GL.glRenderbufferStorageMultisample(GL.GL_RENDERBUFFER, con.offSamples, form, size_px, size_px)
            GL.glFramebufferRenderbuffer(GL.GL_FRAMEBUFFER, attachment, GL.GL_RENDERBUFFER, own)
        is_complete = GL.glCheckFramebufferStatus(GL.GL_FRAMEBUFFER) == GL.GL_FRAMEBUFFER_COMPLETE
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, con)
        if not is_complete:
            raise NotImplementedError("kept image: expected a complete framebuffer of MuJoCo's formats, got none")

    def take(self, drawn: DrawnScene, kept: Array, source: int | None = None) -> None:
        """Draws and keeps geoms as they are without reflections.

        Args:
            drawn: The scene as the camera sees it.
            kept: Their rows; all are opaque.
            source: The framebuffer object of what was taken before, on top of which they are drawn.
        """
        with _only_geoms(drawn, has_reflections=False):
            drawn.draw(kept, source=source, has_mirror=False)
            self._capture(drawn)

    def has_ties(self, drawn: DrawnScene, mirror: Array, touching: Array) -> bool:
        """Whether at any sample of what was taken the mirror is the nearest together with another geom.

        Args:
            drawn: As in `take`.
            mirror: (1,) the mirror's row.
            touching: Rows of the other kept geoms that may be it.
        """
        again = _not_reflecting(mirror)
        mark, find, end = (
            in_place(dataid) for dataid in (drawn.lists.mark_equal, drawn.lists.find_marked, drawn.lists.end_finding)
        )
        with _only_geoms(drawn, has_reflections=False):
            with counted_samples() as alone:
                drawn.draw(mark, again, end, source=self.name, has_mirror=False)
            with counted_samples() as together:
                drawn.draw(mark, again, find, touching, end, source=self.name, has_mirror=False)
        return together != alone

    def take_reflections(self, drawn: DrawnScene, plain: KeptImage, mirror: Array, reflected: Array) -> None:
        """Makes of what was taken what `mjr_render` can go on from, in the middle of its reflections.

        Args:
            drawn: As in `take`.
            plain: What was taken; it may be this one.
            mirror: (1,) the row among them in which MuJoCo reflects.
            reflected: Rows of those among them that it may show.
        """
        lists, again = drawn.lists, _not_reflecting(mirror)
        with _only_geoms(drawn, has_reflections=False):
            mark, nearest, empty = (
                in_place(dataid) for dataid in (lists.mark_face, lists.mark_nearest, lists.empty_nearest)
            )
            drawn.draw(mark, face(again), nearest, again, empty, source=plain.name, has_mirror=False)
            self._capture(drawn)
        with _only_geoms(drawn, has_reflections=True):
            nothing = in_place(lists.draw_nothing)
            drawn.draw(mirror, reflected, nothing, source=self.name, has_mirror=True)
            self._capture(drawn)

    def free(self) -> None:
        """Gives OpenGL's memory back, in the context that is current."""
        GL.glDeleteFramebuffers(1, [self.name])
        GL.glDeleteRenderbuffers(len(self._buffers), self._buffers)

    def _capture(self, drawn: DrawnScene) -> None:
        copy_samples(drawn.con.offFBO, self.name, drawn.size_px)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, drawn.con)


def in_place(dataid: int) -> Array:
    """(1,) an opaque geom for which a list is called.

    Args:
        dataid: The list, as if it were a mesh.
    """
    place = np.zeros(1, GEOM)
    place["type"], place["dataid"], place["matid"] = MESH, dataid, -1
    place["mat"], place["rgba"] = np.eye(3).ravel(), 1
    return place


@contextlib.contextmanager
def _only_geoms(drawn: DrawnScene, *, has_reflections: bool) -> Iterator[None]:
    """The scene without its sky, which comes after all opaque geoms."""
    flags = drawn.scene.flags.copy()
    try:
        drawn.scene.flags[_SKYBOX], drawn.scene.flags[_REFLECTION] = False, has_reflections
        yield
    finally:
        drawn.scene.flags[:] = flags


def _not_reflecting(mirror: Array) -> Array:
    """The same geom, which MuJoCo draws in its place and not first."""
    geom = mirror.copy()
    geom["reflectance"] = 0
    return geom


def _internal_format(renderbuffer: int) -> int:
    GL.glBindRenderbuffer(GL.GL_RENDERBUFFER, renderbuffer)
    return int(np.ravel(GL.glGetRenderbufferParameteriv(GL.GL_RENDERBUFFER, GL.GL_RENDERBUFFER_INTERNAL_FORMAT))[0])

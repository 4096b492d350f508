"""Display lists that `mjr_render` calls in the place of a mesh, and what they do to the drawing of what comes after.

Within one image `mjr_render` goes through its geoms twice where it reflects: first through the mirror, then directly.
The first geom is a list of ours. It calls another one under the list base, which each call leaves as the next one
needs it. So the kept image is copied in once, and meshes that no mirror shows are drawn once: under a list base where
nothing is, a call does nothing.

Source: MuJoCo 3.2.3 src/render/render_gl3.c (mjr_render, renderGeom).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from OpenGL import GL  # type: ignore[import-untyped]

from ray_eval.types import Array

_NEXT: Final = 1 << 20
"""With the size of images, the list that the first geom calls under the list base; above all names that MuJoCo has."""
_KEPT, _KEPT_THEN_DIRECT, _NOTHING_THEN_DIRECT, _DIRECT = (base << 24 for base in (1, 2, 3, 4))
"""List bases, by what the first geom does next."""
_ALL_BITS: Final = GL.GL_COLOR_BUFFER_BIT | GL.GL_DEPTH_BUFFER_BIT | GL.GL_STENCIL_BUFFER_BIT
_MARKED: Final = 2
"""The stencil of the mirror's face; one less where it is the nearest, which is where MuJoCo reflects."""


class DrawLists:
    """Lists of one context, made while it is current; they go when it goes.

    Args:
        con: The `mujoco.MjrContext` whose meshes are drawn.
        size_px: Height and width of images.

    Raises:
        OpenGL.error.Error: this OpenGL refuses.
        NotImplementedError: it names lists otherwise.
    """

    def __init__(self, con: Any, size_px: int) -> None:
        self._base_mesh = int(con.baseMesh)
        if self._base_mesh + con.rangeMesh > _NEXT:
            raise NotImplementedError(f"display lists: expected meshes below {_NEXT}, got them from {self._base_mesh}")
        following = _NEXT + size_px
        self._once: dict[int, int] = {}
        self._compile(_KEPT + following, lambda: _copy_kept(size_px), lambda: GL.glListBase(0))
        self._compile(_KEPT_THEN_DIRECT + following, lambda: _copy_kept(size_px), lambda: GL.glListBase(_DIRECT))
        self._compile(_NOTHING_THEN_DIRECT + following, lambda: GL.glListBase(_DIRECT))
        self._compile(_DIRECT + following, lambda: GL.glListBase(0))
        self.first = self._made(lambda: _call(following))
        """The scene's first geom."""
        self.mark_face = self._made(_mark_face)
        """What follows marks the samples that it covers."""
        self.mark_nearest = self._made(_mark_nearest)
        """What follows changes the mark of samples at which it is the nearest."""
        self.empty_nearest = self._made(_empty_nearest)
        """Clears the samples whose mark was changed, and puts OpenGL back as `mjr_render` has it."""
        self.mark_equal = self._made(_mark_equal)
        """What follows marks the samples at which it is as deep as what is there."""
        self.find_marked = self._made(lambda: GL.glStencilFunc(GL.GL_EQUAL, _MARKED, 0xFF))
        """What follows passes there only, and only where it is as deep itself."""
        self.end_finding = self._made(lambda: GL.glDisable(GL.GL_STENCIL_TEST))
        """Puts OpenGL back as `mjr_render` has it."""
        self.draw_nothing = self._made(lambda: GL.glDepthFunc(GL.GL_NEVER))
        """What follows in this image is not drawn."""

    def begin(self, *, has_kept: bool, has_mirror: bool) -> None:
        """Says what the first geom does in the next image."""
        if not has_mirror:
            GL.glListBase(_KEPT)
        else:
            GL.glListBase(_KEPT_THEN_DIRECT if has_kept else _NOTHING_THEN_DIRECT)

    def end(self) -> None:
        """Has OpenGL as MuJoCo knows it, whatever has been drawn."""
        GL.glListBase(0)

    def drawn_once(self, dataids: Array) -> Array:
        """The data ids under which meshes are drawn directly and not in the mirror.

        Args:
            dataids: (n,) their own.
        """
        return np.array([self._drawn_once(int(dataid)) for dataid in dataids], np.int32)

    def _drawn_once(self, dataid: int) -> int:
        if dataid not in self._once:
            self._once[dataid] = self._made(lambda: _call(self._base_mesh + dataid))
        return self._once[dataid]

    def _made(self, command: Callable[[], object]) -> int:
        """A new list's data id, as if it were a mesh of the context."""
        name = int(GL.glGenLists(1))
        if name < self._base_mesh:
            raise NotImplementedError(f"display lists: expected a name above {self._base_mesh}, got {name}")
        self._compile(name, command)
        return name - self._base_mesh

    @staticmethod
    def _compile(name: int, *commands: Callable[[], object]) -> None:
        GL.glNewList(name, GL.GL_COMPILE)
        try:
            for command in commands:
                command()
        finally:
            GL.glEndList()


@contextlib.contextmanager
def counted_samples() -> Iterator[list[int]]:
    """Counts the samples that pass meanwhile; the list holds their number afterwards."""
    query, found = int(np.ravel(GL.glGenQueries(1))[0]), list[int]()
    GL.glBeginQuery(GL.GL_SAMPLES_PASSED, query)
    try:
        yield found
    finally:
        GL.glEndQuery(GL.GL_SAMPLES_PASSED)
        found.append(int(np.ravel(GL.glGetQueryObjectuiv(query, GL.GL_QUERY_RESULT))[0]))
        GL.glDeleteQueries(1, [query])


def copy_samples(source: int, target: int, size_px: int) -> None:
    """Copies colour, depth and stencil of every sample from one framebuffer object to another of the same form."""
    GL.glBindFramebuffer(GL.GL_READ_FRAMEBUFFER, source)
    GL.glBindFramebuffer(GL.GL_DRAW_FRAMEBUFFER, target)
    _copy_kept(size_px)


def _copy_kept(size_px: int) -> None:
    """From the framebuffer bound for reading into the one that is drawn into."""
    GL.glBlitFramebuffer(0, 0, size_px, size_px, 0, 0, size_px, size_px, _ALL_BITS, GL.GL_NEAREST)


def _call(name: int) -> None:
    """Calls a list under the list base."""
    GL.glCallLists(1, GL.GL_UNSIGNED_INT, np.array([name], np.uint32))


def _mark_face() -> None:
    GL.glClearStencil(0)
    GL.glClear(GL.GL_STENCIL_BUFFER_BIT)
    GL.glEnable(GL.GL_STENCIL_TEST)
    GL.glStencilFunc(GL.GL_ALWAYS, _MARKED, 0xFF)
    GL.glStencilOp(GL.GL_REPLACE, GL.GL_REPLACE, GL.GL_REPLACE)
    GL.glColorMask(False, False, False, False)
    GL.glDepthMask(False)
    GL.glDisable(GL.GL_DEPTH_TEST)


def _mark_nearest() -> None:
    """One less: what was the mirror's face becomes 1, its other sides 255. Both are odd, and only 1 is reflected in."""
    GL.glEnable(GL.GL_DEPTH_TEST)
    GL.glDepthFunc(GL.GL_EQUAL)
    GL.glStencilFunc(GL.GL_ALWAYS, 0, 0xFF)
    GL.glStencilOp(GL.GL_KEEP, GL.GL_KEEP, GL.GL_DECR_WRAP)


def _mark_equal() -> None:
    GL.glClearStencil(0)
    GL.glClear(GL.GL_STENCIL_BUFFER_BIT)
    GL.glEnable(GL.GL_STENCIL_TEST)
    GL.glStencilFunc(GL.GL_ALWAYS, _MARKED, 0xFF)
    GL.glStencilOp(GL.GL_KEEP, GL.GL_KEEP, GL.GL_REPLACE)
    GL.glDepthFunc(GL.GL_EQUAL)


def _empty_nearest() -> None:
    GL.glDepthMask(True)
    GL.glDepthFunc(GL.GL_ALWAYS)
    GL.glDepthRange(0, 0)
    GL.glColorMask(True, True, True, True)
    GL.glStencilFunc(GL.GL_EQUAL, 1, 1)
    GL.glStencilOp(GL.GL_KEEP, GL.GL_KEEP, GL.GL_KEEP)
    GL.glDisable(GL.GL_LIGHTING)
    GL.glDisable(GL.GL_CULL_FACE)
    GL.glColor4f(0, 0, 0, 0)
    for mode in (GL.GL_PROJECTION, GL.GL_MODELVIEW):
        GL.glMatrixMode(mode)
        GL.glPushMatrix()
        GL.glLoadIdentity()
    GL.glRectf(-1, -1, 1, 1)
    for mode in (GL.GL_PROJECTION, GL.GL_MODELVIEW):
        GL.glMatrixMode(mode)
        GL.glPopMatrix()
    GL.glDepthRange(0, 1)
    GL.glDepthFunc(GL.GL_GEQUAL)
    GL.glEnable(GL.GL_LIGHTING)
    GL.glEnable(GL.GL_CULL_FACE)
    GL.glDisable(GL.GL_STENCIL_TEST)

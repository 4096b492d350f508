"""MuJoCo's own picture of a scene, drawn from the triangles that can be seen; runs in each worker, on its GL context.

`mjr_render` sends every triangle of every mesh, some 300,000 of them, of which fewer than a tenth own a sample of a
small image; a software renderer takes its time for each. Here MuJoCo prepares the image (clears it, sets camera and
lights) and GL draws the geoms as `mjr_render` does, the same calls in the same order, but of each mesh only what
`culling` leaves.
"""

from __future__ import annotations

import ctypes
import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ray_eval.envs.libero import culling
from ray_eval.types import Array

PLANE, SPHERE, CAPSULE, ELLIPSOID, CYLINDER, BOX, MESH = 0, 2, 3, 4, 5, 6, 7
"""`mjtGeom`."""
SUPPORTED: Final = frozenset({PLANE, SPHERE, CAPSULE, ELLIPSOID, CYLINDER, BOX, MESH})
LIST_SPHERE, LIST_TOP, LIST_BOTTOM, LIST_CYLINDER, LIST_OPEN_CYLINDER, LIST_BOX = 0, 1, 2, 3, 4, 6
"""MuJoCo's display lists, from `baseBuiltin` on. Source: google-deepmind/mujoco src/render/render_context.h."""
OBJECT_GEOM: Final = 5
"""`mjOBJ_GEOM`."""
TEXTURE_2D_KIND, SKYBOX_KIND = 0, 2
"""`mjtTexture`."""
FLAG_WIREFRAME, FLAG_ADDITIVE, FLAG_SKYBOX, FLAG_FOG, FLAG_HAZE, FLAG_SEGMENT = 1, 3, 4, 5, 6, 7
FLAG_SHADOW, FLAG_REFLECTION, FLAG_CULL_FACE = 0, 2, 9
"""`mjtRndFlag`."""
OPAQUE_ALPHA: Final = 0.995
"""Below it `mjr_render` blends a geom."""
SKYBOX_SCALE: Final = 0.70
"""Of the far distance. Source: google-deepmind/mujoco src/render/render_gl3.c, as for every constant of GL here."""
_SMALLEST: Final = 1e-15
"""`mjMINVAL`."""

_FLOAT, _INT, _UINT, _POINTER, _BYTE = (
    ctypes.c_float,
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_void_p,
    ctypes.c_ubyte,
)
_SIGNATURES: Final[dict[str, tuple[Any, ...]]] = {
    "glActiveTexture": (_UINT,),
    "glBindBuffer": (_UINT, _UINT),
    "glBindTexture": (_UINT, _UINT),
    "glBlendFunc": (_UINT, _UINT),
    "glBufferData": (_UINT, ctypes.c_ssize_t, _POINTER, _UINT),
    "glCallList": (_UINT,),
    "glClear": (_UINT,),
    "glClipPlane": (_UINT, _POINTER),
    "glColorMask": (_BYTE, _BYTE, _BYTE, _BYTE),
    "glColor4fv": (_POINTER,),
    "glCullFace": (_UINT,),
    "glDepthMask": (_BYTE,),
    "glDisable": (_UINT,),
    "glDisableClientState": (_UINT,),
    "glDrawElements": (_UINT, _INT, _UINT, _POINTER),
    "glEnable": (_UINT,),
    "glEnableClientState": (_UINT,),
    "glFrontFace": (_UINT,),
    "glGenBuffers": (_INT, _POINTER),
    "glGetFloatv": (_UINT, _POINTER),
    "glGetMultisamplefv": (_UINT, _UINT, _POINTER),
    "glLightfv": (_UINT, _UINT, _POINTER),
    "glMaterialf": (_UINT, _UINT, _FLOAT),
    "glMaterialfv": (_UINT, _UINT, _POINTER),
    "glMultMatrixf": (_POINTER,),
    "glNormalPointer": (_UINT, _INT, _POINTER),
    "glPopMatrix": (),
    "glPushMatrix": (),
    "glScalef": (_FLOAT, _FLOAT, _FLOAT),
    "glStencilFunc": (_UINT, _INT, _UINT),
    "glStencilOp": (_UINT, _UINT, _UINT),
    "glTexCoordPointer": (_INT, _UINT, _INT, _POINTER),
    "glTexGenfv": (_UINT, _UINT, _POINTER),
    "glTranslatef": (_FLOAT, _FLOAT, _FLOAT),
    "glVertexPointer": (_INT, _UINT, _INT, _POINTER),
}
_GL_BACK, _GL_FRONT, _GL_BOTH = 0x0405, 0x0404, 0x0408
_GL_EMISSION, _GL_SHININESS, _GL_SPECULAR = 0x1600, 0x1601, 0x1202
_GL_LIGHTING, _GL_COLOR_MATERIAL, _GL_LIGHT0, _GL_BLEND = 0x0B50, 0x0B57, 0x4000, 0x0BE2
_GL_TEXTURE_2D, _GL_TEXTURE_CUBE, _GL_TEXTURE0 = 0x0DE1, 0x8513, 0x84C0
_GL_GEN_S, _GL_S, _GL_OBJECT_PLANE = 0x0C60, 0x2000, 0x2501
_GL_ARRAY_BUFFER, _GL_STATIC_DRAW, _GL_FLOAT, _GL_UNSIGNED_INT, _GL_TRIANGLES = 0x8892, 0x88E4, 0x1406, 0x1405, 4
_GL_VERTICES, _GL_NORMALS, _GL_TEXTURE_COORDINATES = 0x8074, 0x8075, 0x8078
_GL_MODELVIEW_MATRIX, _GL_PROJECTION_MATRIX, _GL_SAMPLE_POSITION = 0x0BA6, 0x0BA7, 0x8E50
_GL_SRC_ALPHA, _GL_ONE_MINUS_SRC_ALPHA = 0x0302, 0x0303
_GL_DEPTH_TEST, _GL_STENCIL_TEST, _GL_STENCIL_BIT, _GL_CLIP_PLANE0 = 0x0B71, 0x0B90, 0x0400, 0x3000
_GL_ALWAYS, _GL_EQUAL, _GL_REPLACE, _GL_KEEP, _GL_CLOCKWISE, _GL_ANTICLOCKWISE = (
    0x0207,
    0x0202,
    0x1E01,
    0x1E00,
    0x0900,
    0x0901,
)
_GL_POSITION, _GL_SPOT_DIRECTION, _GL_ONE = 0x1203, 0x1204, 1
_CORNER_BYTES, _NORMAL_AT, _TEXTURE_AT = 32, 12, 24


class _Gl:
    """The GL functions named in `_SIGNATURES`, called without a wrapper; they belong to the platform, not a context."""

    def __init__(self) -> None:
        from OpenGL import platform  # type: ignore[import-untyped]

        for name, arguments in _SIGNATURES.items():
            found = platform.PLATFORM.getExtensionProcedure(name.encode())
            address = found if isinstance(found, int) else ctypes.cast(found, ctypes.c_void_p).value
            if not address:
                raise NotImplementedError(name)
            setattr(self, name, ctypes.CFUNCTYPE(None, *arguments)(address))

    def __getattr__(self, name: str) -> Callable[..., None]:
        raise AttributeError(name)

    def matrix(self, name: int) -> Array:
        """(4, 4) float64, the matrix as one writes it."""
        values = (_FLOAT * 16)()
        self.glGetFloatv(name, values)
        return np.array(values, dtype=np.float64).reshape(4, 4).T


@dataclass(slots=True)
class _Geom:
    """A mjvGeom's fields, read once."""

    kind: int
    data_id: int
    material_id: int
    position: tuple[float, float, float]
    rotation: tuple[float, ...]
    size: tuple[float, float, float]
    rgba: tuple[float, ...]
    emission: float
    specular: float
    shininess: float
    has_texture: bool
    is_behind: bool
    distance: float
    reflectance: float

    @property
    def is_mirror(self) -> bool:
        return self.kind in (PLANE, BOX) and not self.is_transparent and self.reflectance > 0

    @property
    def is_transparent(self) -> bool:
        return self.rgba[3] < OPAQUE_ALPHA or (self.kind == PLANE and self.is_behind)


@dataclass(frozen=True, slots=True)
class _View:
    """One image's camera."""

    width: int
    height: int
    head: tuple[float, float, float]
    near: float
    far: float
    to_clip: Array
    focal_px: float
    mirror_m: float = 0.0
    turn: int = 1


class Drawing:
    """Draws scenes of one compiled model into the offscreen buffer of one `MjrContext`.

    Raises:
        NotImplementedError: at construction, GL lacks a function that is needed.
    """

    def __init__(self, model: Any, context: Any) -> None:
        self._model = model
        self._context = context
        self._gl = _Gl()
        self._meshes: dict[int, tuple[culling.MeshFaces, int]] = {}
        self._texture_ids = np.asarray(context.mat_texid).reshape(len(context.mat_texuniform), -1)
        self._is_uniform = np.asarray(context.mat_texuniform).astype(bool).tolist()
        self._repeat = np.asarray(context.mat_texrepeat).reshape(-1, 2).tolist()
        self._textures = np.asarray(context.texture).tolist()
        self._texture_kinds = np.asarray(context.textureType)[: context.ntexture].tolist()
        self._samples = self._sample_positions()
        self._kept = np.empty(0, np.uint32)

    @property
    def context(self) -> Any:
        """The `MjrContext` that is drawn into."""
        return self._context

    def can_draw(self, scene: Any) -> bool:
        """Whether an updated mjvScene shows nothing but what is drawn here: no shadow and no haze."""
        flags = scene.flags
        special = (FLAG_WIREFRAME, FLAG_ADDITIVE, FLAG_FOG, FLAG_SEGMENT)
        if scene.stereo or scene.nskin or scene.enabletransform or not flags[FLAG_CULL_FACE]:
            return False
        if any(flags[flag] for flag in special) or scene.camera[0].orthographic:
            return False
        if flags[FLAG_SHADOW] and any(scene.lights[index].castshadow for index in range(scene.nlight)):
            return False
        return all(self._is_plain(scene.geoms[index], flags) for index in range(scene.ngeom))

    def draw(self, scene: Any, width: int, height: int) -> None:
        """Draws an updated mjvScene of the same model, as `mjr_render` does, into the lower left of the buffer."""
        view = self._prepare(scene, width, height)
        geoms = [_read_geom(scene.geoms[index], view.head) for index in range(scene.ngeom)]
        opaque = [geom for geom in geoms if not geom.is_transparent]
        # Blending with an alpha of 0 or less, as of robosuite's hidden sites, leaves every sample as it is.
        blended = sorted(
            (geom for geom in geoms if geom.is_transparent and geom.rgba[3] > 0), key=lambda geom: geom.distance
        )
        gl = self._gl
        mirror = next((geom for geom in opaque if geom.is_mirror), None) if scene.flags[FLAG_REFLECTION] else None
        if mirror is not None:
            self._draw_reflection(mirror, [geom for geom in opaque if geom is not mirror], blended, scene, view)
        self._set_lights(scene, is_on=True)
        if mirror is not None:
            gl.glEnable(_GL_BLEND)
            gl.glBlendFunc(_GL_ONE, _GL_ONE)
            self._draw_geom(mirror, view)
            gl.glDisable(_GL_BLEND)
        for geom in opaque:
            if geom is not mirror:
                self._draw_geom(geom, view)
        if scene.flags[FLAG_SKYBOX]:
            self._draw_skybox(view)
        self._draw_blended(blended, view)
        self._set_lights(scene, is_on=False)

    def _draw_blended(self, geoms: Sequence[_Geom], view: _View) -> None:
        """Front to back, then back to front, without depth."""
        gl = self._gl
        gl.glDepthMask(0)
        gl.glEnable(_GL_BLEND)
        gl.glBlendFunc(_GL_SRC_ALPHA, _GL_ONE_MINUS_SRC_ALPHA)
        for geom in [*geoms, *reversed(geoms)]:
            self._draw_geom(geom, view)
        gl.glDepthMask(1)
        gl.glDisable(_GL_BLEND)

    def _set_lights(self, scene: Any, *, is_on: bool) -> None:
        """Places the lights as the present matrix says and turns them on, or turns them off."""
        gl = self._gl
        for index in range(scene.nlight):
            name = _GL_LIGHT0 + index
            if not is_on:
                gl.glDisable(name)
                continue
            light = scene.lights[index]
            x, y, z = light.dir.tolist()
            if light.directional:
                gl.glLightfv(name, _GL_POSITION, _floats(-x, -y, -z, 0))
            else:
                gl.glLightfv(name, _GL_SPOT_DIRECTION, _floats(x, y, z, 0))
                gl.glLightfv(name, _GL_POSITION, _floats(*light.pos.tolist(), 1))
            gl.glEnable(name)

    def _draw_reflection(
        self, mirror: _Geom, opaque: Sequence[_Geom], blended: Sequence[_Geom], scene: Any, view: _View
    ) -> None:
        """What a plane, or a box' upper side, mirrors; drawn where the mirror is, before anything else."""
        plane = _upper_side(mirror, view) if mirror.kind == BOX else mirror
        if plane.is_behind:
            return
        gl = self._gl
        gl.glDisable(_GL_DEPTH_TEST)
        gl.glColorMask(0, 0, 0, 0)
        gl.glEnable(_GL_STENCIL_TEST)
        gl.glClear(_GL_STENCIL_BIT)
        gl.glStencilFunc(_GL_ALWAYS, 1, 0xFF)
        gl.glStencilOp(_GL_REPLACE, _GL_REPLACE, _GL_REPLACE)
        self._draw_geom(plane, view)
        gl.glEnable(_GL_DEPTH_TEST)
        gl.glColorMask(1, 1, 1, 1)
        gl.glStencilFunc(_GL_EQUAL, 1, 0xFF)
        gl.glStencilOp(_GL_KEEP, _GL_KEEP, _GL_KEEP)
        gl.glEnable(_GL_CLIP_PLANE0)
        normal, position = np.array(plane.rotation[2::3], np.float32), np.array(plane.position, np.float32)
        offset = position[0] * normal[0] + position[1] * normal[1] + position[2] * normal[2]
        gl.glClipPlane(_GL_CLIP_PLANE0, (ctypes.c_double * 4)(*(-normal).tolist(), float(offset)))
        gl.glFrontFace(_GL_CLOCKWISE)
        gl.glPushMatrix()
        gl.glMultMatrixf(_floats(*_reflection(normal, position).ravel().tolist()))
        to_clip = gl.matrix(_GL_PROJECTION_MATRIX) @ gl.matrix(_GL_MODELVIEW_MATRIX)
        mirrored = dataclasses.replace(view, to_clip=to_clip, turn=-view.turn, mirror_m=2 * math.hypot(*plane.position))
        self._set_lights(scene, is_on=True)
        for geom in opaque:
            self._draw_geom(_dimmed(geom, plane.reflectance), mirrored)
        self._draw_blended([_dimmed(geom, plane.reflectance) for geom in blended], mirrored)
        self._set_lights(scene, is_on=False)
        gl.glDisable(_GL_STENCIL_TEST)
        gl.glDisable(_GL_CLIP_PLANE0)
        gl.glPopMatrix()
        gl.glFrontFace(_GL_ANTICLOCKWISE)

    def _is_plain(self, geom: Any, flags: Any) -> bool:
        kind = geom.type
        if kind not in SUPPORTED or geom.label:
            return False
        return not (kind == PLANE and flags[FLAG_HAZE] and not geom.size[:2].any() and self._skybox() is not None)

    def _sample_positions(self) -> Array:
        """(s, 2) float32 px; the middle where the buffer has one sample."""
        count = self._context.offSamples
        if count < 2:
            return np.array([[0.5, 0.5]], np.float32)
        positions = []
        for index in range(count):
            position = (_FLOAT * 2)()
            self._gl.glGetMultisamplefv(_GL_SAMPLE_POSITION, index, position)
            positions.append(tuple(position))
        return np.array(positions, np.float32)

    def _prepare(self, scene: Any, width: int, height: int) -> _View:
        """Has MuJoCo clear the image and set up camera and lights, by rendering the scene without anything in it."""
        import mujoco

        count, sky = scene.ngeom, scene.flags[FLAG_SKYBOX]
        scene.ngeom, scene.flags[FLAG_SKYBOX] = 0, 0
        try:
            mujoco.mjr_render(mujoco.MjrRect(0, 0, width, height), scene, self._context)
        finally:
            scene.ngeom, scene.flags[FLAG_SKYBOX] = count, sky
        projection, view = self._gl.matrix(_GL_PROJECTION_MATRIX), self._gl.matrix(_GL_MODELVIEW_MATRIX)
        left, right = scene.camera[0], scene.camera[1]
        head = [0.5 * (float(a) + float(b)) for a, b in zip(left.pos, right.pos, strict=True)]
        return _View(
            width,
            height,
            (head[0], head[1], head[2]),
            float(left.frustum_near),
            float(left.frustum_far),
            projection @ view,
            float(max(abs(projection[0, 0]) * width, abs(projection[1, 1]) * height)) / 2,
        )

    # --- what of each mesh is drawn ---

    def _cull(self, geom: _Geom, view: _View) -> Array:
        """The mesh's elements that may own a sample, three a face."""
        mesh, _ = self._mesh(geom.data_id // 2)
        if len(self._kept) <= len(mesh.faces):
            self._kept = np.empty(len(mesh.faces) + 1, np.uint32)
        least = culling.project(mesh.points, _to_clip(geom, view), view.width, view.height, mesh.window)
        # A mirror is one more product of matrices, each of which no more than trebles what is summed.
        extent = mesh.extent + math.hypot(*geom.position) + math.hypot(*view.head)
        extent = 3 * (extent + view.mirror_m) if view.turn < 0 else extent
        slack = culling.slack_px(extent, view.focal_px, max(view.width, view.height), max(least, view.near))
        limits = np.array([view.width, view.height, slack, 1.01 * view.near, view.turn], np.float32)
        count = culling.facing(mesh.window, mesh.faces, limits, self._kept)
        count = culling.touching(mesh.window, mesh.faces, limits, self._samples, self._kept[:count])
        return mesh.elements[self._kept[:count]]

    def _mesh(self, mesh_id: int) -> tuple[culling.MeshFaces, int]:
        """A mesh and its vertex buffer, made when it is first drawn."""
        if mesh_id not in self._meshes:
            mesh, name, gl = culling.MeshFaces(self._model, mesh_id), _UINT(), self._gl
            gl.glGenBuffers(1, ctypes.byref(name))
            gl.glBindBuffer(_GL_ARRAY_BUFFER, name.value)
            gl.glBufferData(_GL_ARRAY_BUFFER, mesh.corners.nbytes, mesh.corners.ctypes.data, _GL_STATIC_DRAW)
            gl.glBindBuffer(_GL_ARRAY_BUFFER, 0)
            self._meshes[mesh_id] = mesh, name.value
        return self._meshes[mesh_id]

    # --- GL, call by call as in MuJoCo's renderGeom and mjr_render ---

    def _draw_geom(self, geom: _Geom, view: _View) -> None:
        elements = self._cull(geom, view) if geom.kind == MESH else None
        if elements is not None and not len(elements):
            return
        gl = self._gl
        if geom.material_id >= 0:
            self._set_texture(geom, is_on=True)
        red, green, blue, alpha = geom.rgba
        if geom.kind == PLANE and geom.is_behind:
            alpha *= 0.3
        glow = geom.emission
        gl.glMaterialfv(_GL_BOTH, _GL_EMISSION, _floats(glow * red, glow * green, glow * blue, 1))
        gl.glColor4fv(_floats(red, green, blue, alpha))
        gl.glMaterialf(_GL_BOTH, _GL_SHININESS, geom.shininess * 128.0)
        gl.glMaterialfv(_GL_BOTH, _GL_SPECULAR, _floats(geom.specular, geom.specular, geom.specular, 1))
        gl.glPushMatrix()
        gl.glTranslatef(*geom.position)
        a, b, c, d, e, f, g, h, i = geom.rotation
        gl.glMultMatrixf(_floats(a, d, g, 0, b, e, h, 0, c, f, i, 0, 0, 0, 0, 1))
        self._draw_shape(geom, elements)
        gl.glPopMatrix()
        if geom.material_id >= 0:
            self._set_texture(geom, is_on=False)

    def _draw_shape(self, geom: _Geom, elements: Array | None) -> None:
        gl, lists = self._gl, self._context.baseBuiltin
        if elements is not None:
            self._draw_mesh(geom, elements)
        elif geom.kind == PLANE:
            self._draw_plane(geom)
        elif geom.kind == CAPSULE:
            x, y, z = geom.size
            mean = 0.5 * (x + y)
            gl.glScalef(x, y, z)
            gl.glCallList(lists + LIST_OPEN_CYLINDER)
            gl.glScalef(1, 1, mean / z)
            gl.glTranslatef(0, 0, (z - mean) / mean)
            gl.glCallList(lists + LIST_TOP)
            gl.glTranslatef(0, 0, 2 * (mean - z) / mean)
            gl.glCallList(lists + LIST_BOTTOM)
        else:
            gl.glScalef(*geom.size)
            gl.glCallList(lists + {CYLINDER: LIST_CYLINDER, BOX: LIST_BOX}.get(geom.kind, LIST_SPHERE))

    def _draw_plane(self, geom: _Geom) -> None:
        gl = self._gl
        if geom.is_behind:
            gl.glCullFace(_GL_FRONT)
        if geom.data_id >= 0:
            gl.glCallList(self._context.basePlane + geom.data_id + 1)
        else:
            gl.glScalef(geom.size[0], geom.size[1], 1)
            gl.glCallList(self._context.basePlane)
        if geom.is_behind:
            gl.glCullFace(_GL_BACK)

    def _draw_mesh(self, geom: _Geom, elements: Array) -> None:
        gl = self._gl
        mesh, buffer = self._mesh(geom.data_id // 2)
        states = (_GL_VERTICES, _GL_NORMALS, _GL_TEXTURE_COORDINATES)[: 2 + mesh.has_texture]
        gl.glBindBuffer(_GL_ARRAY_BUFFER, buffer)
        for state in states:
            gl.glEnableClientState(state)
        gl.glVertexPointer(3, _GL_FLOAT, _CORNER_BYTES, 0)
        gl.glNormalPointer(_GL_FLOAT, _CORNER_BYTES, _NORMAL_AT)
        if mesh.has_texture:
            gl.glTexCoordPointer(2, _GL_FLOAT, _CORNER_BYTES, _TEXTURE_AT)
        gl.glDrawElements(_GL_TRIANGLES, elements.size, _GL_UNSIGNED_INT, elements.ctypes.data)
        for state in states:
            gl.glDisableClientState(state)
        gl.glBindBuffer(_GL_ARRAY_BUFFER, 0)

    def _draw_skybox(self, view: _View) -> None:
        texture = self._skybox()
        if texture is None:
            return
        gl, size = self._gl, view.far * SKYBOX_SCALE
        gl.glDisable(_GL_LIGHTING)
        gl.glDisable(_GL_COLOR_MATERIAL)
        gl.glCullFace(_GL_FRONT)
        gl.glPushMatrix()
        gl.glTranslatef(*view.head)
        gl.glScalef(size, size, size)
        self._set_cube(texture, ((1, 0, 0, 0), (0, 0, 1, 0), (0, -1, 0, 0)))
        gl.glColor4fv(_floats(1, 1, 1, 1))
        gl.glCallList(self._context.baseBuiltin + LIST_CYLINDER)
        self._set_cube(None, ())
        gl.glPopMatrix()
        gl.glEnable(_GL_LIGHTING)
        gl.glEnable(_GL_COLOR_MATERIAL)
        gl.glCullFace(_GL_BACK)

    def _skybox(self) -> int | None:
        """The first skybox' texture."""
        kinds = self._texture_kinds
        return self._textures[kinds.index(SKYBOX_KIND)] if SKYBOX_KIND in kinds else None

    def _set_texture(self, geom: _Geom, *, is_on: bool) -> None:
        """Turns the material's texture on or off: by texture coordinates, projected along z, or as a cube."""
        texture_id = self._texture_of(geom.material_id)
        if geom.has_texture:
            self._set_plane(self._textures[texture_id] if is_on and texture_id >= 0 else None)
        elif texture_id >= 0 and self._texture_kinds[texture_id] == TEXTURE_2D_KIND:
            self._set_generated(self._textures[texture_id] if is_on else None, geom)
        elif is_on and texture_id >= 0:
            x, y, z = geom.size if self._is_uniform[geom.material_id] else (1, 1, 1)
            self._set_cube(self._textures[texture_id], ((x, 0, 0, 0), (0, y, 0, 0), (0, 0, z, 0)))
        else:
            self._set_cube(None, ())

    def _texture_of(self, material_id: int) -> int:
        """The material's colour texture: of several roles it has the second."""
        roles = self._texture_ids[material_id]
        return int(roles[1] if len(roles) > 1 else roles[0])

    def _set_plane(self, texture: int | None) -> None:
        gl = self._gl
        gl.glActiveTexture(_GL_TEXTURE0)
        if texture is None:
            gl.glDisable(_GL_TEXTURE_2D)
        else:
            gl.glEnable(_GL_TEXTURE_2D)
            gl.glBindTexture(_GL_TEXTURE_2D, texture)

    def _set_generated(self, texture: int | None, geom: _Geom) -> None:
        gl = self._gl
        gl.glActiveTexture(_GL_TEXTURE0)
        switch = gl.glDisable if texture is None else gl.glEnable
        for state in (_GL_TEXTURE_2D, _GL_GEN_S, _GL_GEN_S + 1):
            switch(state)
        if texture is None:
            return
        gl.glBindTexture(_GL_TEXTURE_2D, texture)
        scale = [
            _texture_scale(repeat, size, is_sized=geom.data_id >= 0, is_uniform=self._is_uniform[geom.material_id])
            for repeat, size in zip(self._repeat[geom.material_id], geom.size, strict=False)
        ]
        gl.glTexGenfv(_GL_S, _GL_OBJECT_PLANE, _floats(0.5 * scale[0], 0, 0, -0.5))
        gl.glTexGenfv(_GL_S + 1, _GL_OBJECT_PLANE, _floats(0, -0.5 * scale[1], 0, -0.5))

    def _set_cube(self, texture: int | None, planes: Sequence[Sequence[float]]) -> None:
        gl = self._gl
        gl.glActiveTexture(_GL_TEXTURE0)
        switch = gl.glDisable if texture is None else gl.glEnable
        for state in (_GL_TEXTURE_CUBE, _GL_GEN_S, _GL_GEN_S + 1, _GL_GEN_S + 2):
            switch(state)
        if texture is not None:
            gl.glBindTexture(_GL_TEXTURE_CUBE, texture)
        for axis, plane in enumerate(planes):
            gl.glTexGenfv(_GL_S + axis, _GL_OBJECT_PLANE, _floats(*plane))


def _floats(*values: float) -> Any:
    return (_FLOAT * len(values))(*values)


def _texture_scale(repeat: float, size: float, *, is_sized: bool, is_uniform: bool) -> float:
    """Repeats of a projected texture per unit of length, rounded where MuJoCo rounds."""
    if is_sized and size > 0:
        repeat = float(np.float32(repeat / max(_SMALLEST, size)))
    if is_uniform and size > 0:
        repeat = float(np.float32(repeat * size))
    return repeat


def _read_geom(geom: Any, head: tuple[float, float, float]) -> _Geom:
    position, rotation = geom.pos.tolist(), geom.mat.ravel().tolist()
    size, kind = geom.size.tolist(), geom.type
    to_head = [a - b for a, b in zip(head, position, strict=True)]
    is_behind = sum(a * b for a, b in zip(to_head, rotation[2::3], strict=True)) < 0
    distance = 1e10 if kind == PLANE else math.hypot(*to_head) - _radius(geom, kind, size)
    return _Geom(
        kind,
        geom.dataid,
        geom.matid,
        tuple(position),
        tuple(rotation),
        tuple(size),
        tuple(geom.rgba.tolist()),
        geom.emission,
        geom.specular,
        geom.shininess,
        bool(geom.texcoord),
        is_behind,
        distance,
        geom.reflectance,
    )


def _radius(geom: Any, kind: int, size: Sequence[float]) -> float:
    """`mjv_rbound`."""
    if geom.objtype == OBJECT_GEOM:
        return float(geom.modelrbound)
    x, y, z = size
    known = {SPHERE: x, CAPSULE: x + z, CYLINDER: math.hypot(x, z), BOX: math.hypot(x, y, z)}
    return known.get(kind, max(size))


def _upper_side(box: _Geom, view: _View) -> _Geom:
    """The plane of a box' upper side."""
    normal = np.array(box.rotation[2::3], np.float32)
    x, y, z = (np.array(box.position, np.float32) + np.float32(box.size[2]) * normal).tolist()
    position = (x, y, z)
    to_head = [a - b for a, b in zip(view.head, position, strict=True)]
    is_behind = sum(a * float(b) for a, b in zip(to_head, normal, strict=True)) < 0
    return dataclasses.replace(box, kind=PLANE, position=position, is_behind=is_behind)


def _dimmed(geom: _Geom, reflectance: float) -> _Geom:
    """The geom with its colour times the mirror's reflectance."""
    red, green, blue, alpha = geom.rgba
    colour = [float(np.float32(value * reflectance)) for value in (red, green, blue)]
    return dataclasses.replace(geom, rgba=(colour[0], colour[1], colour[2], alpha))


def _reflection(normal: Array, position: Array) -> Array:
    """(4, 4) float32, column by column: the mirror image in a plane, in MuJoCo's order of operations."""
    outer = normal[:, None] * normal[None, :]
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, :3] -= np.float32(2) * outer
    along = outer[:, 0] * position[0] + outer[:, 1] * position[1] + outer[:, 2] * position[2]
    matrix[3, :3] = np.float32(2) * along
    return matrix


def _to_clip(geom: _Geom, view: _View) -> Array:
    """(4, 4) float32: projection x view x pose."""
    pose = np.eye(4)
    pose[:3, :3] = np.reshape(geom.rotation, (3, 3))
    pose[:3, 3] = geom.position
    product: Array = (view.to_clip @ pose).astype(np.float32)
    return product

"""Which geoms cannot change an image, from their bounding boxes; pure, runs in each worker.

A geom is left out where it is outside of the camera's view, or wholly behind the face of an opaque box, and no mirror
shows it. Software rendering is bound by vertices, so an arm that a camera does not see costs as much as one that it
does; and where a mirror is drawn, MuJoCo draws everything twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ray_eval.envs.libero.meeting import find_drawn_again, find_touching
from ray_eval.envs.libero.meshes import part_bounds, rectangles, triangles
from ray_eval.envs.libero.snapshot import SceneSnapshot
from ray_eval.envs.libero.visibility import Boxes, Camera, Faces, Poses, find_reflected, find_seen
from ray_eval.types import Array, FloatArray

PLANE, BOX, MESH = 0, 6, 7
"""`mjtGeom`. MuJoCo draws reflections in the first two."""
COLLISION_GROUP, VISUAL_GROUP = 0, 1
"""The geom group that is not drawn, and the one whose faces hide what is behind them."""
MARGIN: Final = 1.01
"""Factor on the sizes of bounding boxes and mirrors, far above what float32 in a renderer can differ by."""
MARGIN_M: Final = 0.01
"""Added to their half sizes, m."""
RIM_M: Final = 0.005
"""Width of the rim on which a face is taken to hide nothing, m."""
FACE_M: Final = 0.2
"""Half the length of the sides, m, from which on a face is asked what it hides."""
CLEARANCE_M: Final = 0.05
"""How high over a face the camera is, m, where it is taken to hide anything: the near plane might cut it."""
PART_TRIANGLES: Final = 1000
"""Meshes of more triangles are also judged by their parts."""
UNBOUNDED_M: Final = 1e5
"""Half the length of a plane's sides, m."""

_SPANS: Final = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
"""Axes: a face's normal, and the two in which it lies."""
_TOP: Final = (2, 0, 1)
"""MuJoCo reflects in a plane, and in a box's upper face."""


class SceneBounds:
    """The bounding boxes of one compiled scene's geoms, and which of its geoms are mirrors or hide others.

    Args:
        model: The scene's mjModel, of which only the sites may change afterwards.
    """

    def __init__(self, model: Any) -> None:
        is_drawn = np.asarray(model.geom_group) != COLLISION_GROUP
        is_plane = np.asarray(model.geom_type) == PLANE
        is_box = np.asarray(model.geom_type) == BOX
        self._is_certain = is_drawn & (is_plane | (np.asarray(model.geom_rbound) <= 0))
        self._is_asked = is_drawn & ~self._is_certain
        self._wholes = _wholes(model, np.flatnonzero(self._is_asked))
        corners = {geom: triangles(model, model.geom_dataid[geom]) for geom in _meshes(model, self._is_asked)}
        self._parts = _parts(self._wholes, corners)
        self._mirrors = np.flatnonzero(is_drawn & (is_plane | is_box) & (_reflectance(model, model.geom_matid) > 0))
        sizes = np.where(is_plane[:, None], (UNBOUNDED_M, UNBOUNDED_M, 0), model.geom_size)
        self._mirror_faces = _faces(
            [(int(mirror), _side(sizes[mirror], *_TOP, 1)) for mirror in self._mirrors], MARGIN - 1, MARGIN_M
        )
        self._occluders = _faces(
            [
                *((int(geom), side) for geom in _opaque(model, is_box) for side in _large_sides(sizes[geom])),
                *(
                    (geom, side)
                    for geom in _opaque(model, ~is_box & (model.geom_aabb[:, 3:].max(axis=1) >= FACE_M / 2))
                    if geom in corners
                    for side in rectangles(corners[geom], FACE_M)
                ),
            ],
            0,
            -RIM_M,
        )
        self._slopes = np.tan(np.deg2rad(model.cam_fovy) / 2)
        # Shadows come from outside of the view; a site that is a mirror is not looked for.
        self._is_all_drawn = bool(np.any(model.light_castshadow) or np.any(_reflectance(model, model.site_matid)))

    @property
    def has_mirrors(self) -> bool:
        """Whether any geom mirrors."""
        return len(self._mirrors) > 0

    def unseen(self, snapshot: SceneSnapshot, camera_id: int) -> NDArray[np.bool_]:
        """(ngeom,) True where a geom provably leaves a square image of the camera as it is.

        Planes are never among them; nor is any geom where a light casts shadows.

        Args:
            snapshot: The poses.
            camera_id: A camera of the model, with a symmetric perspective.
        """
        if self._is_all_drawn:
            return np.zeros_like(self._is_certain)
        poses, camera = self._view(snapshot, camera_id)
        is_seen = self._is_asked
        for boxes in (self._wholes, self._parts):
            is_seen = find_seen(boxes, is_seen, self._occluders, poses, camera, CLEARANCE_M)
        is_seen |= self._is_certain
        # MuJoCo reflects in the first mirror that it is given, so either all of them are or none.
        if np.any(is_seen[self._mirrors]):
            is_seen[self._mirrors] = True
            is_seen |= self._reflected(self._is_asked & ~is_seen, poses, camera)
        is_unseen: NDArray[np.bool_] = ~is_seen
        return is_unseen

    def reflected(self, snapshot: SceneSnapshot, camera_id: int) -> NDArray[np.bool_]:
        """(ngeom,) False where no mirror shows a geom to the camera.

        Args:
            snapshot: As in `unseen`.
            camera_id: As in `unseen`.
        """
        is_reflected: NDArray[np.bool_] = self._reflected(self._is_asked, *self._view(snapshot, camera_id))
        is_reflected |= self._is_certain
        return is_reflected

    def drawn_again(
        self, snapshot: SceneSnapshot, is_kept: NDArray[np.bool_], is_drawn: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """(ngeom,) which kept geoms must be drawn again (see `meeting`).

        Args:
            snapshot: The poses.
            is_kept: (ngeom,) what is drawn before all else.
            is_drawn: (ngeom,) what is drawn on top.
        """
        poses = Poses(snapshot.geom_xpos, snapshot.geom_xmat)
        is_again: NDArray[np.bool_] = find_drawn_again(self._wholes, self._parts, is_kept, is_drawn, poses)
        return is_again

    def touching(self, snapshot: SceneSnapshot, is_asked: NDArray[np.bool_], geom: int) -> NDArray[np.bool_]:
        """(ngeom,) which of the geoms asked for may touch one.

        Args:
            snapshot: The poses.
            is_asked: (ngeom,) as said.
            geom: The one.
        """
        poses = Poses(snapshot.geom_xpos, snapshot.geom_xmat)
        is_touching: NDArray[np.bool_] = find_touching(self._wholes, self._parts, is_asked, geom, poses)
        return is_touching

    def _view(self, snapshot: SceneSnapshot, camera_id: int) -> tuple[Poses, Camera]:
        camera = Camera(snapshot.cam_xpos[camera_id], snapshot.cam_xmat[camera_id], self._slopes[camera_id])
        return Poses(snapshot.geom_xpos, snapshot.geom_xmat), camera

    def _reflected(self, is_asked: Array, poses: Poses, camera: Camera) -> Array:
        """Those of the geoms asked for that one of the mirrors may show."""
        is_shown = np.zeros_like(is_asked)
        for mirror in range(len(self._mirrors)):
            is_reflected = is_asked & ~is_shown
            for boxes in (self._wholes, self._parts):
                is_reflected = find_reflected(boxes, is_reflected, self._mirror_faces, mirror, poses, camera)
            is_shown |= is_reflected
        return is_shown


def _wholes(model: Any, geoms: Array) -> Boxes:
    """Boxes around geoms."""
    bounds = np.asarray(model.geom_aabb)[geoms]
    return Boxes(geoms, bounds[:, :3].copy(), MARGIN * bounds[:, 3:] + MARGIN_M)


def _parts(wholes: Boxes, corners: Mapping[int, FloatArray]) -> Boxes:
    """Boxes around the parts of meshes, and around whole geoms of other kinds.

    Args:
        wholes: Around each geom.
        corners: (n, 3, 3) of the triangles of some geoms.
    """
    bodies, centres, half_sizes = [], [], []
    for geom, centre, half_size in zip(*wholes, strict=True):
        middles, halves = centre[None], half_size[None]
        if len(corners.get(geom, ())) > PART_TRIANGLES:
            low, high = part_bounds(corners[geom])
            middles, halves = (low + high) / 2, MARGIN * (high - low) / 2 + MARGIN_M
        bodies.append(np.full(len(middles), geom))
        centres.append(middles)
        half_sizes.append(halves)
    if not bodies:
        return wholes
    return Boxes(np.concatenate(bodies), np.concatenate(centres), np.concatenate(half_sizes))


def _side(size: FloatArray, normal: int, one: int, other: int, sign: int) -> FloatArray:
    """(4, 3) the corners of a box's face, counterclockwise from outside.

    Args:
        size: (3,) the box's half sizes, m.
        normal: The axis of the face's normal, followed by the two others in cyclic order.
        one: As said.
        other: As said.
        sign: On which side of the box.
    """
    corners = np.zeros((4, 3))
    corners[:, normal] = sign * size[normal]
    corners[:, one] = size[one] * np.array([-1, 1, 1, -1])
    corners[:, other] = sign * size[other] * np.array([-1, -1, 1, 1])
    return corners


def _large_sides(size: FloatArray) -> Iterable[FloatArray]:
    """The faces of a box that are asked what they hide."""
    for normal, one, other in _SPANS:
        if min(size[one], size[other]) >= FACE_M:
            yield from (_side(size, normal, one, other, sign) for sign in (-1, 1))


def _faces(chosen: Sequence[tuple[int, FloatArray]], factor: float, rim: float) -> Faces:
    """Rectangles of geoms, made wider.

    Args:
        chosen: Geoms, and (4, 3) the corners of a rectangle, counterclockwise from its front.
        factor: Wider on each side by so many times half its length,
        rim: and by so many m.
    """
    bodies = np.array([geom for geom, _ in chosen], dtype=np.int64)
    corners = np.array([rectangle for _, rectangle in chosen], dtype=np.float64).reshape(-1, 4, 3)
    across, along = corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0]
    wider = np.zeros_like(corners)
    for side, signs in ((across, (-1, 1, 1, -1)), (along, (-1, -1, 1, 1))):
        length = np.linalg.norm(side, axis=1, keepdims=True)
        wider += (side / length * (factor * length / 2 + rim))[:, None] * np.array(signs)[None, :, None]
    normals = np.cross(across, along)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Faces(bodies, normals, corners.mean(axis=1), corners + wider)


def _meshes(model: Any, is_asked: Array) -> list[int]:
    """Geoms that are meshes."""
    return [int(geom) for geom in np.flatnonzero(is_asked & (model.geom_type == MESH) & (model.geom_dataid >= 0))]


def _opaque(model: Any, is_asked: Array) -> list[int]:
    """Geoms that are drawn and through which nothing is seen; none where the near plane may cut them."""
    if model.vis.map.znear * model.stat.extent > CLEARANCE_M / 2:
        return []
    material_alpha = np.append(model.mat_rgba[:, 3], 1.0)[model.geom_matid]  # -1: none
    is_opaque = (model.geom_rgba[:, 3] >= 1) & (material_alpha >= 1) & (model.geom_group == VISUAL_GROUP)
    return [int(geom) for geom in np.flatnonzero(is_opaque & is_asked)]


def _reflectance(model: Any, materials: Array) -> FloatArray:
    """(len(materials),) 0 where there is none."""
    reflectance: FloatArray = np.append(model.mat_reflectance, 0.0)[materials]  # -1: none
    return reflectance

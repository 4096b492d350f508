"""Which geoms cannot change an image, from their bounding boxes; pure, runs in each worker.

A geom is left out where it is outside of the camera's view, or wholly behind the face of an opaque box, and no mirror
shows it. Software rendering is bound by vertices, so an arm that a camera does not see costs as much as one that it
does; and where a mirror is drawn, MuJoCo draws everything twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ray_eval.envs.libero.snapshot import SceneSnapshot
from ray_eval.envs.libero.visibility import Boxes, Camera, Faces, Poses, find_reflected, find_seen
from ray_eval.types import Array, FloatArray

PLANE, BOX = 0, 6
"""`mjtGeom` of what MuJoCo draws reflections in."""
COLLISION_GROUP, VISUAL_GROUP = 0, 1
"""The geom group that is not drawn, and the one whose boxes hide what is behind them."""
MARGIN: Final = 1.01
"""Factor on the sizes of bounding boxes and mirrors, far above what float32 in a renderer can differ by."""
MARGIN_M: Final = 0.01
"""Added to their half sizes, m."""
RIM_M: Final = 0.005
"""Width of the rim on which a face is taken to hide nothing, m."""
FACE_M: Final = 0.1
"""Half the length of the sides, m, from which on a face is asked what it hides."""
CLEARANCE_M: Final = 0.05
"""How high over a face the camera is, m, where it is taken to hide anything: the near plane might cut it."""
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
        bounded = np.flatnonzero(is_drawn & ~self._is_certain)
        bounds = np.asarray(model.geom_aabb)[bounded]
        self._boxes = Boxes(bounded, bounds[:, :3].copy(), MARGIN * bounds[:, 3:] + MARGIN_M)
        self._mirrors = np.flatnonzero(is_drawn & (is_plane | is_box) & (_reflectance(model, model.geom_matid) > 0))
        sizes = np.where(is_plane[:, None], (UNBOUNDED_M, UNBOUNDED_M, 0), model.geom_size)
        wide = np.column_stack([MARGIN * sizes[:, :2] + MARGIN_M, sizes[:, 2]])
        self._mirror_faces = _faces([(int(mirror), *_TOP, 1) for mirror in self._mirrors], sizes, wide)
        faces = [(int(box), *span, sign) for box in _occluding_boxes(model) for span in _SPANS for sign in (-1, 1)]
        large = [face for face in faces if np.all(sizes[face[0], face[2:4]] >= FACE_M)]
        self._occluders = _faces(large, sizes, sizes - RIM_M)
        self._slopes = np.tan(np.deg2rad(model.cam_fovy) / 2)
        # Shadows come from outside of the view; a site that is a mirror is not looked for.
        self._is_all_drawn = bool(np.any(model.light_castshadow) or np.any(_reflectance(model, model.site_matid)))

    def unseen(self, snapshot: SceneSnapshot, camera_id: int) -> NDArray[np.bool_]:
        """(ngeom,) True where a geom provably leaves a square image of the camera as it is.

        Planes are never among them; nor is any geom where a light casts shadows.

        Args:
            snapshot: The poses.
            camera_id: A camera of the model, with a symmetric perspective.
        """
        if self._is_all_drawn:
            return np.zeros_like(self._is_certain)
        poses = Poses(snapshot.geom_xpos, snapshot.geom_xmat)
        camera = Camera(snapshot.cam_xpos[camera_id], snapshot.cam_xmat[camera_id], self._slopes[camera_id])
        is_seen = self._is_certain.copy()
        is_seen[self._boxes.bodies] = find_seen(self._boxes, self._occluders, poses, camera, CLEARANCE_M)
        # MuJoCo reflects in the first mirror that it is given, so either all of them are or none.
        if np.any(is_seen[self._mirrors]):
            is_seen[self._mirrors] = True
            for mirror in range(len(self._mirrors)):
                is_seen[self._boxes.bodies] |= find_reflected(self._boxes, self._mirror_faces, mirror, poses, camera)
        is_unseen: NDArray[np.bool_] = ~is_seen
        return is_unseen


def _faces(chosen: Iterable[tuple[int, ...]], sizes: FloatArray, extents: FloatArray) -> Faces:
    """Faces of boxes.

    Args:
        chosen: Of each face the geom, the axis of its normal, the two others, and on which side it is.
        sizes: (ngeom, 3) half sizes, m, for where a face is.
        extents: (ngeom, 3) half sizes, m, for how far it reaches.
    """
    unit = np.eye(3)
    bodies, normals, centres, corners = [], [], [], []
    for geom, normal, one, other, sign in chosen:
        bodies.append(geom)
        normals.append(sign * unit[normal])
        centres.append(sizes[geom, normal] * normals[-1])
        across, along = extents[geom, one] * unit[one], extents[geom, other] * unit[other]
        corners.append([centres[-1] + x * across + y * along for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
    return Faces(
        np.array(bodies, dtype=np.int64),
        np.array(normals, dtype=np.float64).reshape(-1, 3),
        np.array(centres, dtype=np.float64).reshape(-1, 3),
        np.array(corners, dtype=np.float64).reshape(-1, 4, 3),
    )


def _occluding_boxes(model: Any) -> Array:
    """Boxes that are drawn and through which nothing is seen; none where the near plane may cut them."""
    if model.vis.map.znear * model.stat.extent > CLEARANCE_M / 2:
        return np.empty(0, dtype=np.intp)
    material_alpha = np.append(model.mat_rgba[:, 3], 1.0)[model.geom_matid]  # -1: none
    is_opaque = (model.geom_rgba[:, 3] >= 1) & (material_alpha >= 1)
    return np.flatnonzero(is_opaque & (model.geom_type == BOX) & (model.geom_group == VISUAL_GROUP))


def _reflectance(model: Any, materials: Array) -> FloatArray:
    """(len(materials),) 0 where there is none."""
    reflectance: FloatArray = np.append(model.mat_reflectance, 0.0)[materials]  # -1: none
    return reflectance

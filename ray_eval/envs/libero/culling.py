"""Which geoms cannot appear in an image, from their bounding spheres; pure, runs in each worker.

What is outside of the camera's view, and outside as seen in every mirror, is not sent to the renderer. Software
rendering is bound by vertices, so an arm that a camera does not see costs as much as one that it does.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ray_eval.envs.libero.snapshot import SceneSnapshot
from ray_eval.types import FloatArray

PLANE, BOX = 0, 6
"""`mjtGeom` of what MuJoCo draws reflections in."""
MARGIN: Final = 1.01
"""Factor on bounding radii, far above what float32 in a renderer can differ by."""
MARGIN_M: Final = 0.01
"""Added to bounding radii, m."""


def unseen_geoms(model: Any, snapshot: SceneSnapshot, camera_id: int) -> NDArray[np.bool_]:
    """(ngeom,) True where a geom provably leaves a square image of the camera as it is.

    Geoms without a bounding sphere (planes) are never among them; nor is any where a light casts shadows, which come
    from outside of the view.

    Args:
        model: The scene's mjModel.
        snapshot: The poses.
        camera_id: A camera of the model, with a symmetric perspective.
    """
    radii = np.asarray(model.geom_rbound)
    if np.any(model.light_castshadow):
        return np.zeros(len(radii), dtype=np.bool_)
    centres = snapshot.geom_xpos
    reach = MARGIN * radii + MARGIN_M
    is_seen = radii <= 0
    mirrors = _mirrors(model)
    is_seen[mirrors] = True  # MuJoCo reflects in the first one that it is given
    for apparent in (centres, *(_reflected(model, snapshot, mirror) for mirror in mirrors)):
        is_seen |= _in_view(model, snapshot, camera_id, apparent, reach)
    return ~is_seen


def _in_view(
    model: Any, snapshot: SceneSnapshot, camera_id: int, centres: FloatArray, reach: FloatArray
) -> NDArray[np.bool_]:
    """(n,) whether spheres may reach into the pyramid of the camera's view."""
    # A camera looks along its -z, its x to the right and its y up.
    right, up, back = ((centres - snapshot.cam_xpos[camera_id]) @ snapshot.cam_xmat[camera_id].reshape(3, 3)).T
    depth = -back
    slope = np.tan(np.deg2rad(model.cam_fovy[camera_id]) / 2)
    beyond_side = np.maximum(np.abs(right), np.abs(up)) - slope * depth  # scaled by the side's length
    is_in_view: NDArray[np.bool_] = (depth > -reach) & (beyond_side < reach * np.sqrt(1 + slope * slope))
    return is_in_view


def _mirrors(model: Any) -> NDArray[np.intp]:
    """Geoms that may show reflections."""
    has_material = np.asarray(model.geom_matid) >= 0
    reflectance = np.where(has_material, np.asarray(model.mat_reflectance)[model.geom_matid], 0.0)
    return np.flatnonzero((reflectance > 0) & np.isin(model.geom_type, (PLANE, BOX)))


def _reflected(model: Any, snapshot: SceneSnapshot, mirror: np.intp) -> FloatArray:
    """(ngeom, 3) the geoms' centres as a plane, or the upper side of a box, shows them."""
    normal = snapshot.geom_xmat[mirror].reshape(3, 3)[:, 2]
    height = model.geom_size[mirror, 2] if model.geom_type[mirror] == BOX else 0.0
    from_mirror = snapshot.geom_xpos - (snapshot.geom_xpos[mirror] + height * normal)
    reflected: FloatArray = snapshot.geom_xpos - 2 * np.outer(from_mirror @ normal, normal)
    return reflected

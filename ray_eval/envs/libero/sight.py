"""What a filled mjvScene shows to its camera, and whether a kept image may be part of it; runs in each worker."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Final

import mujoco
import numpy as np
from numpy.typing import NDArray

from ray_eval.envs.libero.culling import BOX, PLANE, SceneBounds
from ray_eval.envs.libero.scene_geoms import pictured
from ray_eval.envs.libero.snapshot import SceneSnapshot
from ray_eval.types import Array, FloatArray

OPAQUE: Final = 0.995
"""Alpha from which on `mjr_render` takes a geom as opaque. Source: MuJoCo 3.2.3 src/render/render_gl3.c."""
ON_EDGE_M: Final = 0.001
"""A camera less than this above or below a plane is taken for neither, m."""

_GEOM: Final = int(mujoco.mjtObj.mjOBJ_GEOM)
_SHADOW: Final = int(mujoco.mjtRndFlag.mjRND_SHADOW)
_REFLECTION: Final = int(mujoco.mjtRndFlag.mjRND_REFLECTION)
_ELSEWHERE: Final = ("ngeom", "geoms", "geomorder", "lights", "camera")

Mask = NDArray[np.bool_]
"""(ngeom,), by geom of the model."""


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """One image to be drawn."""

    frame: bytes
    """All that it depends on beside its geoms: cameras, lights, flags."""
    rows: Array
    """Every geom of the scene, sites included, as `mjr_render` would draw them in their order."""
    geoms: Array
    """(ngeom,) those of the model (see `scene_geoms.pictured`)."""
    is_seen: Mask
    """Which may be seen at all."""
    is_opaque: Mask
    """Which surely count as opaque, so that none of their samples depends on what was drawn before."""
    first: int
    """The mirror, which `mjr_render` draws before all others; -1 where there is none."""
    is_reflecting: bool
    """Whether it shows the others: not to a camera below it."""
    is_reflected: Mask
    """Which it may show."""

    @property
    def mirror(self) -> int:
        """The geom that shows others; -1 for none."""
        return self.first if self.is_reflecting else -1


def sight(scene: Any, rows: Array, bounds: SceneBounds, snapshot: SceneSnapshot, camera_id: int) -> Sight | None:
    """What the scene shows; None where an image is not just its geoms one over the other.

    That is: shadows, a second mirror, a camera in a mirror's plane, an endless plane (which follows the camera, and has
    a haze), labels, skins, flexes, stereo. LIBERO has none of them.

    Args:
        scene: A `mujoco.MjvScene`, filled.
        rows: Its memory (see `scene_geoms`).
        bounds: Of the model's geoms.
        snapshot: The poses with which it was filled.
        camera_id: The camera with which it was filled.
    """
    present = rows[: scene.ngeom].copy()
    is_geom = present["objtype"] == _GEOM
    ids = present["objid"][is_geom]
    is_endless = (present["type"] == PLANE) & np.any(present["size"][:, :2] <= 0, axis=1)
    if _has_more(scene) or np.any(np.diff(ids) <= 0) or np.any(is_endless) or np.any(present["label"] != b""):
        return None
    geoms = pictured(present[is_geom], len(snapshot.geom_xpos))
    heights = _heights(scene, geoms)
    is_plane = geoms["type"] == PLANE
    is_opaque = (geoms["rgba"][:, 3] >= OPAQUE) & (~is_plane | (heights > ON_EDGE_M))
    is_there = np.zeros(len(geoms), dtype=np.bool_)
    is_there[ids] = True
    is_seen = is_there & ~bounds.unseen(snapshot, camera_id)
    is_mirror = is_seen & is_opaque & (is_plane | (geoms["type"] == BOX)) & (geoms["reflectance"] > 0)
    mirrors = np.flatnonzero(is_mirror)
    if len(mirrors) > 1 or np.any(np.abs(heights[mirrors]) <= ON_EDGE_M):
        return None
    is_reflecting = bool(scene.flags[_REFLECTION] and np.any(heights[mirrors] > 0))
    return Sight(
        frame=_frame(scene),
        rows=present,
        geoms=geoms,
        is_seen=is_seen,
        is_opaque=is_opaque,
        first=int(mirrors[0]) if len(mirrors) else -1,
        is_reflecting=is_reflecting,
        is_reflected=bounds.reflected(snapshot, camera_id) if is_reflecting else np.zeros_like(is_seen),
    )


def face(boxes: Array) -> Array:
    """(n,) the planes in which MuJoCo reflects: planes as they are, the upper sides of boxes.

    Args:
        boxes: (n,) of `scene_geoms.GEOM`, of both types.
    """
    faces = boxes.copy()
    is_box = faces["type"] == BOX
    up = faces["mat"].reshape(-1, 3, 3)[:, :, 2]
    faces["pos"][is_box] += (faces["size"][:, 2:] * up)[is_box]
    faces["type"][is_box] = PLANE
    return faces


def _heights(scene: Any, geoms: Array) -> FloatArray:
    """(n,) m, how high the camera is over the face of each."""
    camera = (scene.camera[0].pos + scene.camera[1].pos) / 2
    faces = face(geoms)
    heights: FloatArray = np.einsum("ij,ij->i", camera - faces["pos"], faces["mat"].reshape(-1, 3, 3)[:, :, 2])
    return heights


def _has_more(scene: Any) -> bool:
    is_shadowed = scene.flags[_SHADOW] and any(scene.lights[index].castshadow for index in range(scene.nlight))
    return bool(is_shadowed or scene.nskin or scene.nflex or scene.stereo or scene.framewidth)


def _frame(scene: Any) -> bytes:
    parts = [scene, *scene.camera, *(scene.lights[index] for index in range(scene.nlight))]
    return b"|".join(np.asarray(getattr(part, name)).tobytes() for part in parts for name in _fields(part.__class__))


@functools.cache
def _fields(kind: type) -> tuple[str, ...]:
    """Numbers that a part of an mjvScene has, but those that count or hold its geoms."""
    return tuple(name for name in dir(kind) if not name.startswith(("_", "flex", "skin")) and name not in _ELSEWHERE)

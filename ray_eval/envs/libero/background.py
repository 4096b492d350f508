"""Images of a scene of which what stands still was drawn before; runs in each worker.

`mjr_render` draws as ever, but begins with a kept image (see `kept_image`) and is not given what that shows. Two are
kept for a camera: one of the geoms that belong to the world, and drawn on top of it one that also has what lies still.
Each is used while the bytes that `mjr_render` would read for it are the same: every kept geom's, the camera's, the
lights', the flags'. What OpenGL holds of meshes and textures is not among them: a context whose meshes or textures are
uploaded again needs a new `Background`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import mujoco
import numpy as np
from OpenGL import GL  # type: ignore[import-untyped]

from ray_eval.envs.libero.culling import MESH, SceneBounds
from ray_eval.envs.libero.draw_lists import DrawLists
from ray_eval.envs.libero.keeping import SIMPLE, Stillness
from ray_eval.envs.libero.kept_image import DrawnScene, KeptImage
from ray_eval.envs.libero.scene_geoms import geom_rows, is_equal
from ray_eval.envs.libero.sight import Mask, Sight, sight
from ray_eval.envs.libero.snapshot import SceneSnapshot
from ray_eval.types import Array

SOFTWARE: Final = ("llvmpipe", "softpipe")
"""Renderers whose time goes with triangles; on others nothing was measured."""

_GEOM: Final = int(mujoco.mjtObj.mjOBJ_GEOM)
_JOINTS: Final = (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """A kept image and all that it depends on."""

    image: KeptImage
    plain: KeptImage
    """The same without reflections; where nothing is reflected, the same one."""
    frame: bytes
    mirror: int
    has_ties: bool
    """Whether a sample is as deep as the mirror's, which comes first, so that all must be drawn again."""
    is_kept: Mask
    geoms: Array
    """The kept ones."""

    def shows(self, seen: Sight) -> bool:
        """Whether it is what would be drawn now."""
        is_same = self.frame == seen.frame and self.mirror == seen.mirror
        return is_same and bool(is_equal(self.geoms, seen.geoms[self.is_kept]).all())


class Background:
    """One camera's images of a compiled scene, through robosuite's render context.

    Args:
        context: robosuite's context, current; its scene has been filled, and images of the size fit into it.
        model: The mjModel.
        bounds: Of its geoms.
        camera_id: The camera.
        size_px: Height and width of images.

    Raises:
        OpenGL.error.Error: this OpenGL refuses what is needed.
        NotImplementedError: this MuJoCo, or this OpenGL, is none that is known.
    """

    def __init__(self, context: Any, model: Any, bounds: SceneBounds, camera_id: int, size_px: int) -> None:
        rows, renderer = geom_rows(context.scn), GL.glGetString(GL.GL_RENDERER).decode()
        if rows is None:
            raise NotImplementedError(f"mjvGeom: expected it as in MuJoCo 3.2.3, got {mujoco.__version__}'s")
        if not renderer.startswith(SOFTWARE):
            raise NotImplementedError(f"OpenGL: expected a renderer in software, got {renderer}")
        self.con = context.con
        """The `mujoco.MjrContext` to which all of it belongs."""
        self._drawn = DrawnScene(context.con, context.scn, rows, DrawLists(context.con, size_px), size_px)
        self._bounds, self._camera_id = bounds, camera_id
        self._is_fixed: Mask = model.body_weldid[model.geom_bodyid] == 0
        self._is_camera_fixed = _is_fixed(model, camera_id)
        self._stillness = Stillness(_triangles(model), self._is_fixed, _is_driven(model))
        self._images: dict[str, KeptImage] = {}
        self._fixed: _Kept | None = None
        self._resting: _Kept | None = None

    @staticmethod
    def is_of_use(model: Any, bounds: SceneBounds, camera_id: int) -> bool:
        """Whether it can ever draw anything: the camera stands still, or there is a mirror."""
        return _is_fixed(model, camera_id) or bounds.has_mirrors

    def draw(self, snapshot: SceneSnapshot) -> bool:
        """Draws what the scene was filled with; False where it is to be drawn as ever.

        Args:
            snapshot: The poses with which it was filled.
        """
        seen = sight(self._drawn.scene, self._drawn.rows, self._bounds, snapshot, self._camera_id)
        if seen is None:
            return False
        kept = self._choose(seen, snapshot) if self._is_camera_fixed else None
        if kept is not None:
            self._draw_on(kept, seen, snapshot)
        elif seen.is_reflecting:
            rows = self._once(seen.rows[self._is_row_of(seen, seen.is_seen)], seen)
            self._drawn.draw(rows, source=None, has_mirror=True)
        else:
            return False
        return True

    def begin_episode(self) -> None:
        """Things lie elsewhere from now on."""
        self._stillness.begin()

    def free(self) -> None:
        """Gives OpenGL's memory back; the context is current."""
        for image in self._images.values():
            image.free()

    def _choose(self, seen: Sight, snapshot: SceneSnapshot) -> _Kept | None:
        """The kept image to draw on, made where that is worth it."""
        self._stillness.see(seen.frame, seen.geoms)
        lasting = self._is_fixed & seen.is_seen & seen.is_opaque
        if seen.first >= 0 and not lasting[seen.first]:
            return None  # a mirror that moves
        if self._fixed is None or not self._fixed.shows(seen):
            self._fixed = self._keep_fixed(lasting, seen, snapshot) if self._stillness.is_calm else None
        resting = self._resting if self._resting is not None and self._resting.shows(seen) else None
        kept = resting or self._fixed
        if kept is None:
            return None
        wanted = kept.is_kept | (self._stillness.is_still & seen.is_seen & seen.is_opaque)
        if self._stillness.is_worth_keeping(wanted, ~kept.is_kept, seen.is_reflected):
            kept = self._resting = self._keep_resting(kept, wanted, seen, snapshot)
        return kept

    def _keep_fixed(self, is_kept: Mask, seen: Sight, snapshot: SceneSnapshot) -> _Kept:
        """Draws and keeps geoms of the world; the mirror is among them."""
        plain = self._image("fixed")
        plain.take(self._drawn, seen.geoms[is_kept])
        return self._with_reflections("fixed", plain, is_kept, seen, snapshot)

    def _keep_resting(self, below: _Kept, is_kept: Mask, seen: Sight, snapshot: SceneSnapshot) -> _Kept:
        """Draws what lies still on top of what is kept already, and keeps that."""
        plain = self._image("resting")
        is_drawn = is_kept & ~below.is_kept
        is_drawn |= self._drawn_again(below.is_kept, is_drawn, seen, snapshot)
        plain.take(self._drawn, seen.geoms[is_drawn], source=below.plain.name)
        return self._with_reflections("resting", plain, is_kept, seen, snapshot)

    def _image(self, name: str) -> KeptImage:
        if name not in self._images:
            self._images[name] = KeptImage(self.con, self._drawn.size_px)
        return self._images[name]

    def _with_reflections(
        self, name: str, plain: KeptImage, is_kept: Mask, seen: Sight, snapshot: SceneSnapshot
    ) -> _Kept:
        """What is kept, with what the mirror shows of it.

        Args:
            name: Of the image.
            plain: What was drawn without reflections.
            is_kept: The geoms; the mirror is among them.
            seen: As they are now.
            snapshot: Likewise.
        """
        image, has_ties = plain, False
        if seen.is_reflecting:
            image, mirror, others = self._image(f"{name}, reflected"), seen.geoms[[seen.mirror]], is_kept.copy()
            others[seen.mirror] = False
            touching = self._bounds.touching(snapshot, others, seen.mirror)
            has_ties = plain.has_ties(self._drawn, mirror, seen.geoms[touching])
            image.take_reflections(self._drawn, plain, mirror, seen.geoms[others & seen.is_reflected])
        return _Kept(image, plain, seen.frame, seen.mirror, has_ties, is_kept, seen.geoms[is_kept])

    def _draw_on(self, kept: _Kept, seen: Sight, snapshot: SceneSnapshot) -> None:
        is_drawn = seen.is_seen & ~kept.is_kept
        again = self._drawn_again(kept.is_kept, is_drawn, seen, snapshot)
        if kept.has_ties:
            again = _below(kept.is_kept, seen)
        if seen.is_reflecting:
            is_drawn[seen.mirror] = True
        rows = self._once(seen.rows[self._is_row_of(seen, is_drawn | again)], seen)
        self._drawn.draw(rows, source=kept.image.name, has_mirror=seen.is_reflecting)

    def _drawn_again(self, is_kept: Mask, is_drawn: Mask, seen: Sight, snapshot: SceneSnapshot) -> Mask:
        """Which kept geoms are drawn once more over themselves, as some of what is drawn comes before them."""
        return self._bounds.drawn_again(snapshot, _below(is_kept, seen), is_drawn)

    @staticmethod
    def _is_row_of(seen: Sight, is_drawn: Mask) -> Array:
        """(n,) bool: the rows of these geoms, and all that are no geoms of the model."""
        is_geom = seen.rows["objtype"] == _GEOM
        return np.asarray(~is_geom | is_drawn[np.where(is_geom, seen.rows["objid"], 0)])

    def _once(self, rows: Array, seen: Sight) -> Array:
        """The rows, of which meshes that the mirror does not show are drawn directly only."""
        is_hidden = (rows["objtype"] == _GEOM) & (rows["type"] == MESH) & (rows["dataid"] >= 0)
        if seen.is_reflecting:
            is_hidden[is_hidden] = ~seen.is_reflected[rows["objid"][is_hidden]]
            rows["dataid"][is_hidden] = self._drawn.lists.drawn_once(rows["dataid"][is_hidden])
        return rows


def _is_fixed(model: Any, camera_id: int) -> bool:
    return bool(model.body_weldid[model.cam_bodyid[camera_id]] == 0)


def _below(is_kept: Mask, seen: Sight) -> Mask:
    """The kept geoms that something else may come before: all that are seen but the mirror, which is the first."""
    below = is_kept & seen.is_seen
    if seen.first >= 0:
        below[seen.first] = False
    return below


def _is_driven(model: Any) -> Mask:
    """(ngeom,) whether an actuator moves a joint of the tree that a geom belongs to, or something else than a joint."""
    is_by_joint = np.isin(model.actuator_trntype, _JOINTS)
    if not is_by_joint.all():
        return np.ones(model.ngeom, dtype=np.bool_)
    roots = model.body_rootid[model.jnt_bodyid[model.actuator_trnid[:, 0]]]
    return np.isin(model.body_rootid[model.geom_bodyid], roots)


def _triangles(model: Any) -> Array:
    """(ngeom,) of each geom."""
    is_mesh = (model.geom_type == MESH) & (model.geom_dataid >= 0)
    return np.where(is_mesh, np.append(model.mesh_facenum, 0)[model.geom_dataid], SIMPLE).astype(np.int64)

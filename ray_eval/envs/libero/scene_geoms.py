"""The geoms of an mjvScene as rows of memory: what `mjr_render` reads of them, byte for byte; runs in each worker."""

from __future__ import annotations

import ctypes
from typing import Any, Final

import numpy as np

from ray_eval.types import Array

GEOM: Final = np.dtype(
    [
        *(
            (name, np.int32)
            for name in ("type", "dataid", "objtype", "objid", "category", "matid", "texcoord", "segid")
        ),
        *((name, np.float32, count) for name, count in (("size", 3), ("pos", 3), ("mat", 9), ("rgba", 4))),
        *((name, np.float32) for name in ("emission", "specular", "shininess", "reflectance")),
        ("label", "S100"),
        ("camdist", np.float32),
        ("modelrbound", np.float32),
        ("transparent", np.uint8),
        ("padding", np.uint8, 3),
    ]
)
"""`mjvGeom`. Source: MuJoCo 3.2.3 include/mujoco/mjvisualize.h."""

SET_WHILE_DRAWN: Final = ("segid", "camdist", "transparent", "padding")
"""Fields that count, or that `mjr_render` writes itself: no image depends on what they were before."""

_RECOGNISED_BY: Final = tuple(name for name in GEOM.names or () if name not in {"label", "transparent", "padding"})


def geom_rows(scene: Any) -> Array | None:
    """(maxgeom,) of `GEOM`, the memory of an mjvScene; None where this MuJoCo lays it out otherwise.

    Args:
        scene: A `mujoco.MjvScene` that has been filled; it must outlive the rows.
    """
    geoms = scene.geoms
    if scene.ngeom < 2:
        return None
    begin = geoms[0].size.ctypes.data - GEOM.fields["size"][1]  # type: ignore[index]
    if geoms[1].size.ctypes.data - geoms[0].size.ctypes.data != GEOM.itemsize:
        return None
    memory = (ctypes.c_char * (scene.maxgeom * GEOM.itemsize)).from_address(begin)
    rows = np.frombuffer(memory, GEOM)
    is_known = all(_is_same(row, geom) for row, geom in zip(rows[: scene.ngeom], geoms, strict=False))
    return rows if is_known else None


def pictured(rows: Array, count: int) -> Array:
    """(count,) of `GEOM`: by geom of the model what an image depends on; zeros where a geom is not drawn.

    Args:
        rows: The geoms of the model among a scene's.
        count: How many geoms the model has.
    """
    found = np.zeros(count, GEOM)
    found[rows["objid"]] = rows
    for name in SET_WHILE_DRAWN:
        found[name] = 0
    return found


def is_equal(one: Array, other: Array) -> Array:
    """(n,) bool: which rows have the same bytes."""
    return np.asarray((_words(one) == _words(other)).all(axis=1))


def _words(rows: Array) -> Array:
    return np.ascontiguousarray(rows).view(np.uint32).reshape(len(rows), -1)


def _is_same(row: Any, geom: Any) -> bool:
    return all(np.array_equal(np.ravel(row[name]), np.ravel(getattr(geom, name))) for name in _RECOGNISED_BY)

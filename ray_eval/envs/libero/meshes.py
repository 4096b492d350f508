"""What `culling` knows of a mesh beyond its bounding box: smaller boxes around its parts, and its large rectangles."""

from __future__ import annotations

import itertools
from typing import Any, Final

import numpy as np

from ray_eval.types import FloatArray

CELLS: Final = 3
"""Into how many parts a mesh is cut along each axis."""
FLATNESS: Final = 1e-4
"""By how much, m, a rectangle's corners may be off, and the least angle between its triangles."""


def triangles(model: Any, mesh: int) -> FloatArray:
    """(n, 3, 3) the corners of a mesh's triangles, m."""
    first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    vertices = np.asarray(model.mesh_vert[first : first + count], dtype=np.float64)
    first, count = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    corners: FloatArray = vertices[model.mesh_face[first : first + count]]
    return corners


def part_bounds(corners: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(k, 3) low and high ends of boxes that hold whole triangles, and together all of them.

    Args:
        corners: (n, 3, 3) of the triangles.
    """
    one, two, three = corners.swapaxes(0, 1)
    low, high = np.minimum(np.minimum(one, two), three), np.maximum(np.maximum(one, two), three)
    begin, end = low.min(axis=0), high.max(axis=0)
    place = (low + high - 2 * begin) / np.maximum(2 * (end - begin), np.finfo(np.float64).tiny)
    cell = np.minimum((CELLS * place).astype(np.int64), CELLS - 1) @ (CELLS * CELLS, CELLS, 1)
    order = np.argsort(cell, kind="stable")
    _, starts = np.unique(cell[order], return_index=True)
    return np.minimum.reduceat(low[order], starts), np.maximum.reduceat(high[order], starts)


def rectangles(corners: FloatArray, half_size: float) -> FloatArray:
    """(k, 4, 3) corners of rectangles that two triangles with a side in common make, counterclockwise from the front.

    Args:
        corners: (n, 3, 3) of the triangles, each counterclockwise as seen from its front.
        half_size: Half the least length of a side, m.
    """
    reach = np.abs(corners[:, 1:] - corners[:, :1]).reshape(-1, 6)
    large = corners[np.any(np.greater_equal(reach.T, half_size), axis=0)]  # of most there is no more to ask
    normals = np.cross(large[:, 1] - large[:, 0], large[:, 2] - large[:, 0])
    sizes = np.linalg.norm(normals, axis=1)
    is_large = sizes >= 4 * half_size * half_size
    large, normals = large[is_large], normals[is_large] / sizes[is_large, None]
    found = []
    for (one, up), (other, also_up) in itertools.combinations(zip(large, normals, strict=True), 2):
        is_common = np.all(one[:, None] == other[None], axis=2)
        if is_common.sum() != 2 or up @ also_up < 1 - FLATNESS**2:
            continue
        tip = int(np.flatnonzero(~is_common.any(axis=1))[0])
        opposite = other[~is_common.any(axis=0)][0]
        around = np.array([one[tip], one[(tip + 1) % 3], opposite, one[(tip + 2) % 3]])
        if _is_rectangle(around, half_size):
            found.append(around)
    return np.array(found).reshape(-1, 4, 3)


def _is_rectangle(around: FloatArray, half_size: float) -> bool:
    """Whether four points are in order the corners of a rectangle that is large enough."""
    centre = around.mean(axis=0)
    lengths = np.linalg.norm(around - centre, axis=1)
    is_parallelogram = np.abs(around[0] + around[2] - around[1] - around[3]).max() < FLATNESS
    is_large = np.linalg.norm(np.diff(around, axis=0), axis=1).min() >= 2 * half_size
    return bool(is_parallelogram and np.ptp(lengths) < FLATNESS and is_large)

"""Which triangles of a mesh can own a sample of an image; runs in each worker, as machine code, and knows no GL.

A triangle is left out only where it provably changes nothing: it faces away, lies outside of the image, or falls
between the image's samples. Every comparison gives way by more than the rasterizer and this arithmetic can err
together, so that what is in doubt is drawn.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ray_eval.types import Array

SNAP_PX: Final = 1.1 / 512
"""How far rasterizers move a vertex, which they snap to 1/256 px."""
ROUNDINGS: Final = 24
"""Bound of the roundings that a window coordinate has seen: 18 in GL (three products of matrices, one with the
vertex, and the division by the depth), 6 here."""
LARGEST_BOX_PX: Final = 64
"""Triangles whose bounding box has more pixels are drawn without a look at their samples."""

_EXACT: Final[dict[str, Any]] = {"cache": True, "error_model": "numpy"}


def slack_px(extent: float, focal_px: float, size_px: int, least_depth: float) -> float:
    """How far a coordinate of a vertex, no more than half an image outside of it, may be from what is computed, px.

    Args:
        extent: Bound of the magnitudes that a vertex' eye coordinates are summed from, m.
        focal_px: Focal length.
        size_px: The image's longer side.
        least_depth: Depth of the nearest vertex that is judged, m.
    """
    unit_roundoff = 2.0**-24
    return SNAP_PX + ROUNDINGS * unit_roundoff * (extent * (focal_px + size_px) / least_depth + size_px)


@njit(**_EXACT)  # type: ignore[untyped-decorator]
def project(points: Array, matrix: Array, width: float, height: float, window: Array) -> float:
    """Fills window (n, 4) with x px, y px and depth m of points (3, n); returns the least positive depth.

    Args:
        points: (3, n) float32 in the frame of the mesh.
        matrix: (4, 4) float32, projection x view x pose.
        width: Of the image, px.
        height: Of the image, px.
        window: (n, 4) float32, filled; the last column is not used.
    """
    half_width, half_height = np.float32(width / 2), np.float32(height / 2)
    least = np.float32(np.inf)
    for index in range(points.shape[1]):
        x, y, z = points[0, index], points[1, index], points[2, index]
        depth = matrix[3, 0] * x + matrix[3, 1] * y + matrix[3, 2] * z + matrix[3, 3]
        clip_x = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3]
        clip_y = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3]
        window[index, 0] = clip_x / depth * half_width + half_width
        window[index, 1] = clip_y / depth * half_height + half_height
        window[index, 2] = depth
        if depth > 0:
            least = min(least, depth)
    return float(least)


@njit(**_EXACT)  # type: ignore[untyped-decorator]
def facing(window: Array, faces: Array, limits: Array, kept: Array) -> int:
    """Writes into kept which faces may face the image and reach into it; returns how many.

    Args:
        window: (n, 4) as `project` fills it.
        faces: (m, 3) uint32 indices into window.
        limits: (5,) float32: width and height of the image, px; `slack_px`; depth below which nothing is judged, m,
            and below half of which a face is behind the near plane; 1 where faces that face the image turn
            anticlockwise in it, -1 where they turn clockwise, as in a mirror.
        kept: (m,) uint32, filled.
    """
    slack, near, turn = limits[2], limits[3], limits[4]
    width, height = limits[0] + slack, limits[1] + slack
    count = 0
    for face in range(faces.shape[0]):
        i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
        x0, y0, d0 = window[i, 0], window[i, 1], window[i, 2]
        x1, y1, d1 = window[j, 0], window[j, 1], window[j, 2]
        x2, y2, d2 = window[k, 0], window[k, 1], window[k, 2]
        ax, ay, bx, by = x1 - x0, y1 - y0, x2 - x1, y2 - y1
        doubt = 2 * slack * (abs(ax) + abs(ay) + abs(bx) + abs(by) + 2 * slack)
        is_facing = turn * (ax * by - ay * bx) >= -doubt
        is_inside = (
            (max(x0, x1, x2) >= -slack) & (max(y0, y1, y2) >= -slack)
            & (min(x0, x1, x2) <= width) & (min(y0, y1, y2) <= height)
        )  # fmt: skip
        # Far outside of the image coordinates are less exact than the slack says.
        is_far = (
            (max(x0, x1, x2) > 1.5 * width) | (max(y0, y1, y2) > 1.5 * height)
            | (min(x0, x1, x2) < -width / 2) | (min(y0, y1, y2) < -height / 2)
        )  # fmt: skip
        is_near = min(d0, d1, d2) < near
        kept[count] = face
        count += (is_near & (max(d0, d1, d2) > near / 2)) | (~is_near & (is_facing | is_far) & is_inside)
    return count


@njit(**_EXACT)  # type: ignore[untyped-decorator]
def touching(window: Array, faces: Array, limits: Array, samples: Array, kept: Array) -> int:
    """Keeps of kept, in place, the faces that may own a sample; returns how many.

    Args:
        window: (n, 4) as `project` fills it.
        faces: (m, 3) uint32 indices into window.
        limits: (5,) float32, as for `facing`.
        samples: (s, 2) float32, where in a pixel its samples are, px.
        kept: (k,) uint32 faces; its head is rewritten.
    """
    width, height, slack, near, turn = limits[0], limits[1], limits[2], limits[3], limits[4]
    zero, one = np.float32(0), np.float32(1)
    count = 0
    for at in range(kept.shape[0]):
        face = kept[at]
        i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
        x0, y0, d0 = window[i, 0], window[i, 1], window[i, 2]
        x1, y1, d1 = window[j, 0], window[j, 1], window[j, 2]
        x2, y2, d2 = window[k, 0], window[k, 1], window[k, 2]
        left, right = min(x0, x1, x2) - slack, max(x0, x1, x2) + slack
        bottom, top = min(y0, y1, y2) - slack, max(y0, y1, y2) + slack
        is_touching = (
            (min(d0, d1, d2) < near) | (left < -width / 2) | (right > 1.5 * width)
            | (bottom < -height / 2) | (top > 1.5 * height) | ((right - left) * (top - bottom) > LARGEST_BOX_PX)
        )  # fmt: skip
        if not is_touching:
            # Of a point in the box the cross product with an edge is in doubt by no more than this.
            doubt = 2 * slack * (right - left + top - bottom + slack)
            row, last_row = np.float32(int(max(bottom, zero))), min(top, height - one)
            while row <= last_row and not is_touching:
                column, last_column = np.float32(int(max(left, zero))), min(right, width - one)
                while column <= last_column and not is_touching:
                    for sample in range(samples.shape[0]):
                        x, y = column + samples[sample, 0], row + samples[sample, 1]
                        u0, v0, u1, v1, u2, v2 = x0 - x, y0 - y, x1 - x, y1 - y, x2 - x, y2 - y
                        is_touching |= (
                            (x >= left) & (x <= right) & (y >= bottom) & (y <= top)
                            & (turn * (u0 * v1 - v0 * u1) >= -doubt) & (turn * (u1 * v2 - v1 * u2) >= -doubt)
                            & (turn * (u2 * v0 - v2 * u0) >= -doubt)
                        )  # fmt: skip
                    column += one
                row += one
        kept[count] = face
        count += is_touching
    return count


class MeshFaces:
    """One mesh of an mjModel as it is drawn: corners for GL without repetition, and points for the culling.

    The corners are those that `mjr_uploadMesh` gives to GL: with texture coordinates the mesh's own normals; without
    them the triangle's normal wherever the mesh's own deviates from it (cosine below 0.8).
    """

    def __init__(self, model: Any, mesh_id: int) -> None:
        start, count = model.mesh_faceadr[mesh_id], model.mesh_facenum[mesh_id]
        positions = model.mesh_vert[model.mesh_face[start : start + count] + model.mesh_vertadr[mesh_id]]
        normals = model.mesh_normal[model.mesh_facenormal[start : start + count] + model.mesh_normaladr[mesh_id]]
        self.has_texture = bool(model.mesh_texcoordadr[mesh_id] >= 0)
        """Whether corners have texture coordinates."""
        corners = np.zeros((count, 3, 8), np.float32)
        corners[:, :, :3] = positions
        corners[:, :, 3:6] = normals if self.has_texture else _shaded(normals, _face_normals(positions))
        if self.has_texture:
            at = model.mesh_facetexcoord[start : start + count] + model.mesh_texcoordadr[mesh_id]
            corners[:, :, 6:] = model.mesh_texcoord[at]
        first, elements = _distinct(corners.reshape(-1, 8))
        self.corners: NDArray[np.float32] = corners.reshape(-1, 8)[first]
        """(c, 8) float32: position, normal, texture coordinates."""
        self.elements = elements.reshape(-1, 3).astype(np.uint32)
        """(m, 3) uint32 indices into corners, in the mesh's own order."""
        first, places = _distinct(np.ascontiguousarray(self.corners[:, :3]))
        self.points: NDArray[np.float32] = np.ascontiguousarray(self.corners[first, :3].T)
        """(3, n) float32 distinct positions."""
        self.faces = places[self.elements].astype(np.uint32)
        """(m, 3) uint32 indices into points."""
        self.window = np.empty((self.points.shape[1], 4), np.float32)
        """(n, 4) float32, for `project`."""
        self.extent = 3**0.5 * float(np.linalg.norm(np.abs(self.points).max(axis=1, initial=0.0)))
        """Bound of the magnitudes that a rotated point's coordinate is summed from, m."""


def _face_normals(positions: Array) -> Array:
    """(m, 3) float32 unit normals, z where there is none, in MuJoCo's order of operations."""
    one, two = positions[:, 1] - positions[:, 0], positions[:, 2] - positions[:, 0]
    cross = np.stack(
        [
            one[:, 1] * two[:, 2] - one[:, 2] * two[:, 1],
            one[:, 2] * two[:, 0] - one[:, 0] * two[:, 2],
            one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0],
        ],
        axis=1,
    )
    length = np.sqrt(cross[:, 0] * cross[:, 0] + cross[:, 1] * cross[:, 1] + cross[:, 2] * cross[:, 2])
    is_none = length < np.float32(1e-10)
    scale = np.float32(1) / np.where(is_none, np.float32(1), length)
    normals: Array = np.where(is_none[:, None], np.array([0, 0, 1], np.float32), cross * scale[:, None])
    return normals


def _shaded(normals: Array, face_normals: Array) -> Array:
    """(m, 3, 3): each corner's own normal, or its triangle's where the two deviate."""
    flat = face_normals[:, None, :]
    cosine = normals[:, :, 0] * flat[:, :, 0] + normals[:, :, 1] * flat[:, :, 1] + normals[:, :, 2] * flat[:, :, 2]
    shaded: Array = np.where((cosine.astype(np.float64) < 0.8)[:, :, None], flat, normals)
    return shaded


def _distinct(rows: Array) -> tuple[Array, Array]:
    """Where the distinct rows of a float32 matrix are, bit for bit, and which of them each row is."""
    words = rows.view(np.uint32)
    mixed = np.zeros(len(rows), np.uint64)
    for column in range(words.shape[1]):
        mixed = (mixed ^ words[:, column].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    _, first, which = np.unique(mixed, return_index=True, return_inverse=True)
    if not np.array_equal(words[first[which]], words):  # two rows with one hash
        return np.arange(len(rows)), np.arange(len(rows))
    return first, which

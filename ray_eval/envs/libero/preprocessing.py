"""A camera image on its way to a policy: a visible tuple of small frozen callables."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ray_eval.sections import ImageRecipe

RgbImage = NDArray[np.uint8]
ImageStep = Callable[[RgbImage], RgbImage]

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "lanczos": Image.Resampling.LANCZOS}


@dataclass(frozen=True, slots=True)
class Rotate180:
    """The image rotated by 180 degrees: robosuite's rows come bottom-up, so it ends upright and mirrored."""

    def __call__(self, image: RgbImage) -> RgbImage:
        """(H, W, 3) to (H, W, 3)."""
        return np.ascontiguousarray(image[::-1, ::-1])


@dataclass(frozen=True, slots=True)
class JpegRoundTrip:
    """The image as a JPEG encoder leaves it: training data were stored so."""

    quality: int
    """1 to 100."""

    def __call__(self, image: RgbImage) -> RgbImage:
        """(H, W, 3) to (H, W, 3)."""
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="JPEG", quality=self.quality)
        return np.asarray(Image.open(buffer).convert("RGB"))


@dataclass(frozen=True, slots=True)
class Resize:
    """The image stretched to a square."""

    size_px: int
    """Height and width of the result."""
    method: str
    """`bilinear` or `lanczos`, as PIL understands them (antialiased)."""

    def __call__(self, image: RgbImage) -> RgbImage:
        """(H, W, 3) to (size_px, size_px, 3)."""
        return _resized(image, self.size_px, self.size_px, _RESAMPLING[self.method])


@dataclass(frozen=True, slots=True)
class ResizeWithPad:
    """The image shrunk or grown until it fits into a square, centred on black.

    Source: openpi@15a9616 packages/openpi-client/src/openpi_client/image_tools.py.
    """

    size_px: int
    """Height and width of the result."""

    def __call__(self, image: RgbImage) -> RgbImage:
        """(H, W, 3) to (size_px, size_px, 3); an image of that size already is returned as it is."""
        height, width = image.shape[:2]
        if height == width == self.size_px:
            return image
        ratio = max(width / self.size_px, height / self.size_px)
        fitted = _resized(image, int(height / ratio), int(width / ratio), Image.Resampling.BILINEAR)
        return self._padded(fitted)

    def _padded(self, image: RgbImage) -> RgbImage:
        height, width = image.shape[:2]
        top, left = (max(0, int((self.size_px - side) / 2)) for side in (height, width))
        square = np.zeros((self.size_px, self.size_px, 3), np.uint8)
        square[top : top + height, left : left + width] = image
        return square


@dataclass(frozen=True, slots=True)
class CentreCrop:
    """The middle of the image, resized back to what it was cut from as TensorFlow's `crop_and_resize` does it.

    Source: openvla@c8f03f4 experiments/robot/openvla_utils.py (crop_and_resize).
    """

    area: float
    """Share of the area that is kept, in (0, 1]; each side keeps its square root."""

    def __call__(self, image: RgbImage) -> RgbImage:
        """(H, W, 3) to (H, W, 3)."""
        unit = image.astype(np.float32) / np.float32(255)
        cropped = _sampled(_sampled(unit, self._positions(len(unit))).swapaxes(0, 1), self._positions(unit.shape[1]))
        return (cropped.swapaxes(0, 1) * np.float32(255.5)).clip(0, 255).astype(np.uint8)

    def _positions(self, length: int) -> NDArray[np.float32]:
        """Where, in pixels of the source, the result's `length` rows or columns are sampled."""
        side = math.sqrt(self.area)
        return np.linspace((1 - side) / 2, (1 + side) / 2, length, dtype=np.float32) * np.float32(length - 1)


def image_steps(recipe: ImageRecipe, *, is_rotated: bool) -> tuple[ImageStep, ...]:
    """What is done, in this order, to robosuite's array of one camera."""
    steps: list[ImageStep] = []
    if is_rotated:
        steps.append(Rotate180())
    if recipe.jpeg_quality is not None:
        steps.append(JpegRoundTrip(recipe.jpeg_quality))
    if recipe.resize == "pad_bilinear" and recipe.image_size_px is not None:
        steps.append(ResizeWithPad(recipe.image_size_px))
    elif recipe.resize != "none" and recipe.image_size_px is not None:
        steps.append(Resize(recipe.image_size_px, recipe.resize))
    if recipe.centre_crop_area is not None:
        steps.append(CentreCrop(recipe.centre_crop_area))
    return tuple(steps)


def preprocess(image: RgbImage, steps: tuple[ImageStep, ...]) -> RgbImage:
    """The image after every step."""
    for step in steps:
        image = step(image)
    return image


def _resized(image: RgbImage, height: int, width: int, resampling: Image.Resampling) -> RgbImage:
    return np.asarray(Image.fromarray(image).resize((width, height), resampling))


def _sampled(image: NDArray[np.float32], positions: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows at fractional positions, interpolated linearly."""
    lower = np.floor(positions).astype(np.intp)
    upper = np.minimum(lower + 1, len(image) - 1)
    share = (positions - lower)[:, None, None]
    blend: NDArray[np.float32] = image[lower] * (1 - share) + image[upper] * share
    return blend

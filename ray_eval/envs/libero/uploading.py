"""What OpenGL is given of a compiled scene, and what main memory need not keep of it then.

Robosuite uploads every texture of the model. LIBERO's scenes have some that nothing wears, two of them repeated on six
faces of 2000 x 2000 pixels, and some several times. An image depends on those only that a material of something in the
scene names, and on the sky. So only these are uploaded, equal ones once; of the others one pixel.

What is uploaded, and read by nobody else, is then given back to the system: 0.2 to 0.3 GB. It is made anew where
another context is wanted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import mujoco
import numpy as np

from ray_eval.envs.libero.mipmaps import KeptTextures
from ray_eval.heap import forget
from ray_eval.types import Array

ONLY_SHOWN: Final = ("tex_data", "mesh_normal", "mesh_texcoord", "mesh_facenormal", "mesh_facetexcoord")
"""Arrays of mjModel that are read by nothing but the making of a context (MuJoCo 3.2.3 src/render)."""
_WEARERS: Final = ("geom_matid", "site_matid", "skin_matid", "tendon_matid", "flex_matid")


class Upload:
    """The textures and meshes of an mjModel, on their way into a context.

    Args:
        model: The mjModel (the binding's own).
        compile_anew: Gives another mjModel of the same scene; None keeps everything in main memory.
        textures: Those of the scene, where the model has none.
    """

    def __init__(
        self, model: Any, compile_anew: Callable[[], Any] | None = None, textures: KeptTextures | None = None
    ) -> None:
        self._model, self._textures = model, textures
        self._compile_anew = compile_anew
        self._is_given_back = False
        self._uploaded: frozenset[int] = frozenset()
        self._references = b""

    @property
    def is_current(self) -> bool:
        """Whether the last context has every texture that is worn now."""
        references = _references(self._model)
        if references == self._references:
            return True
        is_there = self._uploaded.issuperset(worn_textures(self._model))
        if is_there:
            self._references = references
        return is_there

    def made(self) -> mujoco.MjrContext:
        """A new context, in the GL context that is current."""
        self._take_back()
        model, worn = self._model, worn_textures(self._model)
        with _one_pixel(model):
            con = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)
        if self._textures is None:
            _upload(model, con, worn)
        else:
            self._textures.upload(con, worn)
        self._uploaded, self._references = frozenset(worn), _references(model)
        self._give_back()
        return con

    def turn_to(self, model: Any) -> None:
        """Takes another compilation of the same scene, whose textures and meshes the context has already."""
        self._model, self._is_given_back = model, False
        if self._uploaded:
            self._give_back()

    def _give_back(self) -> None:
        if self._compile_anew is not None:
            self._is_given_back = True
            for name in ONLY_SHOWN:
                forget(getattr(self._model, name))

    def _take_back(self) -> None:
        if self._is_given_back and self._compile_anew is not None:
            whole = self._compile_anew()
            for name in ONLY_SHOWN:
                getattr(self._model, name)[...] = getattr(whole, name)
            self._is_given_back = False


def worn_textures(model: Any) -> list[int]:
    """The textures that an image may show: those of materials that something has, and the sky's."""
    materials = np.concatenate([getattr(model, name) for name in _WEARERS])
    worn = set(model.mat_texid[materials[materials >= 0]].ravel().tolist()) - {-1}
    sky = np.flatnonzero(model.tex_type == mujoco.mjtTexture.mjTEXTURE_SKYBOX)
    return sorted(worn | set(sky.tolist()))


def _references(model: Any) -> bytes:
    return b"".join(getattr(model, name).tobytes() for name in (*_WEARERS, "mat_texid"))


def _upload(model: Any, con: Any, worn: Iterable[int]) -> None:
    """Uploads textures that the model has itself, equal ones once."""
    found: list[int] = []
    for texture in worn:
        first = next((other for other in found if _is_equal(model, texture, other)), texture)
        if first == texture:
            mujoco.mjr_uploadTexture(model, con, texture)
            found.append(texture)
        else:
            con.texture[texture] = con.texture[first]


def _is_equal(model: Any, one: int, other: int) -> bool:
    """Whether both have the same form and show the same."""
    names = ("tex_type", "tex_width", "tex_height", "tex_nchannel")
    is_alike = all(getattr(model, name)[one] == getattr(model, name)[other] for name in names)
    return is_alike and np.array_equal(_pixels(model, one), _pixels(model, other))


def _pixels(model: Any, texture: int) -> Array:
    start = model.tex_adr[texture]
    size = model.tex_width[texture] * model.tex_height[texture] * model.tex_nchannel[texture]
    pixels: Array = model.tex_data[start : start + size]
    return pixels


@contextlib.contextmanager
def _one_pixel(model: Any) -> Iterator[None]:
    """Within, every texture is one pixel large."""
    sizes = {name: getattr(model, name).copy() for name in ("tex_width", "tex_height")}
    try:
        for name in sizes:
            getattr(model, name)[...] = 1
        yield
    finally:
        for name, values in sizes.items():
            getattr(model, name)[...] = values

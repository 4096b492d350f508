"""Textures for OpenGL with the smaller sizes that it once made of them; runs in each worker.

MuJoCo has OpenGL make the smaller sizes of each texture when it is uploaded, which in software takes most of the time
until a scene's first image. What was made is read back once on a machine, and kept beside the compiled model while all
is the same that it may depend on (see `proofs`). Later it is uploaded with the texture. Names, parameters and the
largest size are MuJoCo's. Source: MuJoCo 3.2.3 src/render/render_context.c (mjr_uploadTexture).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import mujoco
import numpy as np
from OpenGL import GL  # type: ignore[import-untyped]

from ray_eval.envs.libero import proofs
from ray_eval.envs.libero.model_cache import MIPMAPS, ModelCache
from ray_eval.envs.remembered import SOFTWARE
from ray_eval.types import Array

_COLOURS: Final = 3
_FACES: Final = tuple(GL.GL_TEXTURE_CUBE_MAP_POSITIVE_X + face for face in range(6))
_FORM: Final = (GL.GL_RGB, GL.GL_UNSIGNED_BYTE)


class _Level(NamedTuple):
    """One size of one picture of a texture."""

    picture: int
    """Its index: a cube has one for each side."""
    target: int
    """OpenGL's name of it."""
    level: int
    """0 for the largest."""
    width: int
    """In pixels."""
    height: int
    """In pixels."""

    @property
    def size(self) -> int:
        """In bytes."""
        return self.width * self.height * _COLOURS


@dataclass(frozen=True, slots=True)
class Mipmaps:
    """The smaller sizes of one scene's textures, on disk."""

    models: ModelCache
    """Keeps them."""
    scene: str
    """The key of the scene there."""

    def upload(self, model: Any, con: Any, textures: Sequence[int]) -> None:
        """Uploads textures of an mjModel into a context that is current, and that has made one pixel of each.

        Args:
            model: The scene, with its pixels.
            con: `mujoco.MjrContext`.
            textures: Indices.
        """
        is_known_form = all(model.tex_nchannel[texture] == _COLOURS for texture in textures)
        if not is_known_form or not GL.glGetString(GL.GL_RENDERER).decode().startswith(SOFTWARE):
            upload_by_mujoco(model, con, textures)
            return
        key = hashlib.sha256(f"{self.scene}|{sorted(textures)}".encode()).hexdigest()
        name = f"mipmaps {key}"
        entry = self.models.found(key, MIPMAPS) if proofs.is_proven(name) else None
        if entry is None:
            upload_by_mujoco(model, con, textures)
            kept = _read_back(model, con, sorted(textures))
            self.models.keep(key, MIPMAPS, kept.size, kept.tofile)
            proofs.keep(name)
        else:
            _upload(model, con, sorted(textures), np.fromfile(entry, np.uint8))


def upload_by_mujoco(model: Any, con: Any, textures: Sequence[int]) -> None:
    """Uploads textures and has OpenGL make their smaller sizes; arguments as in `Mipmaps.upload`."""
    for texture in textures:
        mujoco.mjr_uploadTexture(model, con, texture)


def _upload(model: Any, con: Any, textures: Sequence[int], kept: Array) -> None:
    """Uploads every size; the names of textures and their parameters are there already.

    Args:
        model: The scene.
        con: Its context.
        textures: Indices.
        kept: As `_read_back` gives it.
    """
    place = 0
    GL.glPixelStorei(GL.GL_UNPACK_ALIGNMENT, 1)  # as MuJoCo has it
    for texture in textures:
        pixels = pixels_of(model, texture)
        with _Bound(model, con, texture):
            for level in _levels(model, texture):
                if level.level:
                    data, place = kept[place : place + level.size], place + level.size
                else:
                    begin = level.picture * level.size % pixels.size  # a square one is on all sides of its cube
                    data = pixels[begin : begin + level.size]
                GL.glTexImage2D(level.target, level.level, GL.GL_RGB, level.width, level.height, 0, *_FORM, data)


def _read_back(model: Any, con: Any, textures: Sequence[int]) -> Array:
    """(n,) uint8: the smaller sizes one after the other."""
    found = [np.empty(0, np.uint8)]
    alignment = GL.glGetIntegerv(GL.GL_PACK_ALIGNMENT)
    GL.glPixelStorei(GL.GL_PACK_ALIGNMENT, 1)
    for texture in textures:
        with _Bound(model, con, texture):
            found += [
                np.frombuffer(GL.glGetTexImage(level.target, level.level, *_FORM), np.uint8)
                for level in _levels(model, texture)
                if level.level
            ]
    GL.glPixelStorei(GL.GL_PACK_ALIGNMENT, alignment)
    return np.concatenate(found)


def pixels_of(model: Any, texture: int) -> Array:
    """(n,) uint8: a texture's pixels in its mjModel, of a cube the sides one after the other, or one for all."""
    start = model.tex_adr[texture]
    size = model.tex_width[texture] * model.tex_height[texture] * model.tex_nchannel[texture]
    pixels: Array = model.tex_data[start : start + size]
    return pixels


def _levels(model: Any, texture: int) -> Iterator[_Level]:
    """Every size of each picture, from the largest to one pixel."""
    is_flat = _is_flat(model, texture)
    full_width = int(model.tex_width[texture])
    full_height = int(model.tex_height[texture]) if is_flat else full_width
    for picture, target in enumerate((GL.GL_TEXTURE_2D,) if is_flat else _FACES):
        for level in range(max(full_width, full_height).bit_length()):
            yield _Level(picture, target, level, max(full_width >> level, 1), max(full_height >> level, 1))


def _is_flat(model: Any, texture: int) -> bool:
    return bool(model.tex_type[texture] == mujoco.mjtTexture.mjTEXTURE_2D)


class _Bound:
    """Within, OpenGL means one texture of a context."""

    def __init__(self, model: Any, con: Any, texture: int) -> None:
        self._target = GL.GL_TEXTURE_2D if _is_flat(model, texture) else GL.GL_TEXTURE_CUBE_MAP
        self._name = int(con.texture[texture])

    def __enter__(self) -> None:
        GL.glBindTexture(self._target, self._name)

    def __exit__(self, *_: object) -> None:
        GL.glBindTexture(self._target, 0)

"""Textures on disk, each with the smaller sizes that OpenGL made of it, and into OpenGL; runs in each worker.

MuJoCo has OpenGL make the smaller sizes of each texture when it is uploaded, which in software takes most of the time
until a scene's first image. Here a texture is kept beside the compiled models with what was made of it, read back once
on a machine, and is uploaded from there while all is the same that it may depend on (see `proofs`). Names and
parameters are MuJoCo's, and the calls are those that it makes. On other renderers OpenGL makes them each time.
Source: MuJoCo 3.2.3 src/render/render_context.c (mjr_uploadTexture).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import mujoco
import numpy as np
from OpenGL import GL  # type: ignore[import-untyped]

from ray_eval.envs.digests import FileDigests
from ray_eval.envs.libero import proofs
from ray_eval.envs.libero.model_cache import TEXTURE, ModelCache
from ray_eval.envs.libero.textures import Texture
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


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    """A texture's pixels."""

    kind: int
    """`mjtTexture`."""
    width: int
    """As mjModel has it; of a cube of six pictures they are one above the other."""
    height: int
    """Likewise."""
    pixels: Array
    """(n,) uint8, as mjModel has them."""
    smaller: Array
    """(m,) uint8: the smaller sizes of each picture, one after the other; empty where OpenGL is to make them."""

    @property
    def target(self) -> int:
        """OpenGL's kind."""
        is_flat = self.kind == mujoco.mjtTexture.mjTEXTURE_2D
        return int(GL.GL_TEXTURE_2D if is_flat else GL.GL_TEXTURE_CUBE_MAP)

    def levels(self) -> Iterator[_Level]:
        """Every size of each picture, from the largest to one pixel."""
        is_flat = self.target == GL.GL_TEXTURE_2D
        height = self.height if is_flat else self.width
        for picture, target in enumerate((GL.GL_TEXTURE_2D,) if is_flat else _FACES):
            for level in range(max(self.width, height).bit_length()):
                yield _Level(picture, target, level, max(self.width >> level, 1), max(height >> level, 1))

    def is_whole(self) -> bool:
        """Whether it has as much as its sizes say."""
        smaller = sum(level.size for level in self.levels() if level.level)
        return self.pixels.size == self.width * self.height * _COLOURS and self.smaller.size in (0, smaller)

    def to_file(self, path: Path) -> None:
        """Writes it whole."""
        with path.open("wb") as file:
            for part in (np.array([self.kind, self.width, self.height, 0], np.int32), self.pixels, self.smaller):
                part.tofile(file)

    @classmethod
    def of_file(cls, path: Path) -> _Picture:
        """What `to_file` wrote, mapped from the file."""
        content = np.memmap(path, np.uint8, mode="r")
        kind, width, height, _ = (int(number) for number in content[:_HEAD_BYTES].view(np.int32))
        end = _HEAD_BYTES + width * height * _COLOURS
        return cls(kind, width, height, content[_HEAD_BYTES:end], content[end:])


_HEAD_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class KeptTextures:
    """The textures of one scene, on disk."""

    models: ModelCache
    """Where they are kept."""
    textures: tuple[Texture, ...]
    """In their order in the scene's mjModel."""

    def upload(self, con: Any, worn: Sequence[int]) -> None:
        """Uploads some, into a context that is current and has made one pixel of each; equal ones once.

        Args:
            con: `mujoco.MjrContext`.
            worn: Their indices.

        Raises:
            OSError: the file of one cannot be read.
            ValueError: MuJoCo cannot make one of it.
        """
        renderer = GL.glGetString(GL.GL_RENDERER).decode()
        is_software, digests = renderer.startswith(SOFTWARE), self.models.digests()
        first: dict[str, int] = {}
        for index in worn:
            key = self.textures[index].key(mujoco.__version__, digests)
            if key in first:
                con.texture[index] = con.texture[first[key]]
                continue
            first[key] = index
            if is_software:
                self._upload_kept(con, index, hashlib.sha256(f"{key}|{renderer}".encode()).hexdigest(), digests)
            else:
                _upload(con, index, _made(self.textures[index]))
        digests.save()

    def _upload_kept(self, con: Any, index: int, key: str, digests: FileDigests) -> None:
        name = f"texture {key}"
        entry = self.models.found(key, TEXTURE, digests) if proofs.is_proven(name) else None
        picture = None if entry is None else _Picture.of_file(entry)
        if picture is not None and picture.is_whole():
            _upload(con, index, picture)
            return
        made = _made(self.textures[index])
        _upload(con, index, made)
        whole = _Picture(made.kind, made.width, made.height, made.pixels, _read_back(con, index, made))
        size = _HEAD_BYTES + whole.pixels.size + whole.smaller.size
        self.models.keep(key, TEXTURE, size, whole.to_file)
        proofs.keep(name)


def _made(texture: Texture) -> _Picture:
    """As MuJoCo makes it of its element."""
    model = mujoco.MjModel.from_xml_string(texture.mjcf)
    if model.tex_nchannel[0] != _COLOURS:
        raise ValueError(f"texture {texture.name}: expected {_COLOURS} channels, got {model.tex_nchannel[0]}")
    numbers = (int(model.tex_type[0]), int(model.tex_width[0]), int(model.tex_height[0]))
    return _Picture(*numbers, np.array(model.tex_data), np.empty(0, np.uint8))


def _upload(con: Any, index: int, picture: _Picture) -> None:
    """Every size of it; its name in OpenGL and its parameters are there already."""
    place = 0
    GL.glPixelStorei(GL.GL_UNPACK_ALIGNMENT, 1)  # as MuJoCo has it
    with _bound(con, index, picture):
        for level in picture.levels():
            if level.level == 0:
                begin = level.picture * level.size % picture.pixels.size  # a square one is on all sides of its cube
                data = picture.pixels[begin : begin + level.size]
            elif picture.smaller.size:
                data, place = picture.smaller[place : place + level.size], place + level.size
            else:
                continue
            GL.glTexImage2D(level.target, level.level, GL.GL_RGB, level.width, level.height, 0, *_FORM, data)
        if not picture.smaller.size:
            GL.glGenerateMipmap(picture.target)


def _read_back(con: Any, index: int, picture: _Picture) -> Array:
    """(n,) uint8: the smaller sizes one after the other."""
    alignment = GL.glGetIntegerv(GL.GL_PACK_ALIGNMENT)
    GL.glPixelStorei(GL.GL_PACK_ALIGNMENT, 1)
    with _bound(con, index, picture):
        found = [
            np.frombuffer(GL.glGetTexImage(level.target, level.level, *_FORM), np.uint8)
            for level in picture.levels()
            if level.level
        ]
    GL.glPixelStorei(GL.GL_PACK_ALIGNMENT, alignment)
    return np.concatenate([np.empty(0, np.uint8), *found])


@contextlib.contextmanager
def _bound(con: Any, index: int, picture: _Picture) -> Iterator[None]:
    """Within, OpenGL means this texture of the context."""
    GL.glBindTexture(picture.target, int(con.texture[index]))
    yield
    GL.glBindTexture(picture.target, 0)

"""A scene's textures apart from what else its MJCF says; pure text.

A texture has 3 to 67 MB, and the scenes of a suite have most of theirs in common. So a scene is compiled with textures
of one pixel, and each texture by itself (see `mipmaps`). Nothing but pixels comes of a texture, and nothing else of a
scene depends on them.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from ray_eval.envs.digests import FileDigests

_KNOWN: Final = frozenset({"name", "type", "file", "builtin", "width", "height", "rgb1", "rgb2"})
"""Attributes of a texture whose pixels do not depend on what else is compiled; LIBERO's have no others."""
_UNKNOWN: Final = re.compile(r"<include\b|<frame\b|\b(?:texture|asset)dir=|\bstrippath=")
"""What may have other words before or around a texture."""


@dataclass(frozen=True, slots=True)
class Texture:
    """One texture, as its element says."""

    attributes: Mapping[str, str]
    """As they are written, with the file's path."""

    @property
    def name(self) -> str:
        """The scene's name of it; empty for none."""
        return self.attributes.get("name", "")

    @property
    def mjcf(self) -> str:
        """A scene that has nothing else."""
        scene = ET.Element("mujoco")
        ET.SubElement(ET.SubElement(scene, "asset"), "texture", dict(self.attributes))
        return ET.tostring(scene, encoding="unicode")

    def key(self, mujoco_version: str, digests: FileDigests) -> str:
        """SHA-256 of all that its pixels are made of, in hexadecimal; its name and its file's place are not among it.

        Raises:
            OSError: its file cannot be read.
        """
        said = {name: text for name, text in self.attributes.items() if name not in ("name", "file")}
        file = self.attributes.get("file")
        found = "" if file is None else digests.of([Path(file)])[Path(file)]
        words = f"texture|{mujoco_version}|{platform.machine()}|{sorted(said.items())}|{found}"
        return hashlib.sha256(words.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Split:
    """A scene, and its textures."""

    mjcf: str
    """The scene with textures of one pixel."""
    textures: tuple[Texture, ...]
    """In their order in mjModel."""


def split(mjcf: str) -> Split | None:
    """Both; None where they cannot be told apart, so that the scene is compiled as it is."""
    if _UNKNOWN.search(mjcf):
        return None
    scene, textures = ET.fromstring(mjcf), []  # noqa: S314 -- robosuite has written it in this process
    for element in scene.iterfind("asset/texture"):
        texture = Texture(dict(element.attrib))
        is_known = texture.attributes.keys() <= _KNOWN
        if not is_known or not Path(texture.attributes.get("file", "/")).is_absolute():
            return None
        textures.append(texture)
        kept = {name: text for name, text in element.attrib.items() if name in ("name", "type")}
        element.attrib.clear()
        element.attrib.update(kept, builtin="flat", width="1", height="6" if kept.get("type") == "skybox" else "1")
    if len(textures) != len(list(scene.iter("texture"))):
        return None
    return Split(ET.tostring(scene, encoding="unicode"), tuple(textures))

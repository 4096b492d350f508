"""For which scenes images on a kept background were held against robosuite's on this machine (see `remembered`)."""

from __future__ import annotations

import functools

from OpenGL import GL  # type: ignore[import-untyped]

from ray_eval.envs.gl import loaded_files
from ray_eval.envs.remembered import recall, remember

_KIND = "background"


def is_proven(name: str) -> bool:
    """Whether the first image of that name was equal to robosuite's, now or with all the same files before.

    A GL context is current.
    """
    return name in _proven(_renderer())


def keep(name: str) -> None:
    """Remembers that it was. A GL context is current."""
    renderer = _renderer()
    names = _proven(renderer)
    names.add(name)
    # Others may have added theirs meanwhile; whose are lost in between are proven once more.
    remember(_KIND, renderer, sorted(names | _recalled(renderer)), loaded_files())


@functools.cache
def _proven(renderer: str) -> set[str]:
    """Those that are known in this process."""
    return _recalled(renderer)


def _recalled(renderer: str) -> set[str]:
    found = recall(_KIND, renderer)
    return {name for name in found if isinstance(name, str)} if isinstance(found, list) else set()


def _renderer() -> str:
    return f"{GL.glGetString(GL.GL_RENDERER).decode()} {GL.glGetString(GL.GL_VERSION).decode()}"

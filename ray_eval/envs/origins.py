"""From which files a simulator's packages are imported, and what is in those: by content, wherever they are."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ray_eval.envs.digests import FileDigests, combined
from ray_eval.types import Origin

CONFIGURATION: Final = "path_configuration"
"""Name among a simulator's origins of a user's file that says where it takes its data from."""
_CODE_SUFFIXES: Final = (".py", ".so", ".pyd", ".dll", ".dylib")
_NO_CODE: Final = ("__pycache__", ".git")


def origins(modules: Sequence[str], digests: FileDigests) -> dict[str, Origin]:
    """The origin of each top-level module as this process imports it, or has imported it already."""
    return {name: _origin(_places(name), digests) for name in modules}


def _places(name: str) -> list[Path]:
    """The folders or the one file of a module; none where it cannot be found."""
    loaded = sys.modules.get(name)
    try:
        spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return [Path(place) for place in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.has_location and spec.origin else []


def _origin(places: Sequence[Path], digests: FileDigests) -> Origin:
    if not places:
        return Origin("")
    files = {path: name for place in places for path, name in _code(place)}
    found = digests.of(files)
    return Origin(os.pathsep.join(map(str, places)), combined({files[path]: digest for path, digest in found.items()}))


def _code(place: Path) -> Iterator[tuple[Path, str]]:
    """Files of code below a place, each with its name relative to it."""
    if place.is_file():
        yield place, place.name
        return
    for folder, names, files in os.walk(place):
        names[:] = [name for name in names if name not in _NO_CODE]
        for file in files:
            if file.endswith(_CODE_SUFFIXES) or ".so." in file:
                path = Path(folder, file)
                yield path, path.relative_to(place).as_posix()

"""What LIBERO's episodes are made of, by content: the task's BDDL file, its init states, and the files of its scene.

Nothing is built or imported for it. A scene's files are found as LIBERO finds them: every object and fixture that the
BDDL names has an XML file of its name, the problem's kind names the room, the robot is robosuite's Panda; each XML
names the meshes, textures and further XML files that it needs. Which textures of wall and floor a room takes is decided
in code: all of them are included. Digests go by contents and by names within the installation, never by its place.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from ray_eval.envs.digests import FileDigests, combined
from ray_eval.envs.libero import suites
from ray_eval.types import FloatArray

PARTS: Final = ("bddl", "init_states", "scene")
"""What a task's content is told apart by."""
_ROBOT: Final = ("base.xml", "robots/panda/robot.xml", "grippers/panda_gripper.xml", "mounts/rethink_mount.xml")
_NAMED_FILES: Final = re.compile(rb'\bfile="([^"]+)"')
_SECTIONS: Final = re.compile(r"\(:(?:fixtures|objects)(.*?)\n\s*\)", re.DOTALL)
_PROBLEM: Final = re.compile(r"\(problem\s+(\w+?)_Manipulation\)", re.IGNORECASE)


def task_content(suite: str, task_id: int, digests: FileDigests) -> Mapping[str, str]:
    """Digests of one task by part (see `PARTS`).

    Raises:
        ConfigError: the suite or the task is unknown, or its files are not installed.
        OSError: a file cannot be read.
    """
    return content_of(suites.task(suite, task_id).bddl_path, suites.init_states(suite, task_id), digests)


def content_of(bddl_path: Path, init_states: FloatArray, digests: FileDigests) -> Mapping[str, str]:
    """Digests of a scene and its start states by part (see `PARTS`).

    Raises:
        OSError: a file cannot be read.
    """
    assets, robosuite = suites.libero_folder("assets"), _robosuite_assets()
    scene = _named("libero", assets, scene_files(assets, bddl_path))
    scene |= _named("robosuite", robosuite, robot_files(robosuite))
    found = digests.of([bddl_path, *scene])
    return {
        "bddl": found[bddl_path],
        "init_states": states_digest(init_states),
        "scene": combined({name: found[path] for path, name in scene.items()}),
    }


def content_identity(contents: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """`content_<part>`: one digest of that part of every task.

    Args:
        contents: `task_content` by `suite/task_id`.
    """
    return {f"content_{part}": combined({task: parts[part] for task, parts in contents.items()}) for part in PARTS}


def states_digest(states: FloatArray) -> str:
    """SHA-256 of init states by value: the same whether they are stored as NPZ or as a torch pickle."""
    values = np.ascontiguousarray(states, dtype="<f8")
    return hashlib.sha256(f"{values.shape}".encode() + values.tobytes()).hexdigest()


@functools.lru_cache(maxsize=256)
def scene_files(assets: Path, bddl_path: Path) -> tuple[Path, ...]:
    """Every file below `assets` that the scene of a BDDL file is compiled from, and some textures more.

    Where an object has no file of its name, it is all of them: too many changes then make another scene, never too few.
    """
    text = bddl_path.read_text(encoding="utf-8")
    known = _xml_files(assets)
    named = {word for section in _SECTIONS.findall(text) for word in re.findall(r"-\s+(\w+)", section)}
    # A table or a floor is part of the room.
    objects = {word for word in named if not word.endswith(("table", "floor"))}
    room = _room(assets, text)
    if room is None or not objects <= known.keys():
        return tuple(path for folder, _, files in os.walk(assets) for path in (Path(folder, file) for file in files))
    roots = [room, *(path for word in objects for path in known[word])]
    return tuple(sorted({*_closure(roots), *(path for path in (assets / "textures").glob("*") if path.is_file())}))


@functools.lru_cache(maxsize=4)
def robot_files(assets: Path) -> tuple[Path, ...]:
    """Every file below robosuite's `assets` that the Panda, its gripper and its mount are compiled from."""
    return tuple(sorted(set(_closure([assets / name for name in _ROBOT if (assets / name).is_file()]))))


def _room(assets: Path, bddl: str) -> Path | None:
    """The XML file of the room that the problem's kind stands in; None where it is not where LIBERO has it."""
    found = _PROBLEM.search(bddl)
    kind = found.group(1).lower() if found else ""
    # The study's has `tabletop` in the problem's name alone.
    paths = (assets / "scenes" / f"{name}_base_style.xml" for name in (kind, kind.removesuffix("_tabletop")))
    return next((path for path in paths if path.is_file()), None)


@functools.lru_cache(maxsize=4)
def _xml_files(assets: Path) -> Mapping[str, Sequence[Path]]:
    """Every XML file of an object or fixture by its stem; two objects may share one."""
    found: dict[str, list[Path]] = {}
    for path in sorted(assets.rglob("*.xml")):
        if path.relative_to(assets).parts[0] != "scenes":
            found.setdefault(path.stem, []).append(path)
    return found


def _closure(roots: Iterable[Path]) -> Iterator[Path]:
    """XML files with every file that they name, themselves or through others."""
    seen: set[Path] = set()
    waiting = list(roots)
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        yield path
        if path.suffix == ".xml":
            waiting += _named_in(path)


@functools.lru_cache(maxsize=1024)
def _named_in(path: Path) -> tuple[Path, ...]:
    """The files that an XML file names, relative to its folder, as far as they are there."""
    names = _NAMED_FILES.findall(path.read_bytes())
    # Not `resolve`: a link within an installation is a file of that name.
    paths = (Path(os.path.normpath(path.parent / os.fsdecode(name))) for name in names)
    return tuple(found for found in paths if found.is_file())


def _named(owner: str, root: Path, paths: Iterable[Path]) -> dict[Path, str]:
    """The paths with their names in digests, which do not say where the installation is."""
    start = len(root.parts)
    return {path: f"{owner}/{'/'.join(path.parts[start:])}" for path in paths}


@functools.cache
def _robosuite_assets() -> Path:
    spec = importlib.util.find_spec("robosuite")
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places or ())), "models", "assets") if places else Path("robosuite", "models", "assets")

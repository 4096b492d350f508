"""The checkpoints that a training leaves behind, by their steps; only looks at names and times of files."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

WEIGHTS = ("model.safetensors", "adapter_model.safetensors")
"""What lies beside config.json in a checkpoint of LeRobot that is whole."""
FILES = (".pt", ".pt2", ".safetensors")
"""Endings of checkpoints that are a file."""
SETTLED_S = 5.0
"""A checkpoint whose newest file is younger may still be written."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint of a training."""

    step: int
    """Training step, the last number in its path."""
    path: Path
    """Its folder, or its file."""


def checkpoints_in(
    folder: Path, settled_s: float = SETTLED_S, clock: Callable[[], float] = time.time
) -> list[Checkpoint]:
    """Every checkpoint below a folder that is written to its end, by steps; links such as `last` are passed over.

    Args:
        folder: a training's folder.
        settled_s: how long its files must have been left alone, s.
        clock: seconds since the epoch.
    """
    found = {}
    for path in _candidates(folder):
        step = _step_of(path.relative_to(folder))
        files = [path] if path.is_file() else [each for each in path.iterdir() if each.is_file()]
        newest = max((file.stat().st_mtime for file in files), default=0.0)
        if step is not None and clock() - newest >= settled_s:
            found[step] = Checkpoint(step, path)
    return [found[step] for step in sorted(found)]


def _candidates(folder: Path) -> Iterator[Path]:
    folders = []
    for config in sorted(folder.rglob("config.json")):
        if not _is_linked(config, folder) and any((config.parent / name).is_file() for name in WEIGHTS):
            folders.append(config.parent)
            yield config.parent
    for path in sorted(folder.iterdir()):
        if path.suffix in FILES and path.is_file() and not path.is_symlink() and folder not in folders:
            yield path


def _is_linked(path: Path, folder: Path) -> bool:
    return any(each.is_symlink() for each in (path, *path.parents) if each.is_relative_to(folder) and each != folder)


def _step_of(path: Path) -> int | None:
    numbers = re.findall(r"\d+", str(path.with_suffix("") if path.suffix in FILES else path))
    return int(numbers[-1]) if numbers else None

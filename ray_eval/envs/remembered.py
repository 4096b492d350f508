"""What was found out on this machine, known while all that it depends on is the same.

What depends on the processor, on drivers, libraries and modules is found out once, and kept in ray-eval's cache folder
with the variables and the processor that chose among those files, and what the file system says of each.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from ray_eval.envs.digests import Stamp, keep_json, stamp_of
from ray_eval.envs.gl import OVERRIDES
from ray_eval.errors import SetupError
from ray_eval.places import cache_folder

SOFTWARE: Final = ("llvmpipe", "softpipe")
"""How the names of renderers begin of which anything is remembered; one on a GPU may hang on some days only."""
_DRIVERS: Final = (*OVERRIDES, "LP_", "DRI_", "VK_", "DISPLAY", "WAYLAND_", "XDG_RUNTIME_", "NVIDIA_")
_LIBRARIES: Final = ("LD_", "PYTHON", "MUJOCO_", "PYOPENGL_", "GLIBC_", "OPENBLAS_", "MKL_", "OMP_", "NPY_", "NUMBA_")
_NAMES: Final = (*_DRIVERS, *_LIBRARIES)
"""Begin the names of variables on which it depends."""
_LISTED: Final = ("/usr/share/glvnd/egl_vendor.d", "/etc/glvnd/egl_vendor.d", "/dev/dri", "/proc/driver/nvidia/gpus")
"""Folders in which drivers and devices are announced."""


def recall(kind: str, asked: str, variables: Mapping[str, str] | None = None) -> Any | None:
    """What was remembered; None where that must be found out anew.

    Args:
        kind: Begins the file's name.
        asked: What else it depends on, in any words; this Python is added.
        variables: Those that are set for whatever finds it out.
    """
    path = _place(kind, asked)
    if path is None:
        return None
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        is_same = entry["surroundings"] == _surroundings(variables) and entry["stamps"] == _stamps(entry["stamps"])
        return entry["value"] if is_same else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def remember(
    kind: str, asked: str, value: Any, files: Iterable[str], variables: Mapping[str, str] | None = None
) -> None:
    """Keeps a finding, made of what JSON has, with the files that it depends on; nothing where there is no place."""
    path = _place(kind, asked)
    if path is not None:
        entry = {"value": value, "surroundings": _surroundings(variables), "stamps": _stamps(files)}
        with contextlib.suppress(OSError):
            keep_json(path, entry)


def forget(kind: str) -> None:
    """Has all of a kind found out anew."""
    with contextlib.suppress(OSError, SetupError):
        for path in cache_folder().glob(f"{kind}-*.json"):
            path.unlink(missing_ok=True)


def _place(kind: str, asked: str) -> Path | None:
    with contextlib.suppress(OSError, SetupError):
        name = hashlib.sha256(f"{asked}|{sys.executable}|{sys.version}".encode()).hexdigest()
        return cache_folder() / f"{kind}-{name[:16]}.json"
    return None


def _surroundings(variables: Mapping[str, str] | None) -> dict[str, Any]:
    """What chooses among the files: variables, the CPU, drivers and devices."""
    told = {name: value for name, value in os.environ.items() if name.startswith(_NAMES)}
    return {
        "variables": {**told, **(variables or {})},
        "cpu": hashlib.sha256("".join(_cpu_lines()).encode()).hexdigest(),
        "listed": {folder: sorted(_names(folder)) for folder in _LISTED},
        "devices": sorted(name for name in _names("/dev") if name.startswith("nvidia")),
    }


def _cpu_lines() -> list[str]:
    """What the first processor is and can do."""
    with contextlib.suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
        return [line for line in first.splitlines() if line.startswith(("vendor_id", "model", "flags", "Features"))]
    return []


def _names(folder: str) -> list[str]:
    try:
        return [path.name for path in Path(folder).iterdir()]
    except OSError:
        return []


def _stamps(paths: Iterable[str]) -> dict[str, Stamp | None]:
    """What the file system says of each file; None of one that is not there."""
    return {path: _stamp(path) for path in paths}


def _stamp(path: str) -> Stamp | None:
    try:
        return stamp_of(Path(path))
    except OSError:
        return None

"""What the proof of the renderer has shown on this machine, known while all that it depends on is the same.

A proof starts processes that import MuJoCo, 1 to 2 s of CPU each. It depends on the files that those processes had
loaded, on the variables and the CPU that choose among them, and on which drivers and devices there are. A renderer on
a GPU is proved each time: there it may hang on some days only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from ray_eval.envs.gl import MOST_PROCESSES, OVERRIDES, GlProbe, gl_environment
from ray_eval.errors import SetupError
from ray_eval.places import cache_folder
from ray_eval.sections import GlBackend

SOFTWARE: Final = ("llvmpipe", "softpipe")
"""How the names of renderers begin that are remembered."""
_NAMES: Final = (*OVERRIDES, "LD_", "LP_", "DRI_", "VK_", "DISPLAY", "WAYLAND_", "XDG_RUNTIME_", "NVIDIA_", "PYTHON")
"""Begin the names of variables on which it depends."""
_LISTED: Final = ("/usr/share/glvnd/egl_vendor.d", "/etc/glvnd/egl_vendor.d", "/dev/dri", "/proc/driver/nvidia/gpus")
"""Folders in which drivers and devices are announced."""


def known_backend(wanted: GlBackend, processes: int, python: str | None = None) -> GlProbe | None:
    """What was found here before with at least as many processes; None where that must be found anew."""
    path = _memory(wanted, python)
    if path is None:
        return None
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        found = GlProbe(**{**entry["probe"], "passed_over": (), "files": ()})
        is_same = entry["surroundings"] == _surroundings(found) and entry["stamps"] == _stamps(entry["stamps"])
        is_enough = entry["processes"] >= min(processes, MOST_PROCESSES)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if is_same and is_enough else None


def remember_backend(found: GlProbe, wanted: GlBackend, processes: int, python: str | None = None) -> None:
    """Keeps what `gl.choose_backend` has found on this machine, where it draws in software by the preferred backend."""
    path = _memory(wanted, python)
    if path is None or not found.renderer.startswith(SOFTWARE) or found.passed_over:
        return
    entry = {
        "probe": {**dataclasses.asdict(found), "files": None},
        "processes": min(processes, MOST_PROCESSES),
        "surroundings": _surroundings(found),
        "stamps": _stamps(found.files),
    }
    with contextlib.suppress(OSError):
        _write(path, entry)


def forget_backends() -> None:
    """Has the next run prove the renderer anew."""
    with contextlib.suppress(OSError, SetupError):
        for path in cache_folder().glob("renderer-*.json"):
            path.unlink(missing_ok=True)


def _memory(wanted: GlBackend, python: str | None) -> Path | None:
    """Where the answer for this Python is kept; None where there is no place."""
    with contextlib.suppress(OSError, SetupError):
        asked = hashlib.sha256(f"{wanted}|{python or sys.executable}|{sys.version}".encode()).hexdigest()
        return cache_folder() / f"renderer-{asked[:16]}.json"
    return None


def _surroundings(found: GlProbe) -> dict[str, Any]:
    """What chooses among the files: variables, the CPU, drivers and devices."""
    told = {name: value for name, value in os.environ.items() if name.startswith(_NAMES)}
    return {
        "variables": {**told, **gl_environment(found.backend)},
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


def _stamps(paths: Iterable[str]) -> dict[str, list[int] | None]:
    """What the file system says of each file; None of one that is not there."""
    return {path: _stamp(path) for path in paths}


def _stamp(path: str) -> list[int] | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _write(path: Path, entry: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(entry))
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)

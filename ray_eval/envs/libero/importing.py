"""What the simulator's packages would write at their import, kept where this user may write; run in each process.

robosuite opens /tmp/robosuite.log, which is the file of whoever of a machine's users came first. numba refuses to
compile where neither the installation nor the user's cache folder takes what it compiled.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Final

from ray_eval import places

_MACROS: Final = "robosuite.macros"
NUMBA_CACHE: Final = "NUMBA_CACHE_DIR"
"""Environment variable by which numba is told where to keep what it compiled."""


def prepare_imports() -> None:
    """Makes every later import of robosuite, LIBERO and numba one that this user, whoever it is, can make."""
    # robosuite advises at every import to write a private macro file; nobody here wants one.
    logging.getLogger("robosuite_logs").addFilter(lambda record: "macro" not in record.getMessage())
    places.settle_home()
    if _MACROS not in sys.modules and not any(isinstance(finder, _MacrosFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _MacrosFinder())
    if NUMBA_CACHE not in os.environ and not _numba_has_a_place():
        os.environ[NUMBA_CACHE] = str(places.private_folder() / "numba")


class _MacrosFinder(MetaPathFinder):
    """Finds robosuite's module of settings as it would be found, to be loaded without a log file."""

    def find_spec(self, name: str, path: object, _target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _MACROS:
            return None
        spec = PathFinder.find_spec(name, path)  # type: ignore[arg-type]
        if spec is not None and spec.origin is not None:
            spec.loader = _MacrosLoader(name, spec.origin)
        return spec


class _MacrosLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        module.FILE_LOGGING_LEVEL = None  # type: ignore[attr-defined]


def _numba_has_a_place() -> bool:
    """Whether numba can keep what it compiles: beside the sources of robosuite and of ours, or in the user's cache."""
    home = places.home()
    cache = os.environ.get("XDG_CACHE_HOME") or (home / ".cache" if home else None)
    if cache is not None and places.is_writable(Path(cache) / "numba"):
        return True
    found = importlib.util.find_spec("robosuite")
    sources = [Path(__file__).parent, *(Path(folder) / "utils" for folder in _locations(found))]
    return all(places.is_writable(folder / "__pycache__") for folder in sources)


def _locations(spec: ModuleSpec | None) -> list[str]:
    return list(spec.submodule_search_locations or ()) if spec is not None else []

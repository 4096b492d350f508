"""The user's own modules, which the nodes of a joined cluster get from this machine; what is installed they have."""

from __future__ import annotations

import importlib.util
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from ray_eval.config import EvalConfig
from ray_eval.foreign import look_in_working_folder

_OURS = "ray_eval"


def shipped_modules(config: EvalConfig) -> tuple[str, ...]:
    """Paths of the packages and files that a configuration's import strings name, as Ray's `py_modules` takes them."""
    return module_paths(named_modules(config))


def named_modules(config: EvalConfig) -> tuple[str, ...]:
    """Outermost packages of a configuration's import strings, each once."""
    own = config.simulator.own
    strings = (
        getattr(config.policy, "entrypoint", None),
        config.execution.aggregate,
        own.get("module"),
        own.get("id"),
    )
    modules = [text.partition(":")[0] for text in strings[:2] if text and ":" in text]
    modules += [text.partition(":")[0].partition("/")[0] for text in strings[2:] if text]
    return tuple(dict.fromkeys(module.partition(".")[0] for module in modules))


def module_paths(names: Sequence[str]) -> tuple[str, ...]:
    """Where those of the modules are that this interpreter finds outside of its installation."""
    found = [_path_of(name) for name in names if name.isidentifier() and name != _OURS]
    return tuple(str(path) for path in found if path is not None and not _is_installed(path))


def _path_of(name: str) -> Path | None:
    """A package's folder or a module's file; None of one that is not found, built in or spread over folders."""
    look_in_working_folder()
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations is not None:
        folders = list(spec.submodule_search_locations)
        return Path(folders[0]) if len(folders) == 1 else None
    return Path(spec.origin) if spec.has_location and spec.origin else None


def _is_installed(path: Path) -> bool:
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    return any(path.is_relative_to(sysconfig.get_path(kind)) for kind in kinds)

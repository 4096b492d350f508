"""Machine code: how it is compiled and kept, and how it calls libmujoco and the BLAS behind `np.dot` by address."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import numba
import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic

from ray_eval.envs.first_use import COMPILED
from ray_eval.envs.libero.model_cache import default_folder
from ray_eval.types import Array

F = TypeVar("F", bound=Callable[..., Any])

MUJOCO_FUNCTIONS: Final = (
    "mj_step1",
    "mj_step2",
    "mj_checkPos",
    "mj_checkVel",
    "mj_fwdPosition",
    "mj_fwdVelocity",
    "mj_fwdActuation",
    "mj_fwdAcceleration",
    "mj_fwdConstraint",
    "mj_checkAcc",
    "mj_Euler",
    "mj_jacSite",
)
"""What is called of libmujoco, in the order in which the addresses are given."""
SCIPY_FUNCTIONS: Final = (
    *(("scipy.linalg.cython_lapack", name) for name in ("dgebd2", "dbdsqr", "dorm2r", "dorml2")),
    ("scipy.linalg.cython_blas", "dgemm"),
)
"""What Numba's linear algebra comes down to, and so is called here."""
CBLAS_FUNCTIONS: Final = ("cblas_dgemv", "cblas_dgemm", "cblas_ddot")
"""What `np.dot` calls, and so is called here."""
CBLAS_SPELLINGS: Final = ("scipy_{}64_", "scipy_{}", "{}64_", "{}")
"""How builds of NumPy call them."""

ROW_MAJOR, COLUMN_MAJOR, NO_TRANSPOSE = 101, 102, 111
"""CBLAS's own numbers."""

NUMPY_MODULES: Final = ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath")
"""What is linked with NumPy's BLAS, in NumPy 2 and 1."""


@functools.cache
def addresses() -> Array | None:
    """Int64: `MUJOCO_FUNCTIONS`, `SCIPY_FUNCTIONS`, NumPy's `CBLAS_FUNCTIONS`, C's `memcpy`; None where one is missing.

    Names are looked up from the extension modules, so that what is found is what they are linked with.
    """
    import mujoco  # noqa: F401 -- loads what is looked up in

    found = [_address(["mujoco._functions"], [name]) for name in MUJOCO_FUNCTIONS]
    found += [_cython_address(module, name) for module, name in SCIPY_FUNCTIONS]
    found += [
        _address(NUMPY_MODULES, [spelling.format(name) for spelling in CBLAS_SPELLINGS]) for name in CBLAS_FUNCTIONS
    ]
    found.append(_address(NUMPY_MODULES, ["memcpy"]))
    return np.array(found, dtype=np.int64) if all(found) else None


def _cython_address(module: str, name: str) -> int | None:
    try:
        return int(get_cython_function_address(module, name))
    except (ImportError, ValueError):
        return None


def _address(modules: Iterable[str], names: Iterable[str]) -> int | None:
    """Where the loaded one of the modules, or a library that it depends on, has the first of the names that it has."""
    library = ctypes.CDLL(next(sys.modules[module].__file__ for module in modules if module in sys.modules))
    for name in names:
        if hasattr(library, name):
            return ctypes.cast(getattr(library, name), ctypes.c_void_p).value
    return None


class BvhSize:
    """The number of nodes in a model's bounding volume hierarchies, as mjModel has it.

    At each detection of collisions MuJoCo clears a flag of each node, which only a viewer that draws the nodes
    reads: 766 kB in LIBERO, whose meshes make up for 99 % of them, an eighth of the time of `mj_step`. Nothing else
    in a step reads their number.

    Args:
        word: (1,) int32 of mjModel itself; None where its place in this version is not known.
        size: What it says at other times.
    """

    def __init__(self, word: Array | None, size: int) -> None:
        self._word = word
        self._size = size

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Has MuJoCo find 0 while it only steps; other than stepping nothing may happen meanwhile."""
        if self._word is None:
            yield
            return
        try:
            self._word[0] = 0
            yield
        finally:
            self._word[0] = self._size


MODEL_SIZES: Final = ("nq", "nv", "nu", "na", "nbody", "nbvh", "nbvhstatic", "nbvhdynamic")
"""How mjModel begins in 3.2.3. Source: MuJoCo 3.2.3 include/mujoco/mjmodel.h."""


def bvh_size(model: Any) -> BvhSize:
    """That of an mjModel, valid while it lives; its address is used after the sizes around it have been recognised."""
    memory: Any = (ctypes.c_int32 * len(MODEL_SIZES)).from_address(model._address)  # noqa: SLF001
    words = np.frombuffer(memory, np.int32)
    is_known = words.tolist() == [getattr(model, name, None) for name in MODEL_SIZES]
    place = MODEL_SIZES.index("nbvh")
    # The sum, as the word itself may have been left hidden.
    return BvhSize(words[place : place + 1] if is_known else None, int(words[place + 1 : place + 3].sum()))


def compiled(function: F) -> F:
    """The function as machine code, compiled at its first call and kept on disk for the next process.

    The folder is named by the content of what is compiled, so that code of another release, or of another robosuite,
    is neither taken nor read. Numba writes files atomically. Where the folder cannot be made, Numba finds its own.
    """
    kept_in, folder = numba.config.CACHE_DIR, cache_folder()
    numba.config.CACHE_DIR = folder or kept_in
    try:
        code: F = numba.njit(cache=True)(function)
    finally:
        numba.config.CACHE_DIR = kept_in
    return code


@functools.cache
def cache_folder() -> str | None:
    """An existing folder of this user for this processor and the present sources; None where none can be made."""
    import robosuite.utils.control_utils as law
    import robosuite.utils.numba as how

    digest = hashlib.sha256(f"{llvm.get_host_cpu_name()}|{llvm.get_host_cpu_features().flatten()}".encode())
    own = [Path(__file__).with_name(name) for name in ("substeps.py", "visibility.py", "meeting.py")]
    for source in (law.__file__, how.__file__, __file__, *own):
        digest.update(Path(source).read_bytes())
    folder = default_folder().with_name(COMPILED) / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return str(folder) if os.access(folder, os.W_OK) else None


def _call(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Calls the function at `arguments[0]` with the integers, pointers and float64 in the tuple `arguments[1]`."""
    values = cgutils.unpack_tuple(builder, arguments[1])
    returned = signature.return_type
    result = ir.VoidType() if returned == types.void else context.get_value_type(returned)
    function = builder.inttoptr(arguments[0], ir.FunctionType(result, [value.type for value in values]).as_pointer())
    outcome = builder.call(function, values)
    return context.get_dummy_value() if returned == types.void else outcome


@intrinsic  # type: ignore[untyped-decorator]
def call(_typing: Any, _address: Any, values: Any) -> Any:
    """Calls a function, with a tuple of what it takes, for what it does.

    Integers are 64 bits wide: an ABI of 64 bits passes a narrower one in the lower part of as much.
    """
    return types.void(types.intp, values), _call


@intrinsic  # type: ignore[untyped-decorator]
def call_real(_typing: Any, _address: Any, values: Any) -> Any:
    """Calls a function, with a tuple of what it takes, that returns a float64."""
    return types.float64(types.intp, values), _call

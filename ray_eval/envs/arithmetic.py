"""Environment variables that have different CPUs compute the same bits, as far as variables can."""

from __future__ import annotations

from typing import Final

import numpy as np

_NEWER_THAN_AVX2: Final = ("AVX512", "X86_V4", "AVX10", "AMX")


def arithmetic_environment() -> dict[str, str]:
    """What narrows the choices that libraries make by CPU to those of any x86-64 with AVX2; empty on other CPUs.

    OpenBLAS (in NumPy, and in SciPy for Numba) and NumPy's loops then run the same instructions on a CPU with AVX-512
    and one without; llvmpipe draws in vectors of 256 bits. What has no variable is left to the canary: the C library
    and LLVM use fused multiply-add where there is one, MuJoCo is compiled for AVX.
    """
    features, dispatched = _numpy_features()
    if not features.get("AVX2"):
        return {}
    disabled = [name for name in dispatched if name.startswith(_NEWER_THAN_AVX2)]
    return {
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": " ".join(disabled),
        "LP_NATIVE_VECTOR_WIDTH": "256",
    }


def _numpy_features() -> tuple[dict[str, bool], list[str]]:
    """Features of this CPU, and those among which the installed NumPy chooses."""
    core = getattr(np, "_core", None) or np.core  # NumPy 1 has no _core
    module = core._multiarray_umath  # noqa: SLF001 -- NumPy's own show_config reads these
    return module.__cpu_features__, module.__cpu_dispatch__

"""Whether a simulator is about to compile what it keeps for later runs; imports no simulator."""

from __future__ import annotations

from ray_eval.errors import SetupError
from ray_eval.places import cache_folder

COMPILED = "compiled"
"""Folder in ray-eval's cache folder that has LIBERO's machine code."""


def is_first_use(simulator: str) -> bool:
    """Whether nothing of it is compiled in this user's cache; False for simulators that compile nothing."""
    if simulator not in ("libero", "libero_plus"):
        return False
    try:
        return not any((cache_folder() / COMPILED).glob("*/*/*.nbc"))
    except (OSError, SetupError):
        return False

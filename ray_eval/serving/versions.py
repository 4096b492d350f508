"""Which versions answer: those of the interpreter that the policy runs in; runs wherever a policy server does."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import platform
from collections.abc import Mapping
from types import MappingProxyType

DISTRIBUTIONS = ("ray-eval", "numpy", "grpcio", "torch", "lerobot", "transformers")
"""Installed packages that a policy server reports; those of them that are there."""


@functools.cache
def installed_versions() -> Mapping[str, str]:
    """Versions of what may change an answer, and of Python."""
    versions = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return MappingProxyType(versions)

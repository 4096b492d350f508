"""Whose code computes a LeRobot policy's answers, by version: what a run's identity has of it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from ray_eval.policies.lerobot.kinds import is_known, needs_of
from ray_eval.policies.lerobot.plugins import versions_of

_COMPUTING = ("diffusers", "peft", "scipy", "transformers")
"""Packages whose versions may change an answer, of those that policies name as what they need."""


def lerobot_version() -> str:
    """The installed LeRobot's version."""
    return importlib.metadata.version("lerobot")


def versions_used(policy: Any, preprocess: Any, *, is_adapted: bool) -> Mapping[str, str]:
    """Versions of LeRobot, of a plug-in, and of the libraries that the policy's type and its tokenizer run on."""
    names = {"lerobot", *_libraries(policy.config.type), *({"peft"} if is_adapted else ())}
    if any(hasattr(step, "input_tokenizer") or hasattr(step, "_processor") for step in preprocess.steps):
        names.add("transformers")
    if "transformers" in names:
        names.add("tokenizers")
    return {**dict(_versions(sorted(names))), **versions_of(type(policy))}


def _libraries(kind: str) -> set[str]:
    """Those that a known type needs; of a third party's, those that were imported when it was loaded."""
    if is_known(kind):
        return {name for name in needs_of(kind, lerobot_version()).modules if name in _COMPUTING}
    return {name for name in _COMPUTING if name in sys.modules}


def _versions(names: list[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield name, importlib.metadata.version(name)

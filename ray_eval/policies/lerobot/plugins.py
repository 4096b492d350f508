"""Policy types of the installed LeRobot, those of third parties (`lerobot_policy_*`) among them, and their versions."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import sys
from collections.abc import Mapping
from pathlib import Path

from ray_eval.foreign import told

PREFIX = "lerobot_policy_"
"""What a distribution is called that brings policies to LeRobot."""
_LEROBOT = "lerobot"


def known_types() -> tuple[str, ...]:
    """Policy types that the installed LeRobot knows, plug-ins included, which it imports as `lerobot-eval` does."""
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.utils import import_utils

    importlib.import_module("lerobot.policies")  # each of its configurations registers itself
    register = getattr(import_utils, "register_third_party_plugins", None)
    if register is not None:
        register()
    return tuple(sorted(PreTrainedConfig.get_known_choices()))


def broken_plugins() -> dict[str, str]:
    """What is wrong with each plug-in that is installed and cannot be imported; LeRobot passes over such."""
    return {name: told(error) for name in _installed() if (error := _error_of(name)) is not None}


def versions_of(policy_class: type) -> Mapping[str, str]:
    """Version and content of the plug-in that a policy's class comes from; empty for LeRobot's own.

    A plug-in is often worked on without a new version: SHA-256 over its Python files tells its states apart.
    """
    package = policy_class.__module__.partition(".")[0]
    if package == _LEROBOT:
        return {}
    return {package: f"{_version_of(package)} sha256:{_digest_of(package)}"}


def _version_of(package: str) -> str:
    """The version of the distribution that brings a package, which LeRobot wants to be called like it."""
    for name in (package, *importlib.metadata.packages_distributions().get(package, [])):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return "0"


def _installed() -> list[str]:
    names = {distribution.metadata["Name"] or "" for distribution in importlib.metadata.distributions()}
    return sorted(name.replace("-", "_") for name in names if name.replace("-", "_").startswith(PREFIX))


def _error_of(name: str) -> Exception | None:
    try:
        importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - a third party's module may raise anything
        return error
    return None


def _digest_of(package: str) -> str:
    origin = getattr(sys.modules.get(package), "__file__", None)
    digest = hashlib.sha256()
    if origin is not None:
        folder = Path(origin).parent
        for path in sorted(folder.rglob("*.py")) if Path(origin).name == "__init__.py" else [Path(origin)]:
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]

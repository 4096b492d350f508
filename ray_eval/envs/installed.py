"""Whether a simulator's packages are here, and of which versions; imports them only when asked to."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from importlib import metadata

from ray_eval.errors import SetupError
from ray_eval.foreign import told


def installed_version(distribution: str) -> str:
    """Version of an installed distribution; `missing` where there is none."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"


def version_differences(reference: Mapping[str, str], consequences: Mapping[str, str], install: str) -> str | None:
    """What differs from the reference versions and what it changes, a line each; None where nothing does.

    Args:
        reference: Versions by distribution.
        consequences: What another version changes, by distribution.
        install: Command that installs the reference versions.
    """
    lines = [
        f"{name} {found} instead of {wanted}: {consequences[name]}"
        for name, wanted in reference.items()
        if (found := installed_version(name)) != wanted
    ]
    return "\n".join([*lines, f"Remedy: {install}"]) if lines else None


def check_installed(module: str, install: str) -> None:
    """Passes when a simulator's top module is there, without importing it.

    Args:
        module: Its name.
        install: Command that installs it.

    Raises:
        SetupError: it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise SetupError(f"{module}: expected the simulator in this interpreter, found none; {_remedy(install)}")


def _remedy(install: str) -> str:
    return f"{install}, or name an interpreter that has it with simulator.python=PATH"


def check_importable(module: str, install: str) -> None:
    """Passes once a simulator's module is imported.

    Args:
        module: Its dotted name.
        install: Command that installs it.

    Raises:
        SetupError: it is not installed, or something that it imports is missing or broken.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise SetupError(
            f"{module}: expected the simulator in this interpreter, got {told(error)}; {_remedy(install)}"
        ) from error

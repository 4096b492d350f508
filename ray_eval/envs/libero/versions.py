"""Whether the installed simulator gives the numbers that others report."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Final

REFERENCE: Final[Mapping[str, str]] = {"mujoco": "3.2.3", "robosuite": "1.4.0"}
"""Versions behind the published LIBERO results (openpi, vla-eval, starVLA)."""

_CONSEQUENCES: Final[Mapping[str, str]] = {
    "mujoco": (
        "from 3.3.3 libero_object's floor renders darker (OpenVLA 88% -> 68%), from 3.4.0 the bowl of libero_spatial "
        "task 5 no longer settles on the ramekin (98% -> 12%)"
    ),
    "robosuite": "controllers, observables and reset differ between releases, and with them every trajectory",
}


def simulator_versions() -> dict[str, str]:
    """Installed version of each reference package; `missing` where there is none."""
    return {name: _installed(name) for name in REFERENCE}


def simulator_version_warning() -> str | None:
    """What differs from the reference versions and what it changes; None where nothing differs."""
    lines = [
        f"{name} {installed} instead of {REFERENCE[name]}: {_CONSEQUENCES[name]}"
        for name, installed in simulator_versions().items()
        if installed != REFERENCE[name]
    ]
    if not lines:
        return None
    wanted = " ".join(f"{name}=={version}" for name, version in REFERENCE.items())
    return "\n".join(
        ["THE NUMBERS OF THIS RUN ARE NOT COMPARABLE TO PUBLISHED ONES", *lines, f"Remedy: pip install {wanted}"]
    )


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"

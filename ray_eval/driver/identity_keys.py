"""Which keys a run's identity has since when: what an older ledger does not say is no difference."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

IDENTITY_VERSION: Final = 2
"""Version of the set of keys that a header written today has."""
UNKNOWN: Final = object()
"""Stands for the value that a key had before it was recorded, where that could be anything."""

_POLICY_LIBRARIES: Final = ("compile", "diffusers", "lerobot_policy_", "peft", "scipy", "tokenizers", "transformers")
"""What a LeRobot policy's runtime says beside the versions of LeRobot and torch."""

INTRODUCED: Final[Mapping[int, Mapping[str, Any]]] = MappingProxyType(
    {
        2: {
            "environment.code_": UNKNOWN,
            "environment.content_": UNKNOWN,
            "environment.simulator.": UNKNOWN,
            "protocol.instruction": "filename",
            **{f"environment.policy_{name}": UNKNOWN for name in _POLICY_LIBRARIES},
        }
    }
)
"""By version: the keys that it added (a final `_` or `.` stands for all that begin so) and their values before it."""


def recorded_version(header: Mapping[str, Any]) -> int:
    """The version of a header's set of keys: 1 where it does not say."""
    return int(header.get("identity_version", 1))


def with_former_values(header: Mapping[str, Any]) -> dict[str, Any]:
    """A header's identity with the values that keys had before they were recorded, where there was only one."""
    version = recorded_version(header)
    former = {
        key: value
        for introduced, keys in INTRODUCED.items()
        for key, value in keys.items()
        if version < introduced and value is not UNKNOWN
    }
    return {**former, **header["identity"]}


def is_older_than(version: int, key: str, value: Any) -> bool:
    """Whether a ledger of this version is silent on a key because it is older, and may have had this value."""
    for introduced, keys in INTRODUCED.items():
        for name, before in keys.items():
            matches = key.startswith(name) if name.endswith(("_", ".")) else key == name
            if matches and version < introduced:
                return before is UNKNOWN or bool(before == value)
    return False

"""Whether the machines of a run compute the same bits; pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ray_eval.types import Canary

IDENTITY_PREFIX = "canary_"
"""Begins the names of the canary's parts in a run's environment."""
PARTS = tuple(field.name for field in dataclasses.fields(Canary))
"""Names of the canary's parts."""


def differing_parts(canaries: Sequence[Canary]) -> list[str]:
    """The parts that are not the same for all."""
    return [part for part in PARTS if len({getattr(canary, part) for canary in canaries}) > 1]


def unlike(canaries: Mapping[str, Canary], hosts: Mapping[str, str]) -> str:
    """What is to be said of workers whose canaries differ: the parts, the hosts, the remedy.

    Args:
        canaries: By worker.
        hosts: The host of each worker.
    """
    groups: dict[str, set[str]] = {}
    for worker, canary in canaries.items():
        groups.setdefault(canary.digest, set()).add(hosts[worker])
    found = " and ".join(f"{digest} on {', '.join(sorted(names))}" for digest, names in sorted(groups.items()))
    return (
        f"workers: expected machines that compute the same bits, got different "
        f"{' and '.join(differing_parts(list(canaries.values())))} ({found}); "
        "take machines alike, or set limits.allow_mixed=true and the run is marked as mixed"
    )


def canary_identity(canaries: Sequence[Canary]) -> dict[str, Any]:
    """Each part's hash, several where machines differ, None where no canary was run."""
    found = {part: sorted({getattr(canary, part) for canary in canaries}, key=str) for part in PARTS}
    return {IDENTITY_PREFIX + part: _single(values) for part, values in found.items()}


def _single(values: list[str | None]) -> Any:
    return values if len(values) > 1 else next(iter(values), None)

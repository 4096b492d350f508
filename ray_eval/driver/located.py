"""Places of a run that its identity leaves out, because what was found there is in it by its digest; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DIGESTS: Mapping[str, str] = {
    "policy.path": "environment.policy_sha256",
    "policy.revision": "environment.policy_sha256",
    "execution.latency.trace": "environment.latency_trace_sha256",
}
"""Keys of a configuration that say where something is, and the key of an identity that says what it is."""


def known_by_digest(identity: Mapping[str, Any]) -> frozenset[str]:
    """The keys that say where something is whose content the identity has: it may have moved."""
    return frozenset(key for key, digest in _DIGESTS.items() if identity.get(digest) is not None)


def without_places(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The identity without the keys that say where something is whose content it has."""
    known = known_by_digest(identity)
    return {key: value for key, value in identity.items() if key not in known}

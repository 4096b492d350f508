"""Whether anybody listens where a policy is to be asked, before a Ray is started for it; runs in the driver."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Sequence

from ray_eval.config import EvalConfig
from ray_eval.errors import SetupError
from ray_eval.sections import RemoteSection

PATIENCE_S = 3.0
"""How long somebody is looked for: a server that is starting listens soon."""
PAUSE_S = 0.2
DEFAULT_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}
"""Ports of addresses that name none, by their scheme."""


def check_servers(config: EvalConfig, patience_s: float = PATIENCE_S) -> None:
    """Passes when somebody listens at one of the policy's addresses, or they are not this machine's to try.

    Raises:
        SetupError: nobody does.
    """
    if isinstance(config.policy, RemoteSection) and config.ray.address is None:
        _look_for(config.policy.addresses, patience_s)


def _look_for(addresses: Sequence[str], patience_s: float) -> None:
    until = time.monotonic() + patience_s
    while True:
        reasons = [_reason(address, PATIENCE_S) for address in addresses]
        if None in reasons:
            return
        if time.monotonic() >= until:
            there = ", ".join(f"{address} ({reason})" for address, reason in zip(addresses, reasons, strict=True))
            raise SetupError(f"policy.addresses: expected a server, got nobody at {there}; start it, or correct them")
        time.sleep(PAUSE_S)


def _reason(address: str, timeout_s: float) -> str | None:
    """Why nobody can be reached there; None where somebody can."""
    scheme, _, rest = address.rpartition("://")
    try:
        if rest.startswith("unix:"):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(timeout_s)
                probe.connect(rest.removeprefix("unix:").removeprefix("//"))
            return None
        host, _, port = rest.split("/", 1)[0].rpartition(":")
        if not re.fullmatch(r"\d+", port):
            host, port = rest.split("/", 1)[0], str(DEFAULT_PORTS.get(scheme.lower(), 80))
        socket.create_connection((host.strip("[]"), int(port)), timeout_s).close()
    except OSError as error:
        return error.strerror or str(error)
    return None

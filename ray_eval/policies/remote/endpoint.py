"""Where a server is: its address taken apart, and a TCP connection that notices when the other end is gone."""

from __future__ import annotations

import contextlib
import importlib
import re
import socket
from typing import Any

from ray_eval.errors import SetupError
from ray_eval.policies.remote.pool import DEAD_S, LinkBrokenError

KEEP_ALIVE = {"TCP_KEEPIDLE": 2, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 3}
"""Seconds, seconds and tries: a machine that vanished is noticed after 2 + 3 x 1 s. Not every system has them all."""

KEEP_ALIVE_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in KEEP_ALIVE.items()
        if hasattr(socket, name)
    ),
)
"""Socket options that have the kernel ask whether the other end is still there."""


def host_and_port(address: str) -> str:
    """The address without a scheme, for sockets that have none."""
    return address.split("://", 1)[-1].rstrip("/")


def split_address(address: str, default_port: int) -> tuple[str, int]:
    """Host and port of `host:port`, `[host]:port` or a URL."""
    authority = host_and_port(address).split("/", 1)[0]
    host, _, port = authority.rpartition(":")
    return (host or authority).strip("[]"), int(port) if re.fullmatch(r"\d+", port) else default_port


def connect_tcp(address: str, default_port: int, timeout_s: float) -> socket.socket:
    """A connection to whoever listens there, with KEEP_ALIVE_OPTIONS set.

    Raises:
        LinkBrokenError: nobody does, or nobody answers within 5 s.
    """
    host, port = split_address(address, default_port)
    try:
        connected = socket.create_connection((host, port), min(timeout_s, DEAD_S))
    except OSError as error:
        raise LinkBrokenError(f"nobody listens there ({error})") from error
    for level, name, value in KEEP_ALIVE_OPTIONS:
        with contextlib.suppress(OSError):
            connected.setsockopt(level, name, value)
    connected.settimeout(None)
    return connected


def speaks_first(connected: socket.socket, timeout_s: float) -> bool:
    """Whether somebody says something within a time who should be waiting to be asked; hangs up."""
    with connected:
        connected.settimeout(timeout_s)
        try:
            return bool(connected.recv(1))
        except OSError:
            return False


def import_from_extra(module: str, package: str, extra: str) -> Any:
    """A module of a package that only some policies need.

    Raises:
        SetupError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SetupError(
            f"policy: expected the package {package}, got none; pip install 'ray-eval[{extra}]'"
        ) from error

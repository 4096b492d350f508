"""What a Ray cluster that is to be joined asks for, found out before Ray tries; runs in the driver."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import grpc
import ray

from ray_eval.errors import SetupError

TOKEN_PATH = Path("~/.ray/auth_token").expanduser()
"""Where Ray keeps the token that its nodes, its clients and its dashboard ask for."""
AUTH_MODE = "RAY_AUTH_MODE"
"""Environment variable that tells Ray whether tokens are used: `token` or `disabled`."""
PROBE_TIMEOUT_S = 5.0
_CLUSTER_ID_METHOD = "/ray.rpc.NodeInfoGcsService/GetClusterId"


def prepare_to_join(address: str) -> None:
    """Sets Ray to use its token exactly where the cluster does, unless the user has set RAY_AUTH_MODE.

    A driver that asks its cluster for tokens which that does not send is taken for dead by it, and the other way
    round the cluster refuses the driver.

    Raises:
        SetupError: nobody answers there.
    """
    where = _located(address)
    if where is None:
        return
    _check_that_somebody_listens(address, *where)
    if AUTH_MODE not in os.environ:
        os.environ[AUTH_MODE] = "token" if asks_for_token(*where) else "disabled"
    # Ray has read the variable when it was imported.
    ray._raylet.Config.initialize("")  # noqa: SLF001 - as Ray itself does where it starts a cluster


def asks_for_token(host: str, port: int) -> bool:
    """Whether the cluster refuses a call without a token."""
    with grpc.insecure_channel(f"{host}:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(_CLUSTER_ID_METHOD, _as_it_is, _as_it_is)(b"", timeout=PROBE_TIMEOUT_S)
        except grpc.RpcError as error:
            return bool(error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED))
    return False


def _as_it_is(message: bytes) -> bytes:
    return message


def _located(address: str) -> tuple[str, int] | None:
    """Host and port of a cluster's head; None where only Ray knows how to find it."""
    if address == "auto":
        # What `auto` means to Ray itself.
        address = os.environ.get("RAY_ADDRESS") or ray._private.services.find_bootstrap_address(None) or ""  # noqa: SLF001
    host, _, port = address.rpartition(":")
    return (host, int(port)) if host and port.isdecimal() and "/" not in host else None


def _check_that_somebody_listens(address: str, host: str, port: int) -> None:
    """Ray itself goes on trying an address that nobody answers at for minutes."""
    try:
        socket.create_connection((host, port), timeout=PROBE_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise SetupError(
            f"ray.address={address}: expected a Ray cluster there, got {error}; "
            "start one (ray start --head), mend the address, or leave it out for a Ray of this run's own"
        ) from error

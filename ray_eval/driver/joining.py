"""What a Ray cluster that is to be joined asks for, found out before Ray tries; runs in the driver."""

from __future__ import annotations

import os
import socket
from typing import Any

import grpc
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_eval.driver.endings import told_end
from ray_eval.driver.starting import AUTH_MODE
from ray_eval.errors import ConfigError, SetupError

PROBE_TIMEOUT_S = 5.0
MEMBER_TIMEOUT_S = 30.0
"""How long the nodes of a cluster are given to say which ray-eval they have."""
_CLIENT_SCHEME = "ray://"
_CLUSTER_ID_METHOD = "/ray.rpc.NodeInfoGcsService/GetClusterId"


def prepare_to_join(address: str) -> None:
    """Sets Ray to use its token exactly where the cluster does, unless the user has set RAY_AUTH_MODE.

    A driver that asks its cluster for tokens which that does not send is taken for dead by it, and the other way
    round the cluster refuses the driver.

    Raises:
        ConfigError: it is an address of Ray Client's.
        SetupError: nobody answers there.
    """
    if address.startswith(_CLIENT_SCHEME):
        raise ConfigError(
            f"ray.address={address}: expected a cluster that this machine is a node of, got an address of Ray Client; "
            "run ray-eval on one of its nodes with ray.address=auto (ray job submit starts it there)"
        )
    where = _located(address)
    if where is None:
        return
    _check_that_somebody_listens(address, *where)
    if AUTH_MODE not in os.environ:
        os.environ[AUTH_MODE] = "token" if asks_for_token(*where) else "disabled"
    # Ray has read the variable when it was imported.
    ray._raylet.Config.initialize("")  # noqa: SLF001 - as Ray itself does where it starts a cluster


def check_members(address: str) -> None:
    """Passes where workers can be imported on every node of the cluster that was joined.

    Raises:
        SetupError: on some they cannot.
    """
    questions = {node["NodeManagerHostname"]: _defect_of(node["NodeID"]) for node in ray.nodes() if node["Alive"]}
    ray.wait(list(questions.values()), num_returns=len(questions), timeout=MEMBER_TIMEOUT_S)
    for host, question in questions.items():
        try:
            defect = ray.get(question, timeout=0)
        except ray.exceptions.GetTimeoutError:
            # A node that is slow to answer, or on its way out, is judged by who is placed there.
            continue
        except ray.exceptions.RayError as error:
            defect = told_end(error)
        if defect is not None:
            raise SetupError(
                f"ray.address={address}: expected ray-eval in the Python that Ray was started with on {host}, got "
                f"{defect}; pip install 'ray-eval[eval]' there, or start Ray by a Python that has it"
            )


def _defect_of(node_id: str) -> Any:
    """Why a node's Python cannot be a worker, to be had; None where it can."""

    # Defined here, it travels by its code: what is looked for need not be there.
    def defect() -> str | None:
        import importlib

        try:
            importlib.import_module("ray_eval.rollout.actor")
        except ImportError as error:
            return str(error)
        return None

    where = NodeAffinitySchedulingStrategy(node_id, soft=False)
    return ray.remote(defect).options(num_cpus=0, scheduling_strategy=where, max_retries=0).remote()


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

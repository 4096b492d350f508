"""The policy actor: a Ray actor that hosts one policy behind the gRPC server; never opens a GL context."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

from ray_eval.errors import RayEvalError, SetupError
from ray_eval.foreign import told_with_traceback
from ray_eval.interfaces import Policy
from ray_eval.scratch import only_time, restore_folder
from ray_eval.sections import BatchingSection, ConnectSection, ListenSection, PolicySection
from ray_eval.serving.determinism import load_policy
from ray_eval.serving.hosting import HostedServer, serve_in_child
from ray_eval.serving.interpreter import interpreter_of
from ray_eval.serving.listening import is_every_interface, unix_path
from ray_eval.serving.server import RunningServer, serve_in_thread
from ray_eval.serving.timing import SlowedPolicy, calibrated_ms
from ray_eval.types import PolicySpec
from ray_eval.wire.transport import UNIX_PREFIX

logger = logging.getLogger(__name__)

NODE_HOST = "node"
"""Host in a listening address that stands for the IP address of the node on which the actor is placed."""

GPU_QUERY_TIMEOUT_S = 20


class PolicyActor:
    """The actor class; it serves from its construction on, so a restarted actor serves again."""

    def __init__(self, name: str, policy: PolicySection, listen: ListenSection, batching: BatchingSection) -> None:
        """Loads the policy and starts its server; what goes wrong is raised by `spec`, where the driver asks."""
        self._name = name
        self._listen = dataclasses.replace(listen, address=on_this_node(listen.address))
        self._stack = contextlib.ExitStack()
        self._failure: RayEvalError | None = None
        if listen.address.startswith(UNIX_PREFIX):
            restore_folder(unix_path(listen.address).parent)
        try:
            with _loading(name):
                self._policy, self._server = self._hosted(policy, batching)
        except RayEvalError as error:
            self._stack.close()
            self._failure = error
        except (Exception, SystemExit) as error:  # noqa: BLE001 - raised by `spec`, as every reason why there is no policy
            self._stack.close()
            self._failure = SetupError(f"{name}: expected it to serve its policy, got {told_with_traceback(error)}")

    def _hosted(self, section: PolicySection, batching: BatchingSection) -> tuple[Policy, RunningServer | HostedServer]:
        """The policy and its server, here or in the interpreter that the policy is to run in."""
        if interpreter_of(section) is not None:
            child = self._stack.enter_context(serve_in_child(section, self._listen, batching))
            return child.policy(), child
        policy, sizes = load_policy(section, batching)
        if batching.slowdown_ms is not None:
            policy = SlowedPolicy(policy, batching.slowdown_ms)
        return policy, self._stack.enter_context(serve_in_thread(policy, self._listen, sizes))

    def __repr__(self) -> str:
        """What the Ray dashboard shows."""
        return self._name

    def spec(self) -> PolicySpec:
        """What the policy needs and answers.

        Raises:
            SetupError: the policy cannot be loaded, or the address cannot be taken.
        """
        return self._running().spec

    def describe(self) -> dict[str, Any]:
        """Where the policy runs, with which GPUs, and with which versions in the interpreter that it runs in.

        Raises:
            SetupError: there is no server, because the policy could not be loaded.
        """
        return {"host": platform.node(), "gpus": gpus(), "versions": self._running().versions()}

    def _running(self) -> RunningServer | HostedServer:
        if self._failure is not None:
            raise self._failure
        return self._server

    def connection(self) -> ConnectSection:
        """How a worker reaches the server as it stands now.

        Where the socket file is gone, as by what clears /tmp, nobody new can come in: the process ends, and Ray has
        another one serve at the same place.

        Raises:
            SetupError: there is none, because the policy could not be loaded.
        """
        address = as_called(self._running().address)
        if address.startswith(UNIX_PREFIX) and not unix_path(address).exists():
            logger.error("%s: expected its socket file %s, found none; it is started again", self._name, address)
            os._exit(1)
        return ConnectSection(address, token=self._listen.token, certificate_pem=self._listen.certificate_pem)

    def calibrate(self, rows: int = 1) -> float:
        """Median time of a forward of so many rows, ms; to be asked while nobody else asks anything."""
        return calibrated_ms(self._policy, rows=rows)

    def resident_bytes(self) -> int:
        """Resident memory of this process and of those that it started."""
        import psutil

        itself = psutil.Process()
        return sum(each.memory_info().rss for each in (itself, *itself.children(recursive=True)))

    def metrics(self) -> dict[str, Any]:
        """Batch sizes, queue wait and forward times since the start.

        Raises:
            SetupError: there is no server, because the policy could not be loaded.
        """
        return self._running().metrics()

    def close(self) -> None:
        """Finishes the requests in flight and stops serving."""
        self._stack.close()


@contextlib.contextmanager
def _loading(name: str) -> Iterator[None]:
    """Within, a folder says that this actor loads its policy: one that finds it was restarted, having died of that.

    Raises:
        SetupError: so it did, and would again.
    """
    import ray

    actor_id = ray.get_runtime_context().get_actor_id() if ray.is_initialized() else None
    if actor_id is None:
        yield
        return
    with only_time(str(actor_id)) as has_died:
        if has_died:
            raise SetupError(
                f"{name}: expected its policy to be loaded, got the end of the process that did: a crash in native "
                "code or too little memory; load it by `ray-eval serve` to see its last words"
            )
        yield


def as_called(address: str) -> str:
    """The address under which a server is called; this node's for one that listens on every interface."""
    host, _, port = address.rpartition(":")
    return on_this_node(f"{NODE_HOST}:{port}") if is_every_interface(host.strip("[]")) else address


def gpus() -> list[str]:
    """Name and driver version of each GPU of this machine."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=GPU_QUERY_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return found.stdout.strip().splitlines()


def on_this_node(address: str) -> str:
    """The address with this node's IP address for the host `node`."""
    host, _, port = address.rpartition(":")
    if host != NODE_HOST:
        return address
    import ray

    return f"{ray.util.get_node_ip_address()}:{port}"

"""`ray-eval serve`: a policy server in a process of its own, without Ray."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

from ray_eval.interfaces import Policy
from ray_eval.sections import BatchingSection, ListenSection, PolicySection
from ray_eval.serving.determinism import load_policy
from ray_eval.serving.hosting import serve_in_child
from ray_eval.serving.interpreter import interpreter_of
from ray_eval.serving.server import STOP_GRACE_S, PolicyServer
from ray_eval.serving.timing import SlowedPolicy
from ray_eval.types import PolicySpec

STDIN = 0
"""File descriptor of standard input."""


def serve_section(section: PolicySection, listen: ListenSection, batching: BatchingSection) -> None:
    """Loads the policy of a configuration and serves it, see `serve`; in its own interpreter where it names one.

    Raises:
        SetupError: the policy cannot be loaded, or the address cannot be had.
    """
    if interpreter_of(section) is None:
        policy, sizes = load_policy(section, batching)
        if batching.slowdown_ms is not None:
            policy = SlowedPolicy(policy, batching.slowdown_ms)
        serve(policy, listen, sizes)
        return
    with serve_in_child(section, listen, batching) as child:
        print(_greeting(child.spec, listen, child.address), flush=True)
        asyncio.run(_stopped())


def stop_with_stdin() -> None:
    """Ends this process, as SIGTERM does, once standard input is closed: with the process that holds its other end."""

    def watch() -> None:
        while os.read(STDIN, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="stdin-watcher", daemon=True).start()


def serve(policy: Policy, listen: ListenSection, batching: BatchingSection) -> None:
    """Serves until SIGINT or SIGTERM, then finishes the requests in flight; called from the main thread.

    Raises:
        SetupError: the address cannot be had, or must not be had without credentials.
    """
    asyncio.run(_serve(policy, listen, batching))


async def _serve(policy: Policy, listen: ListenSection, batching: BatchingSection) -> None:
    stop = _stop_event()
    server = PolicyServer(policy, listen, batching)
    address = await server.start()
    print(_greeting(server.spec, listen, address), flush=True)
    await stop.wait()
    print(f"stopping; requests in flight have {STOP_GRACE_S:g} s", flush=True)
    await server.stop(STOP_GRACE_S)


def _stop_event() -> asyncio.Event:
    """Set by SIGINT and SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _stopped() -> None:
    await _stop_event().wait()


def _greeting(spec: PolicySpec, listen: ListenSection, address: str) -> str:
    """What a reader must know to connect; the token itself is not shown."""
    lines = [
        f"policy {spec.name!r} is served at {address} (Open Inference Protocol over gRPC)",
        f"  reads {', '.join(spec.keys)}",
        f"  answers {spec.chunk_len} x {spec.action_dim} actions",
        f"  promises {'the same bytes for the same request' if spec.is_reproducible else 'no bytes'}",
        f"  TLS: {'the certificate given' if listen.certificate_pem else 'none'}",
        f"  token: {'metadata `authorization: Bearer TOKEN`' if listen.token else 'none'}",
        "  Ctrl+C stops it",
    ]
    return "\n".join(lines)

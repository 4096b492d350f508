"""`ray-eval serve`: a policy server in a process of its own, without Ray."""

from __future__ import annotations

import asyncio
import signal

from ray_eval.interfaces import Policy
from ray_eval.sections import BatchingSection, ListenSection, PolicySection
from ray_eval.serving.determinism import load_policy
from ray_eval.serving.server import STOP_GRACE_S, PolicyServer


def serve_section(section: PolicySection, listen: ListenSection, batching: BatchingSection) -> None:
    """Loads the policy of a configuration and serves it, see `serve`.

    Raises:
        SetupError: the policy cannot be loaded, or the address cannot be had.
    """
    policy, sizes = load_policy(section, batching)
    serve(policy, listen, sizes)


def serve(policy: Policy, listen: ListenSection, batching: BatchingSection) -> None:
    """Serves until SIGINT or SIGTERM, then finishes the requests in flight; called from the main thread.

    Raises:
        SetupError: the address cannot be had, or must not be had without credentials.
    """
    asyncio.run(_serve(policy, listen, batching))


async def _serve(policy: Policy, listen: ListenSection, batching: BatchingSection) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = PolicyServer(policy, listen, batching)
    address = await server.start()
    print(_greeting(policy, listen, address), flush=True)
    await stop.wait()
    print(f"stopping; requests in flight have {STOP_GRACE_S:g} s", flush=True)
    await server.stop(STOP_GRACE_S)


def _greeting(policy: Policy, listen: ListenSection, address: str) -> str:
    """What a reader must know to connect; the token itself is not shown."""
    spec = policy.spec
    lines = [
        f"policy {spec.name!r} is served at {address} (Open Inference Protocol over gRPC)",
        f"  reads {', '.join(spec.keys)}",
        f"  answers {spec.chunk_len} x {spec.action_dim} actions",
        f"  TLS: {'the certificate given' if listen.certificate_pem else 'none'}",
        f"  token: {'metadata `authorization: Bearer TOKEN`' if listen.token else 'none'}",
        "  Ctrl+C stops it",
    ]
    return "\n".join(lines)

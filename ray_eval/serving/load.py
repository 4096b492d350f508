"""Clients of a policy server that ask as fast as they are answered, in a process of their own, and what they measured.

`python -m ray_eval.serving.load ADDRESS CLIENTS REQUESTS` connects, says `ready`, waits for a line, asks,
and prints what it saw as JSON. The policy must answer `actions[0, 0]` = the request's noise seed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ray_eval.policies.contract import trial_observation
from ray_eval.sections import ConnectSection
from ray_eval.serving.server import RunningServer
from ray_eval.wire import codec
from ray_eval.wire import open_inference_pb2 as pb
from ray_eval.wire.channel import infer_method, open_channel
from ray_eval.wire.open_inference_pb2_grpc import GRPCInferenceServiceStub

TRY_TIMEOUT_S = 120.0
"""Longest wait for one answer."""
LARGEST_SEED = 1 << 24
"""Numbers below it are float32 exactly."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a number of clients measured against a server, and the server against its policy."""

    clients: int
    """Clients that each had one request under way."""
    requests: int
    """Requests sent, each under an id of its own."""
    lost: int
    """Requests without an answer, or with somebody else's."""
    computed: int
    """Rows that the policy was asked for; more than `requests` would be answered twice."""
    mean_batch: float
    """Rows per forward."""
    max_batch: int
    """Largest forward."""
    per_s: float
    """Answers per second."""
    round_trip_ms: float
    """Median round trip."""
    queue_wait_ms: float
    """Mean time from arrival to the start of the forward."""
    forward_ms: float
    """Mean time of a forward."""
    overhead_ms: float
    """Mean round trip less that: with one client, what a request costs beside its forward."""
    busy_share: float
    """Share of the time during which the policy computed; its bound is 1."""
    idle_share: float
    """Share of the time during which it did not although requests waited."""


def measure(running: RunningServer, clients: int, requests: int, processes: int = 1) -> Load:
    """The figures of so many clients that send so many requests together, from processes of their own.

    Raises:
        RuntimeError: a client process ended early.
    """
    shares = [_share(clients, processes, index) for index in range(processes)]
    counts = [requests * share // clients for share in shares]
    counts[0] += requests - sum(counts)
    with contextlib.ExitStack() as stack:
        commands = zip(shares, counts, strict=True)
        asking = [stack.enter_context(_client_process(running.address, share, count)) for share, count in commands]
        for process in asking:
            _line_of(process, "ready")
        before, started = running.server.metrics(), time.perf_counter()
        for process in asking:
            process.stdin.write("go\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        seen = [json.loads(_line_of(process)) for process in asking]
        wall_s = time.perf_counter() - started
    after = running.server.metrics()
    sizes = {size: count - before.batch_sizes.get(size, 0) for size, count in after.batch_sizes.items()}
    computed, batches = after.requests - before.requests, after.batches - before.batches
    forward_ms = (after.forward_ms - before.forward_ms) / max(1, batches)
    round_trips_ms = [ms for each in seen for ms in each["ms"]]
    return Load(
        clients=clients,
        requests=requests,
        lost=requests - sum(each["right"] for each in seen),
        computed=computed,
        mean_batch=computed / max(1, batches),
        max_batch=max((size for size, count in sizes.items() if count), default=0),
        per_s=requests / wall_s,
        round_trip_ms=float(np.median(round_trips_ms)),
        queue_wait_ms=(after.queue_wait_ms - before.queue_wait_ms) / max(1, computed),
        forward_ms=forward_ms,
        overhead_ms=float(np.mean(round_trips_ms)) - forward_ms,
        busy_share=(after.forward_ms - before.forward_ms) / 1000 / wall_s,
        idle_share=(after.idle_while_queued_ms - before.idle_while_queued_ms) / 1000 / wall_s,
    )


def _share(total: int, parts: int, index: int) -> int:
    return total // parts + (index < total % parts)


@contextlib.contextmanager
def _client_process(address: str, clients: int, requests: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "ray_eval.serving.load", address, str(clients), str(requests)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def _line_of(process: subprocess.Popen[str], expected: str | None = None) -> str:
    line = process.stdout.readline().strip()  # type: ignore[union-attr]
    if not line or expected not in (None, line):
        raise RuntimeError(f"client process {process.pid}: expected {expected or 'its figures'}, got {line!r}")
    return line


class _Client(threading.Thread):
    """One client: sends, waits, sends again."""

    def __init__(self, address: str, seeds: range) -> None:
        super().__init__()
        self.right = 0
        self.times_ms: list[float] = []
        self._seeds = seeds
        self._channel = open_channel(ConnectSection(address))
        stub: Any = GRPCInferenceServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._spec = codec.decode_metadata(stub.ModelMetadata(pb.ModelMetadataRequest(), timeout=TRY_TIMEOUT_S))
        self._ask = infer_method(self._channel)
        self._row = trial_observation(self._spec, 0)
        self._is_right(-1 - seeds.start)

    def run(self) -> None:
        """Asks once for every seed."""
        for seed in self._seeds:
            started = time.perf_counter()
            self.right += self._is_right(seed)
            self.times_ms.append(1000 * (time.perf_counter() - started))
        self._channel.close()

    def _is_right(self, seed: int) -> bool:
        """Whether the answer is the asker's own; an id is used once."""
        row = dataclasses.replace(self._row, noise_seed=abs(seed) % LARGEST_SEED)
        request_id = f"load/{id(self)}/{seed}"
        response = self._ask(codec.encode_request_bytes([row], self._spec, request_id), timeout=TRY_TIMEOUT_S)
        (chunk,) = codec.decode_response(response, self._spec)
        return bool(chunk.actions[0, 0] == row.noise_seed) and response.id == request_id


def main(arguments: Sequence[str]) -> int:
    """One client process."""
    address, *numbers = arguments
    client_count, requests = map(int, numbers)
    counts = [_share(requests, client_count, index) for index in range(client_count)]
    starts = [sum(counts[:index]) for index in range(client_count)]
    clients = [_Client(address, range(start, start + count)) for start, count in zip(starts, counts, strict=True)]
    print("ready", flush=True)
    sys.stdin.readline()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    print(json.dumps({"right": sum(c.right for c in clients), "ms": [ms for c in clients for ms in c.times_ms]}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

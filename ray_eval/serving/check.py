"""`python -m ray_eval.serving.check`: whether serving works on this machine; needs neither Ray nor a simulator.

A small policy is served in this process and asked by threads that send two camera images each, on CUDA where torch
finds it, else with NumPy on the CPU. Exits with 1 if an answer is lost or is not the asker's own.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from ray_eval.interfaces import Policy
from ray_eval.sections import BatchingSection, ConnectSection, ListenSection
from ray_eval.serving.server import RunningServer, serve_in_thread
from ray_eval.types import IMAGE, STATE, WRIST_IMAGE, ActionChunk, Array, Observation, PolicySpec
from ray_eval.wire import codec
from ray_eval.wire.channel import open_channel
from ray_eval.wire.open_inference_pb2_grpc import GRPCInferenceServiceStub

IMAGE_SIZE_PX = 256
CHUNK_LEN = 10
ACTION_DIM = 7
WARM_UP_COUNT = 20
BARE_FORWARD_COUNT = 50
TRY_TIMEOUT_S = 60.0


def spec_of(name: str) -> PolicySpec:
    """The spec of both policies below.

    It declares `batch_invariant`, so that requests share forwards; nobody compares these actions bit by bit.
    """
    keys = (IMAGE, WRIST_IMAGE, STATE)
    return PolicySpec(name, keys, CHUNK_LEN, ACTION_DIM, image_size_px=IMAGE_SIZE_PX, batch_invariant=True)


def tagged(rows: Array, observations: Sequence[Observation]) -> list[ActionChunk]:
    """Chunks of (B, chunk_len x action_dim) values, the first of each replaced by the request's seed."""
    actions = rows.reshape(len(observations), CHUNK_LEN, ACTION_DIM).astype(np.float32)
    actions[:, 0, 0] = [observation.noise_seed for observation in observations]
    return [ActionChunk(row) for row in actions]


class NumpyPolicy:
    """A linear layer over both images' means."""

    def __init__(self) -> None:
        self.spec = spec_of("numpy")
        self._weights = np.random.default_rng(0).normal(size=(6, CHUNK_LEN * ACTION_DIM))

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation."""
        means = [[row.arrays[key].mean(axis=(0, 1)) for key in (IMAGE, WRIST_IMAGE)] for row in observations]
        return tagged(np.tanh(np.reshape(means, (len(observations), 6)) @ self._weights / 255), observations)


class TorchPolicy:
    """Two convolutions and a linear layer over both images, on the CUDA device."""

    def __init__(self, torch: Any) -> None:
        self.spec = spec_of("torch")
        self._torch = torch
        torch.manual_seed(0)
        layers = torch.nn
        self._net = layers.Sequential(
            layers.Conv2d(6, 64, kernel_size=8, stride=8),
            layers.GELU(),
            layers.Conv2d(64, 256, kernel_size=4, stride=4),
            layers.GELU(),
            layers.Flatten(),
            layers.Linear(256 * 8 * 8, CHUNK_LEN * ACTION_DIM),
        ).to("cuda")

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation, in one forward."""
        torch = self._torch
        images = np.stack(
            [np.concatenate([row.arrays[key] for key in (IMAGE, WRIST_IMAGE)], -1) for row in observations]
        )
        with torch.inference_mode():
            pixels = torch.from_numpy(images).to("cuda").permute(0, 3, 1, 2).float() / 255
            return tagged(self._net(pixels).cpu().numpy(), observations)


def make_policy() -> Policy:
    """The torch policy where there is CUDA, else the NumPy one."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return NumpyPolicy()
    return TorchPolicy(torch) if torch.cuda.is_available() else NumpyPolicy()


@dataclass(frozen=True, slots=True)
class Load:
    """What a number of clients measured."""

    clients: int
    requests: int
    lost: int
    mean_batch: float
    max_batch: int
    per_s: float
    round_trip_ms: float
    idle_share: float


def observation(seed: int) -> Observation:
    """A request with two random images."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (2, IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3), dtype=np.uint8)
    return Observation(
        {IMAGE: images[0], WRIST_IMAGE: images[1], STATE: np.zeros(8, np.float32)}, "check", noise_seed=seed
    )


def bare_forward_ms(policy: Policy) -> float:
    """The median time of a forward of one observation, without any server."""
    batch = [observation(0)]
    times = [_timed(lambda: policy.infer_batch(batch))[1] for _ in range(WARM_UP_COUNT + BARE_FORWARD_COUNT)]
    return statistics.median(times[WARM_UP_COUNT:])


def measure(running: RunningServer, spec: PolicySpec, clients: int, requests: int) -> Load:
    """The figures of so many clients that send so many requests together."""
    before = running.server.metrics()
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        counts = [requests // clients + (i < requests % clients) for i in range(clients)]
        answers = list(
            itertools.chain.from_iterable(pool.map(lambda i: _ask(running.address, spec, i, counts[i]), range(clients)))
        )
    wall_s = time.perf_counter() - started
    after = running.server.metrics()
    sizes = {size: count - before.batch_sizes.get(size, 0) for size, count in after.batch_sizes.items()}
    return Load(
        clients=clients,
        requests=requests,
        lost=requests - sum(is_right for is_right, _ in answers),
        mean_batch=(after.requests - before.requests) / max(1, after.batches - before.batches),
        max_batch=max((size for size, count in sizes.items() if count), default=0),
        per_s=requests / wall_s,
        round_trip_ms=statistics.median(elapsed_ms for _, elapsed_ms in answers),
        idle_share=(after.idle_while_queued_ms - before.idle_while_queued_ms) / 1000 / wall_s,
    )


def _ask(address: str, spec: PolicySpec, client: int, count: int) -> list[tuple[bool, float]]:
    """Whether each answer was the asker's own, and its round trip in milliseconds."""
    with open_channel(ConnectSection(address)) as channel:
        stub = GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        row = observation(client)
        return [_ask_once(stub, row, spec, f"check/{time.monotonic_ns()}/{client}/{i}") for i in range(count)]


def _ask_once(
    stub: GRPCInferenceServiceStub, row: Observation, spec: PolicySpec, request_id: str
) -> tuple[bool, float]:
    request = codec.encode_request([row], spec, request_id)
    response, elapsed_ms = _timed(lambda: stub.ModelInfer(request, timeout=TRY_TIMEOUT_S))
    (chunk,) = codec.decode_response(response, spec)
    return bool(chunk.actions[0, 0] == row.noise_seed) and response.id == request_id, elapsed_ms


def _timed(call: Any) -> tuple[Any, float]:
    started = time.perf_counter()
    value = call()
    return value, (time.perf_counter() - started) * 1000


def table(policy: Policy, bare_ms: float, loads: Sequence[Load]) -> Iterator[str]:
    """The lines of the report."""
    yield f"policy {policy.spec.name!r}: bare forward {bare_ms:.2f} ms; each request has two {IMAGE_SIZE_PX} px images"
    yield "clients  requests  lost  mean batch  largest  requests/s  round trip ms  overhead ms  idle while queued"
    for load in loads:
        yield (
            f"{load.clients:7d}  {load.requests:8d}  {load.lost:4d}  {load.mean_batch:10.2f}  {load.max_batch:7d}"
            f"  {load.per_s:10.1f}  {load.round_trip_ms:13.2f}  {load.round_trip_ms - bare_ms:11.2f}"
            f"  {load.idle_share:17.1%}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the check and prints its table; 0 if nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m ray_eval.serving.check", description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16], help="numbers of clients, one load each")
    parser.add_argument("--requests", type=int, default=400, help="requests of each load")
    options = parser.parse_args(arguments)
    policy = make_policy()
    bare_ms = bare_forward_ms(policy)
    with serve_in_thread(policy, ListenSection("127.0.0.1:0"), BatchingSection()) as running:
        measure(running, policy.spec, 1, WARM_UP_COUNT)
        loads = [measure(running, policy.spec, clients, options.requests) for clients in options.clients]
    print("\n".join(table(policy, bare_ms, loads)))
    return 1 if any(load.lost for load in loads) else 0


if __name__ == "__main__":
    sys.exit(main())

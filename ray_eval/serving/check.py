"""`python -m ray_eval.serving.check`: whether serving works on this machine; needs neither Ray nor a simulator.

In one call: the proof that a row's bytes are its own, the time of a forward by its size, the cost of a request beside
it, and loads of many clients in processes of their own; on CUDA where torch finds it, else on the CPU, with torch or
without. Exits with 1 if the proof fails, or if an answer is lost, computed twice or not the asker's own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ray_eval.errors import SetupError
from ray_eval.interfaces import Policy
from ray_eval.policies.contract import trial_observation
from ray_eval.policies.staging import StagedRow, Stager
from ray_eval.policies.torch_module import import_torch, pick_device, runtime_of
from ray_eval.sections import BatchingSection, ListenSection
from ray_eval.serving.determinism import largest_useful_batch, prove, settle_torch, thread_variables
from ray_eval.serving.forward import answer_rows, free_cached_memory
from ray_eval.serving.load import Load, measure
from ray_eval.serving.server import serve_in_thread
from ray_eval.serving.sizes import BatchSizes
from ray_eval.types import IMAGE, STATE, WRIST_IMAGE, ActionChunk, Array, Observation, PolicySpec

IMAGE_SIZE_PX = 256
CHUNK_LEN = 10
ACTION_DIM = 7
WARM_UP_COUNT = 3
LEAST_COUNT, TIMED_COUNT, LONGEST_MS = 5, 50, 1000.0
"""Forwards behind a median: the first number at least, the second at most, and no more after so long."""
PROVED_BATCH_SIZE = 8
"""Rows of the forwards in the proof."""
HUNGRY_ROWS = 64
"""Rows that memory is made not to hold."""
BOUND_BASE_MS, BOUND_ROW_MS = 20.0, 0.5
"""Forward of the policy that shows how busy a device is kept: so long, and so much longer per row."""


def spec_of(name: str, *, image_size_px: int, batch_invariant: bool = False) -> PolicySpec:
    """The spec of the policies below."""
    keys = (IMAGE, WRIST_IMAGE, STATE) if image_size_px else (STATE,)
    size_px = image_size_px or None
    return PolicySpec(name, keys, CHUNK_LEN, ACTION_DIM, image_size_px=size_px, batch_invariant=batch_invariant)


def tagged(rows: Array, seeds: Sequence[int]) -> list[ActionChunk]:
    """Chunks of (B, chunk_len x action_dim) values, the first of each replaced by the request's seed."""
    actions = rows.reshape(len(seeds), CHUNK_LEN, ACTION_DIM).astype(np.float32)
    actions[:, 0, 0] = seeds
    return [ActionChunk(row) for row in actions]


class NumpyPolicy:
    """A linear layer over both images' means."""

    def __init__(self) -> None:
        self.spec = spec_of("numpy", image_size_px=IMAGE_SIZE_PX)
        self._weights = np.random.default_rng(0).normal(size=(6, CHUNK_LEN * ACTION_DIM))

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation."""
        means = [[row.arrays[key].mean(axis=(0, 1)) for key in (IMAGE, WRIST_IMAGE)] for row in observations]
        values = np.tanh(np.reshape(means, (len(observations), 6)) @ self._weights / 255)
        return tagged(values, [row.noise_seed for row in observations])


@dataclass(frozen=True, slots=True)
class Size:
    """Of a transformer over patches of both images."""

    width: int
    """Numbers per token."""
    depth: int
    """Layers."""
    patch_px: int
    """Edge of the square that becomes a token."""
    dtype: str
    """Number format, as torch calls it."""


SIZES = {"cuda": Size(1536, 40, 16, "bfloat16"), "cpu": Size(64, 2, 32, "float32")}
"""On CUDA the weights (1.1e9), tokens (512) and format of a policy that comes of a vision-language model."""


class TorchPolicy:
    """A transformer over both images and over noise of the row's own, its rows brought to the device ahead."""

    def __init__(self, torch: Any, device: str, size: Size) -> None:
        self.spec = spec_of("torch", image_size_px=IMAGE_SIZE_PX)
        self._torch, self._device = torch, device
        self._dtype = getattr(torch, size.dtype)
        self._stager = Stager(torch, device)
        torch.manual_seed(0)
        layers = torch.nn
        with torch.device(device):
            self._patches = layers.Conv2d(6, size.width, size.patch_px, size.patch_px).to(self._dtype)
            self._noise = layers.Linear(ACTION_DIM, size.width).to(self._dtype)
            layer = layers.TransformerEncoderLayer(
                size.width, size.width // 64, 4 * size.width, 0.0, "gelu", batch_first=True, norm_first=True
            ).to(self._dtype)
            self._layers = layers.TransformerEncoder(layer, size.depth, enable_nested_tensor=False).eval()
            self._actions = layers.Linear(size.width, ACTION_DIM).to(self._dtype)

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation, in one forward."""
        return self.infer_staged([self.stage(row) for row in observations])

    def stage(self, row: Observation) -> StagedRow:
        """Both images, on their way to the device."""
        return self._stager.put([row.arrays[IMAGE], row.arrays[WRIST_IMAGE]], row.noise_seed)

    def infer_staged(self, rows: Sequence[StagedRow]) -> list[ActionChunk]:
        """One chunk per row, in one forward."""
        torch = self._torch
        with torch.inference_mode():
            pixels = torch.cat(self._stager.stack(rows), -1).permute(0, 3, 1, 2).to(self._dtype) / 255
            noise = torch.stack([self._drawn(row.noise_seed) for row in rows])
            tokens = torch.cat([self._noise(noise), self._patches(pixels).flatten(2).transpose(1, 2)], 1)
            actions = self._actions(self._layers(tokens)[:, :CHUNK_LEN])
            return tagged(actions.float().cpu().numpy(), [row.noise_seed for row in rows])

    def _drawn(self, seed: int) -> Any:
        """(chunk_len, action_dim), drawn on the device by a generator of the request's own."""
        generator = self._torch.Generator(self._device).manual_seed(seed)
        shape = (CHUNK_LEN, ACTION_DIM)
        return self._torch.randn(shape, generator=generator, device=self._device, dtype=self._dtype)


class AtOnce:
    """Another policy, its rows brought to the device as their forward begins."""

    def __init__(self, policy: Policy) -> None:
        self.spec = policy.spec
        self.infer_batch = policy.infer_batch


class HungryPolicy:
    """Takes so much of the device's memory per row, and answers with the seed."""

    def __init__(self, torch: Any, row_bytes: int) -> None:
        self.spec = spec_of("hungry", image_size_px=0)
        self._torch = torch
        self._row_bytes = row_bytes

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation, if there is memory for all."""
        seeds = [row.noise_seed for row in observations]
        held = [self._torch.empty(self._row_bytes, dtype=self._torch.uint8, device="cuda") for _ in seeds]
        return tagged(np.zeros((len(held), CHUNK_LEN * ACTION_DIM)), seeds)


class SleepingPolicy:
    """Sleeps as long as a device would compute, and answers with the seed."""

    def __init__(self, base_ms: float = BOUND_BASE_MS, row_ms: float = BOUND_ROW_MS, image_size_px: int = 0) -> None:
        self.spec = spec_of("sleeping", image_size_px=image_size_px, batch_invariant=True)
        self._base_ms = base_ms
        self._row_ms = row_ms

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation, after the time of a forward of that size."""
        time.sleep((self._base_ms + self._row_ms * len(observations)) / 1000)
        return tagged(np.zeros((len(observations), CHUNK_LEN * ACTION_DIM)), [row.noise_seed for row in observations])


def make_policy() -> tuple[Policy, str]:
    """The torch policy where there is torch, on CUDA where there is that, else the NumPy one; and what computes it."""
    try:
        torch = import_torch()
    except SetupError:
        return NumpyPolicy(), "NumPy on the CPU"
    device = pick_device(torch, "auto")
    runtime = runtime_of(torch, device)
    return TorchPolicy(torch, device, SIZES[device]), f"torch {runtime['torch']} on {runtime['device']}"


@dataclass(frozen=True, slots=True)
class Halved:
    """What became of a batch that memory did not hold."""

    rows: int
    """Rows of the batch."""
    largest: int
    """Most rows of a forward afterwards."""
    answered: int
    """Rows that were answered rightly."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the check found."""

    machine: str
    """What computes the policy."""
    proof: str
    """How the determinism proof ended."""
    is_proved: bool
    """Whether it was passed."""
    forward_ms: dict[int, float]
    """Median time of a bare forward by its rows."""
    largest_useful: int
    """The batch that throughput mode would be limited to."""
    alone: Load
    """One client, whose requests have forwards of their own."""
    loads: list[Load] = field(default_factory=list)
    """Loads on this machine's policy, in throughput mode, so through buckets."""
    at_once: Load | None = None
    """The last of them, its rows not brought to the device ahead; None where that makes no difference."""
    halved: Halved | None = None
    """What became of more rows than memory held; None without CUDA."""
    bound: list[Load] = field(default_factory=list)
    """Loads on the sleeping policy, which shows how busy a device is kept."""

    @property
    def is_good(self) -> bool:
        """Whether the proof was passed, nothing was lost or computed twice, and memory's end cost no answer."""
        loads = [self.alone, *self.loads, *self.bound, *([self.at_once] if self.at_once else [])]
        is_halved = self.halved is None or self.halved == Halved(HUNGRY_ROWS, HUNGRY_ROWS // 8, HUNGRY_ROWS)
        return self.is_proved and is_halved and not any(load.lost or load.computed != load.requests for load in loads)


def forward_ms(policy: Policy, row_count: int) -> float:
    """The median time of a forward of so many observations, without any server."""
    rows = [trial_observation(policy.spec, seed) for seed in range(row_count)]
    for _ in range(WARM_UP_COUNT):
        policy.infer_batch(rows)
    times: list[float] = []
    while len(times) < LEAST_COUNT or (len(times) < TIMED_COUNT and sum(times) < LONGEST_MS):
        times.append(_timed_ms(lambda: policy.infer_batch(rows)))
    return statistics.median(times)


def loads(policy: Policy, batching: BatchingSection, clients: Sequence[int], requests: int) -> list[Load]:
    """One load per number of clients, on one server."""
    with serve_in_thread(policy, ListenSection("127.0.0.1:0"), batching) as running:
        return [measure(running, count, requests) for count in clients]


def bound(clients: int, requests: int) -> Load:
    """How busy a device is kept by so many clients, requests without images, so that clients need little CPU."""
    return loads(SleepingPolicy(), BatchingSection(), [clients], requests)[0]


def halved(torch: Any) -> Halved:
    """Asks for 64 rows at once where memory is for 12, so that they are answered by 8."""
    free_cached_memory()
    row_bytes = int(torch.cuda.mem_get_info()[0] / (HUNGRY_ROWS * 0.1875))
    policy = HungryPolicy(torch, row_bytes)
    sizes = BatchSizes(BatchingSection(determinism="throughput", max_batch_size=HUNGRY_ROWS), policy.spec)
    rows = [trial_observation(policy.spec, seed) for seed in range(HUNGRY_ROWS)]
    answers = answer_rows(policy, policy.spec, rows, sizes)
    free_cached_memory()
    right = [isinstance(each, ActionChunk) and each.actions[0, 0] == seed for seed, each in enumerate(answers)]
    return Halved(HUNGRY_ROWS, sizes.limit, sum(right))


def examine(clients: Sequence[int], requests: int) -> Report:
    """The whole check."""
    proving = BatchingSection(batch_size=PROVED_BATCH_SIZE)
    os.environ.update(thread_variables(proving.threads))
    policy, machine = make_policy()
    settle_torch(proving)
    proof, is_proved = f"passed in forwards of {PROVED_BATCH_SIZE} rows", True
    try:
        prove(policy, proving)
    except SetupError as error:
        proof, is_proved = f"REFUSED: {error}", False
    alone = loads(policy, BatchingSection(), [1], requests)[0]
    free = BatchingSection(determinism="throughput")
    settle_torch(free)
    largest = largest_useful_batch(policy, free, time.perf_counter)
    batching = BatchingSection(determinism="throughput", max_batch_size=largest)
    torch = sys.modules.get("torch")
    has_cuda = torch is not None and torch.cuda.is_available()
    return Report(
        machine,
        proof,
        is_proved,
        {rows: forward_ms(policy, rows) for rows in BatchSizes(free, policy.spec).buckets()},
        largest,
        alone,
        loads(policy, batching, clients, requests),
        loads(AtOnce(policy), batching, clients[-1:], requests)[0] if has_cuda else None,
        halved(torch) if has_cuda else None,
        [bound(64, 4 * requests)],
    )


def table(report: Report) -> Iterator[str]:
    """The lines of the report."""
    yield f"policy: {report.machine}; each request has two {IMAGE_SIZE_PX} px images"
    yield f"determinism proof: {report.proof}"
    yield f"largest useful batch: {report.largest_useful}"
    yield "rows  forward ms  rows/s"
    for rows, ms in report.forward_ms.items():
        yield f"{rows:4d}  {ms:10.2f}  {1000 * rows / ms:6.0f}"
    alone = report.alone
    yield (
        f"one client: round trip {alone.forward_ms + alone.overhead_ms:.2f} ms, its forward {alone.forward_ms:.2f} ms, "
        f"overhead {alone.overhead_ms:.2f} ms per request"
    )
    yield "clients  requests  lost  computed  mean batch  largest  requests/s  round trip ms  busy  idle while queued"
    yield from (_row(load) for load in report.loads)
    if report.at_once is not None:
        yield "the last of them, its rows not brought to the device while another forward runs"
        yield _row(report.at_once)
    if report.halved is not None:
        yield (
            f"out of memory on purpose: {report.halved.rows} rows at once, then {report.halved.largest} at most, "
            f"{report.halved.answered} answered"
        )
    yield f"a policy that sleeps {BOUND_BASE_MS:g} ms + {BOUND_ROW_MS:g} ms per row; busy is its share of the bound"
    yield from (_row(load) for load in report.bound)


def _row(load: Load) -> str:
    return (
        f"{load.clients:7d}  {load.requests:8d}  {load.lost:4d}  {load.computed:8d}  {load.mean_batch:10.2f}"
        f"  {load.max_batch:7d}  {load.per_s:10.1f}  {load.round_trip_ms:13.2f}  {load.busy_share:4.0%}"
        f"  {load.idle_share:17.2%}"
    )


def _timed_ms(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the check and prints its table; 0 if all is as it should be."""
    parser = argparse.ArgumentParser(prog="python -m ray_eval.serving.check", description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16], help="numbers of clients, one load each")
    parser.add_argument("--requests", type=int, default=400, help="requests of each load")
    options = parser.parse_args(arguments)
    report = examine(options.clients, options.requests)
    print("\n".join(table(report)))
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())

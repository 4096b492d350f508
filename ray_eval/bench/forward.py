"""`bench policy`: a network of pi0.5's layer sizes through the server, in turn with a bare loop over it.

Staging is measured in the process's own CPU time where the network runs on the CPU, so that what else the machine does
is left out; requests per second by the clock, as clients see them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from ray_eval.bench.pi05 import Pi05Policy, Pi05Size
from ray_eval.bench.rows import Row, interleaved, median_ms, timed
from ray_eval.errors import ContractError
from ray_eval.policies.contract import trial_observation
from ray_eval.sections import BatchingSection, ListenSection
from ray_eval.serving.determinism import settle_torch
from ray_eval.serving.load import measure
from ray_eval.serving.server import serve_in_thread

SERVED_FORWARDS: Final = 4
"""Full forwards of the bare loop beside which as many requests of each client are measured."""


def bench_policy(size: Pi05Size, device: str, batch_sizes: Sequence[int], repeats: int) -> Iterator[Row]:
    """Of each batch size: what staging row by row costs, and requests per second against the bare loop."""
    policy = Pi05Policy(size, device)
    settle_torch(BatchingSection(determinism="throughput"))
    subject = f"{policy.parameters / 1e9:.2f} B parameters, {size.dtype}, {device}"
    for batch_size in batch_sizes:
        bare = _BareLoop(policy, batch_size)
        yield _staging(policy, bare, subject, max(repeats, 7), is_cpu=device == "cpu")
        yield _serving(policy, bare, subject, repeats)


class _BareLoop:
    """A loop of one's own: a batch of arrays in, chunks out."""

    def __init__(self, policy: Pi05Policy, batch_size: int) -> None:
        self._policy = policy
        self.observations = [trial_observation(policy.spec, seed) for seed in range(batch_size)]

    def __call__(self) -> None:
        arrays = [np.stack([row.arrays[key] for row in self.observations]) for key in self._policy.spec.keys]
        self._policy.predict_action_chunk(arrays, [row.noise_seed for row in self.observations])


def cpu_timed(function: Callable[[], object]) -> float:
    """Seconds of CPU time that this process spends on a call."""
    started = time.process_time()
    function()
    return time.process_time() - started


def _staging(policy: Pi05Policy, bare: _BareLoop, subject: str, repeats: int, *, is_cpu: bool) -> Row:
    spent = cpu_timed if is_cpu else timed
    durations = interleaved(
        {"staged": lambda: spent(lambda: policy.infer_batch(bare.observations)), "bare": lambda: spent(bare)}, repeats
    )
    found = {name: median_ms(values) for name, values in durations.items()}
    what = f"forward of {len(bare.observations)}, rows staged one by one"
    return Row(subject, what, found["staged"], "CPU ms" if is_cpu else "ms", repeats, "all rows at once", found["bare"])


def _serving(policy: Pi05Policy, bare: _BareLoop, subject: str, repeats: int) -> Row:
    """Requests per second of twice as many clients as a forward has rows, so that a full one waits while one runs.

    Raises:
        ContractError: an answer was lost, computed twice, or not the asker's own.
    """
    count = len(bare.observations)
    batching = BatchingSection(determinism="throughput", max_batch_size=count)
    served, alone = [], []
    bare()
    with serve_in_thread(policy, ListenSection("127.0.0.1:0"), batching) as running:
        for _ in range(repeats):
            alone.append(count / statistics.median(timed(bare) for _ in range(SERVED_FORWARDS)))
            load = measure(running, 2 * count, SERVED_FORWARDS * 2 * count)
            if load.lost or load.computed != load.requests:
                raise ContractError(f"bench policy: expected {load.requests} answers, lost {load.lost}")
            served.append(load.per_s)
    return Row(
        subject,
        f"requests, {2 * count} clients, forwards of {count}",
        statistics.median(served),
        "1/s",
        repeats,
        "bare loop",
        statistics.median(alone),
    )

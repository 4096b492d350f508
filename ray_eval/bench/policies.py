"""A policy whose forward takes a known time, and a process that serves it.

`python -m ray_eval.bench.policies ADDRESS FORWARD_MS ROW_MS WAY KEY ...` serves until its standard input ends, then
prints the batcher's totals as a JSON line.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast

import numpy as np

from ray_eval.errors import SetupError
from ray_eval.scratch import scratch_folder
from ray_eval.sections import BatchingSection, ListenSection
from ray_eval.serving.server import serve_in_thread
from ray_eval.types import IMAGE_KEYS, ActionChunk, Array, Observation, PolicySpec

CHUNK_LEN: Final = 10
"""Rows of an answer."""
IMAGE_SHAPE: Final = (256, 256, 3)
"""Shape of each of the two images."""
_WORK: Final = bytes(20_000)


Way = Literal["sleeps", "computes"]
"""How a forward's time is spent: on a device elsewhere, or on one of this machine's cores, as torch does."""


class TimedPolicy:
    """Takes `forward_ms` and `row_ms` per observation, and answers each with its own noise seed."""

    def __init__(
        self, forward_ms: float, row_ms: float, keys: tuple[str, ...] = IMAGE_KEYS, way: Way = "sleeps"
    ) -> None:
        self._forward_ms, self._row_ms = forward_ms, row_ms
        self._spend = time.sleep if way == "sleeps" else compute
        self._spec = PolicySpec("timed", keys, CHUNK_LEN, batch_invariant=True)

    @property
    def spec(self) -> PolicySpec:
        """Its keys; `batch_invariant`."""
        return self._spec

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation, whose every number is the observation's noise seed."""
        self._spend((self._forward_ms + self._row_ms * len(observations)) / 1000)
        shape = (CHUNK_LEN, self._spec.action_dim)
        return [ActionChunk(np.full(shape, observation.noise_seed, np.float32)) for observation in observations]


def compute(duration_s: float) -> None:
    """Keeps a core busy without the interpreter's lock."""
    end_s = time.perf_counter() + duration_s
    while time.perf_counter() < end_s:
        hashlib.sha256(_WORK)


def observation_of(seed: int, keys: tuple[str, ...] = IMAGE_KEYS) -> Observation:
    """Noise, and the seed by which its answer is known; below 2**24, to be exact in float32."""
    draw = np.random.default_rng(0)
    arrays: dict[str, Array] = {
        key: draw.integers(0, 256, IMAGE_SHAPE, dtype=np.uint8) if key in IMAGE_KEYS else np.zeros(8, np.float32)
        for key in keys
    }
    return Observation(arrays, "pick up the bowl", suite="fake", noise_seed=seed)


@dataclass
class ServedPolicy:
    """The timed policy, served by another process."""

    address: str
    """Where it listens."""
    totals: dict[str, Any] = field(default_factory=dict)
    """The batcher's totals, once the server has ended."""


@contextlib.contextmanager
def served(
    forward_ms: float, row_ms: float, keys: tuple[str, ...] = IMAGE_KEYS, way: Way = "sleeps"
) -> Iterator[ServedPolicy]:
    """Serves for as long as the context lasts.

    Raises:
        SetupError: the server did not start.
    """
    with scratch_folder() as scratch:
        policy = ServedPolicy(f"unix:{Path(scratch) / 'policy.sock'}")
        command = [sys.executable, "-m", __spec__.name, policy.address, str(forward_ms), str(row_ms), way, *keys]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            if process.stdout is None or process.stdout.readline().strip() != "ready":
                process.kill()
                raise SetupError(f"bench: expected a policy server at {policy.address}, got none")
            try:
                yield policy
            finally:
                out, _ = process.communicate()
                policy.totals = json.loads(out.splitlines()[-1])


def _main(address: str, forward_ms: str, row_ms: str, way: str, *keys: str) -> None:
    policy = TimedPolicy(float(forward_ms), float(row_ms), keys, cast(Way, way))
    with serve_in_thread(policy, ListenSection(address), BatchingSection()) as running:
        print("ready", flush=True)
        sys.stdin.read()
        print(json.dumps(running.metrics()), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])

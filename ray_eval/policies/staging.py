"""Rows moved to the policy's device while an earlier forward still runs there; runs in the policy's process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ray_eval.types import Array


@dataclass(frozen=True, slots=True)
class StagedRow:
    """One observation's arrays on their way to the device, or there."""

    tensors: tuple[Any, ...]
    """Tensors on the device; NumPy arrays where the device is the CPU, which stacks them faster."""
    copied: Any = None
    """CUDA event after the copies; None on the CPU."""
    noise_seed: int = 0
    """The request's seed."""


class Stager:
    """Copies through pinned memory on a CUDA stream of its own, so that neither side waits.

    Args:
        torch: the package.
        device: `cpu` or `cuda`.
    """

    def __init__(self, torch: Any, device: str) -> None:
        self._torch = torch
        self._device = device
        self._stream = torch.cuda.Stream() if device == "cuda" else None

    def put(self, arrays: Sequence[Array], noise_seed: int = 0) -> StagedRow:
        """Begins the copies of one row; the arrays may change afterwards."""
        if self._stream is None:
            return StagedRow(tuple(arrays), None, noise_seed)
        pinned = [self._pinned(array) for array in arrays]
        with self._torch.cuda.stream(self._stream):
            tensors = tuple(tensor.to(self._device, non_blocking=True) for tensor in pinned)
            copied = self._torch.cuda.Event()
            copied.record()
        return StagedRow(tensors, copied, noise_seed)

    def stack(self, rows: Sequence[StagedRow]) -> list[Any]:
        """One tensor (B, ...) per array of a row, on the device; the forward waits for the copies, the CPU does not."""
        torch = self._torch
        columns = list(zip(*(row.tensors for row in rows), strict=True))
        if self._stream is None:
            return [torch.from_numpy(np.stack(column)) for column in columns]
        current = torch.cuda.current_stream()
        for row in rows:
            current.wait_event(row.copied)
            for tensor in row.tensors:
                tensor.record_stream(current)
        return [torch.stack(column) for column in columns]

    def _pinned(self, array: Array) -> Any:
        source = np.ascontiguousarray(array)
        dtype = self._torch.from_numpy(np.empty(0, source.dtype)).dtype
        pinned = self._torch.empty(source.shape, dtype=dtype, pin_memory=True)
        pinned.numpy()[...] = source
        return pinned

"""Rows moved to the policy's device while an earlier forward still runs there; runs in the policy's process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
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
        device: `cpu` or `cuda`, or a `torch.device`; what is on it already may be used on the stream.
    """

    def __init__(self, torch: Any, device: Any) -> None:
        self._torch = torch
        self._device = torch.device(device)
        self._stream = None
        if self._device.type == "cuda":
            self._stream = torch.cuda.Stream(self._device)
            self._stream.wait_stream(torch.cuda.current_stream(self._device))

    def put(self, arrays: Sequence[Array], noise_seed: int = 0) -> StagedRow:
        """Begins the copies of one row."""
        if self._stream is None:
            return StagedRow(tuple(arrays), None, noise_seed)
        pinned = [self._pinned(array) for array in arrays]
        with self.aside():
            tensors = tuple(tensor.to(self._device, non_blocking=True) for tensor in pinned)
        return StagedRow(tensors, self.mark(), noise_seed)

    def stack(self, rows: Sequence[StagedRow]) -> list[Any]:
        """One tensor (B, ...) per array of a row, on the device; the forward waits for the copies, the CPU does not."""
        torch = self._torch
        columns = list(zip(*(row.tensors for row in rows), strict=True))
        if self._stream is None:
            return [torch.from_numpy(np.stack(column)) for column in columns]
        for row in rows:
            self.take_over(row.copied, row.tensors)
        return [torch.stack(column) for column in columns]

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Within, what is computed on the device waits for no forward; on the CPU it is as everywhere."""
        with contextlib.nullcontext() if self._stream is None else self._torch.cuda.stream(self._stream):
            yield

    def mark(self) -> Any:
        """The CUDA event after all that was begun aside; None on the CPU."""
        return None if self._stream is None else self._stream.record_event()

    def take_over(self, mark: Any, tensors: Iterable[Any]) -> None:
        """Has what follows on the present stream wait for the mark, and the tensors' memory for what follows."""
        if mark is None:
            return
        current = self._torch.cuda.current_stream(self._device)
        current.wait_event(mark)
        for tensor in tensors:
            tensor.record_stream(current)

    def _pinned(self, array: Array) -> Any:
        dtype = self._torch.from_numpy(np.empty(0, array.dtype)).dtype
        pinned = self._torch.empty(array.shape, dtype=dtype, pin_memory=True)
        pinned.numpy()[...] = array
        return pinned

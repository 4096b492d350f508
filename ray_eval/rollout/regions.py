"""The worker's end of shared memory: regions that its images are written to, each for one request at a time."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np

from ray_eval.types import Array
from ray_eval.wire import codec, shared_memory
from ray_eval.wire import open_inference_pb2 as pb
from ray_eval.wire.transport import MESSAGE_LIMIT_BYTES

LEAST_BYTES = 32 * 1024
"""Less than that is as soon sent."""
MOST_BYTES = MESSAGE_LIMIT_BYTES // 2
"""So that a request that comes again as a whole fits into a message."""
MOST_REGIONS = 8
"""Requests that have a region at a time; a worker has one or two under way."""
REGISTER_TIMEOUT_S = 2.0
"""Longest wait for a server to map a region."""


class RegionPool:
    """Regions registered with one server; without any where it does not offer that, or there is no memory.

    Args:
        stub: The server's methods.
        metadata: What calls carry.
    """

    def __init__(self, stub: Any, metadata: tuple[tuple[str, str], ...]) -> None:
        self._stub = stub
        self._metadata = metadata
        self._free: list[codec.Region] = []
        self._taken: set[str] = set()
        self._is_refused = False

    def take(self, byte_size: int) -> codec.Region | None:
        """A region of at least so many bytes that nobody reads; None where the bytes are better sent."""
        if self._is_refused or not LEAST_BYTES <= byte_size <= MOST_BYTES or len(self._taken) >= MOST_REGIONS:
            return None
        while self._free:
            region = self._free.pop()
            if len(region.memory) >= byte_size:
                break
            self._unregister(region)
        else:
            try:
                region = self._registered(byte_size)
            except (OSError, grpc.RpcError) as error:
                self._is_refused = not isinstance(error, grpc.Call) or error.code() is not grpc.StatusCode.UNAVAILABLE
                return None
        self._taken.add(region.name)
        return region

    def give_back(self, region: codec.Region) -> None:
        """Whatever was in it has been read and answered."""
        self._taken.remove(region.name)
        self._free.append(region)

    def forget(self, region: codec.Region) -> None:
        """It may still be read, and so is not written to any more."""
        self._taken.remove(region.name)
        self._unregister(region)

    def _registered(self, byte_size: int) -> codec.Region:
        """A new region. Its object has lost its name when this returns, so that nothing is left whoever dies."""
        key, memory = shared_memory.create(byte_size)
        try:
            request = pb.SystemSharedMemoryRegisterRequest(name=key, key=key, byte_size=byte_size)
            self._stub.SystemSharedMemoryRegister(request, timeout=REGISTER_TIMEOUT_S, metadata=self._metadata)
        finally:
            shared_memory.unlink(key)
        content: Array = np.frombuffer(memory, np.uint8)
        return codec.Region(key, content)

    def _unregister(self, region: codec.Region) -> None:
        request = pb.SystemSharedMemoryUnregisterRequest(name=region.name)
        self._stub.SystemSharedMemoryUnregister.future(request, timeout=REGISTER_TIMEOUT_S, metadata=self._metadata)

"""The worker's end of shared memory: regions that its images are written to, each for one request at a time."""

from __future__ import annotations

import logging
from typing import Any

import grpc
import numpy as np

from ray_eval.types import Array
from ray_eval.wire import codec, shared_memory
from ray_eval.wire import open_inference_pb2 as pb
from ray_eval.wire.transport import MESSAGE_LIMIT_BYTES

_LOGGER = logging.getLogger(__name__)

LEAST_BYTES = 32 * 1024
"""Less than that is as soon sent."""
MOST_BYTES = MESSAGE_LIMIT_BYTES // 2
"""So that a request that comes again as a whole fits into a message."""
MOST_REGIONS = 8
"""Requests that have a region at a time; a worker has one or two under way."""
REGISTER_TIMEOUT_S = 2.0
"""Longest wait for a server to map a region, or to forget those of a client that leaves."""

_FOR_GOOD = {
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
}
"""What a server says that will not have it the next time either; others are busy, or start anew."""


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
        self._taken: dict[str, codec.Region] = {}
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
                self._is_refused = not isinstance(error, grpc.Call) or error.code() in _FOR_GOOD
                if self._is_refused:
                    _LOGGER.info("images are sent, as shared memory is not to be had: %s", error)
                return None
        self._taken[region.name] = region
        return region

    def give_back(self, region: codec.Region) -> None:
        """Whatever was in it has been read and answered."""
        del self._taken[region.name]
        self._free.append(region)

    def forget(self, region: codec.Region) -> None:
        """It may still be read, and so is not written to any more."""
        del self._taken[region.name]
        self._unregister(region)

    def close(self) -> None:
        """Has the server forget all of them, those of requests under way as well; there are no more."""
        calls = [self._unregister(region) for region in (*self._free, *self._taken.values())]
        self._free.clear()
        self._is_refused = True
        for call in calls:
            if call is not None:
                call.exception()

    def _registered(self, byte_size: int) -> codec.Region:
        """A new region. Its object has lost its name when this returns, so that nothing is left whoever dies."""
        key, memory = shared_memory.create(byte_size)
        content: Array = np.frombuffer(memory, np.uint8)
        region = codec.Region(key, content)
        try:
            request = pb.SystemSharedMemoryRegisterRequest(name=key, key=key, byte_size=byte_size)
            self._stub.SystemSharedMemoryRegister(request, timeout=REGISTER_TIMEOUT_S, metadata=self._metadata)
        except BaseException:
            self._unregister(region)  # it may have been mapped all the same
            raise
        finally:
            shared_memory.unlink(key)
        return region

    def _unregister(self, region: codec.Region) -> Any:
        """The call under way; None where the channel is closed."""
        request = pb.SystemSharedMemoryUnregisterRequest(name=region.name)
        ask = self._stub.SystemSharedMemoryUnregister
        try:
            call = ask.future(request, timeout=REGISTER_TIMEOUT_S, metadata=self._metadata)
        except ValueError:
            return None
        call.add_done_callback(lambda _: None)  # gRPC cancels a call that nobody holds
        return call

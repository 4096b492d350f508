"""The regions of shared memory that clients on this host have registered; used on the server's event loop."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from ray_eval.errors import ContractError
from ray_eval.wire import open_inference_pb2 as pb
from ray_eval.wire import shared_memory
from ray_eval.wire.codec import CodecError
from ray_eval.wire.transport import MESSAGE_LIMIT_BYTES

MOST_REGIONS = 256
"""A client that dies leaves its regions behind; beyond so many, those go first that were unused for longest.

Each holds a file descriptor, of which a process usually has 1024.
"""
MOST_BYTES = 1 << 30
"""The same for what all of them hold."""
LONGEST_NAME = 255
"""Most letters of a region's name."""


class UnknownRegionError(ContractError):
    """A request names a region that is not registered, or not any more; the caller sends the content itself."""


class RegionExistsError(ContractError):
    """A region is registered under that name already."""


class RegionsNotOfferedError(ContractError):
    """This server has clients on other hosts, and so attaches nothing for any."""


@dataclass(frozen=True, slots=True)
class _Region:
    status: pb.SystemSharedMemoryStatusResponse.RegionStatus
    memory: shared_memory.Attached


class Regions:
    """Attaches what is registered, and hands it out to be read.

    Args:
        is_offered: Whether clients may register: where they are on this host and of this user.
        most: Most regions.
    """

    def __init__(self, *, is_offered: bool, most: int = MOST_REGIONS) -> None:
        self.is_offered = is_offered
        self._most = most
        self._regions: OrderedDict[str, _Region] = OrderedDict()

    def register(self, request: pb.SystemSharedMemoryRegisterRequest) -> None:
        """Attaches a region for reading.

        Raises:
            RegionsNotOfferedError: regions are not offered.
            RegionExistsError: the name is taken.
            CodecError: there is no such memory.
        """
        self._check_offered()
        name = request.name
        if not 0 < len(name) <= LONGEST_NAME or request.byte_size > MESSAGE_LIMIT_BYTES:
            raise CodecError(
                f"region {name[:LONGEST_NAME]!r}: expected a name of 1 to {LONGEST_NAME} letters and at most "
                f"{MESSAGE_LIMIT_BYTES} bytes, got {len(name)} and {request.byte_size}"
            )
        if name in self._regions:
            raise RegionExistsError(f"region {name!r}: expected a new name, got one that is registered")
        try:
            memory = shared_memory.attach(request.key, request.offset, request.byte_size)
        except (ValueError, OverflowError, OSError) as error:
            raise CodecError(f"region {name!r}: {error}") from error
        status = pb.SystemSharedMemoryStatusResponse.RegionStatus(
            name=name, key=request.key, offset=request.offset, byte_size=request.byte_size
        )
        self._regions[name] = _Region(status, memory)
        while len(self._regions) > self._most or self._bytes() > MOST_BYTES:
            self._regions.popitem(last=False)

    def unregister(self, name: str) -> None:
        """Forgets a region, or all for the empty name.

        Raises:
            RegionsNotOfferedError: regions are not offered.
        """
        self._check_offered()
        if name:
            self._regions.pop(name, None)
        else:
            self._regions.clear()

    def status(self, name: str) -> pb.SystemSharedMemoryStatusResponse:
        """A region, or all for the empty name.

        Raises:
            RegionsNotOfferedError: regions are not offered.
            UnknownRegionError: there is none of that name.
        """
        self._check_offered()
        if name and name not in self._regions:
            raise UnknownRegionError(f"region {name[:LONGEST_NAME]!r}: expected a registered one")
        response = pb.SystemSharedMemoryStatusResponse()
        for each in [name] if name else self._regions:
            response.regions[each].CopyFrom(self._regions[each].status)
        return response

    def find(self, name: str) -> shared_memory.Attached:
        """A region's memory.

        Raises:
            UnknownRegionError: there is none of that name.
        """
        region = self._regions.get(name)
        if region is None:
            raise UnknownRegionError(
                f"region {name[:LONGEST_NAME]!r}: expected a registered one; send the content itself"
            )
        self._regions.move_to_end(name)
        return region.memory

    def _bytes(self) -> int:
        return sum(region.memory.byte_size for region in self._regions.values())

    def _check_offered(self) -> None:
        if not self.is_offered:
            raise RegionsNotOfferedError("shared memory is offered on unix sockets alone; send the contents themselves")

"""A cable between two ends that is slow, loses packets and is cut, in user space: for kernels without netem.

    wire.py NEAR FAR FOLDER

Makes two network devices in the namespace that it is started in. Whoever started it moves FAR to another one. What the
cable does is read from FOLDER/wire.json, again and again: `delay_s` for each way, `loss` as a share, `is_cut`, and
`resets`: how many segments with data from or to TCP port `port` become a reset, which ends their connection in
mid-message. What became of the packets is a line of FOLDER/NEAR.jsonl each time that the cable changes.
"""

import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
import time
from pathlib import Path

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
LONGEST_FRAME_BYTES = 65_550
LOOK_S = 0.02
AS_NEW = {"delay_s": 0.0, "loss": 0.0, "is_cut": False, "resets": 0, "port": 0}
ETHERNET_BYTES, IPV4, TCP, RESET = 14, b"\x08\x00", 6, 4


def device(name: str) -> int:
    """A new network device; what is written to the descriptor arrives at it."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return descriptor


def has_data_of(port: int, frame: bytes) -> bool:
    """Whether it is a TCP segment with data, from or to a port."""
    if frame[12:14] != IPV4 or frame[23] != TCP:
        return False
    begin = ETHERNET_BYTES + 4 * (frame[14] & 15)
    (length,) = struct.unpack_from("!H", frame, 16)
    has_data = ETHERNET_BYTES + length > begin + 4 * (frame[begin + 12] >> 4)
    return has_data and port in struct.unpack_from("!HH", frame, begin)


def as_reset(frame: bytes) -> bytes:
    """The segment with its reset flag set; its sum is mended as RFC 1624 says."""
    changed, begin = bytearray(frame), ETHERNET_BYTES + 4 * (frame[14] & 15)
    (flags,) = struct.unpack_from("!H", frame, begin + 12)
    (checked,) = struct.unpack_from("!H", frame, begin + 16)
    total = (~checked & 0xFFFF) + (~flags & 0xFFFF) + (flags | RESET)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", changed, begin + 12, flags | RESET)
    struct.pack_into("!H", changed, begin + 16, ~total & 0xFFFF)
    return bytes(changed)


class Cable:
    """Carries frames between two descriptors."""

    def __init__(self, ends: tuple[int, int], folder: Path, name: str) -> None:
        self._other = dict(zip(ends, reversed(ends), strict=True))
        self._setting, self._log = folder / "wire.json", folder / f"{name}.jsonl"
        self._chance = random.Random(name)
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._told, self._number = json.dumps(AS_NEW), 0
        self._is = AS_NEW
        self._count = {"carried": 0, "lost": 0, "cut": 0, "reset": 0}

    def run(self) -> None:
        while True:
            self._look()
            due_s = self._under_way[0][0] - time.monotonic() if self._under_way else LOOK_S
            for end in select.select(list(self._other), [], [], max(0.0, min(LOOK_S, due_s)))[0]:
                self._take(end)
            while self._under_way and self._under_way[0][0] <= time.monotonic():
                _, _, end, frame = heapq.heappop(self._under_way)
                self._deliver(end, frame)

    def _look(self) -> None:
        text = self._setting.read_text() if self._setting.exists() else json.dumps(AS_NEW)
        if text != self._told:
            with self._log.open("a") as file:
                file.write(json.dumps({**self._is, **self._count}) + "\n")
            self._told, self._is, self._count = text, json.loads(text), dict.fromkeys(self._count, 0)

    def _take(self, end: int) -> None:
        frame = os.read(end, LONGEST_FRAME_BYTES)
        if self._is["is_cut"] or self._chance.random() < self._is["loss"]:
            self._count["cut" if self._is["is_cut"] else "lost"] += 1
            return
        if self._count["reset"] < self._is["resets"] and has_data_of(self._is["port"], frame):
            self._count["reset"] += 1
            frame = as_reset(frame)
        self._number += 1
        heapq.heappush(self._under_way, (time.monotonic() + self._is["delay_s"], self._number, self._other[end], frame))

    def _deliver(self, end: int, frame: bytes) -> None:
        try:
            os.write(end, frame)
            self._count["carried"] += 1
        except OSError:  # the device is down, or full, as a real one may be
            self._count["lost"] += 1


if __name__ == "__main__":
    near, far, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    Cable((device(near), device(far)), folder, near).run()

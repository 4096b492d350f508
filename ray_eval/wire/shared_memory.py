"""POSIX shared memory for tensors between two ends on one host: Triton's extension "system_shared_memory".

A client makes a region and registers it with the server, writes tensors into it, and names region, offset and size in
a request instead of sending the bytes. Through a socket they would be copied into the kernel and out of it again.

Source: Triton Inference Server, docs/protocol/extension_shared_memory.md.
"""

from __future__ import annotations

import mmap
import os
import re
import secrets
import stat
import weakref
from pathlib import Path
from typing import Final

from ray_eval.scratch import PREFIX, SHARED_MEMORY, is_held

EXTENSION: Final = "system_shared_memory"
"""What a server that offers it says among its extensions."""
REGION: Final = "shared_memory_region"
"""Parameter of a tensor with the name of the registered region that its content is in."""
BYTE_SIZE: Final = "shared_memory_byte_size"
"""Parameter with the content's size."""
OFFSET: Final = "shared_memory_offset"
"""Parameter with its place in the region; 0 where it is left out."""

_KEY: Final = re.compile(r"/[^/\0]{1,254}")


def create(byte_size: int) -> tuple[str, mmap.mmap]:
    """A new object of this user alone, with memory for all of its bytes: its key and what it contains.

    Raises:
        OSError: there is no shared memory here, or too little.
    """
    key, file = _made()
    try:
        os.posix_fallocate(file, 0, byte_size)  # without it, a full file system would end whoever writes
        return key, mmap.mmap(file, byte_size)  # which holds the lock from here on
    except BaseException:
        unlink(key)
        raise
    finally:
        os.close(file)


def _made() -> tuple[str, int]:
    """A new object's key and descriptor, its lock held: one that is left by a process that is killed is removed."""
    while True:
        key = f"/{PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
        file = os.open(_path(key), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if is_held(_path(key), file):
            return key, file
        os.close(file)


def unlink(key: str) -> None:
    """Takes an object's name away; who has it mapped keeps it."""
    _path(key).unlink(missing_ok=True)


class Attached:
    """A part of another's object, to be read; its descriptor is closed with the last reference to it.

    Nothing of it is mapped: what is cut off while it is mapped ends, by SIGBUS, whoever touches it.
    """

    def __init__(self, file: int, offset: int, byte_size: int) -> None:
        """Takes over the descriptor."""
        self._file = file
        self._offset = offset
        self.byte_size = byte_size
        weakref.finalize(self, os.close, file)

    def file_bytes(self) -> int | None:
        """How many bytes the object has; None where it is no file."""
        found = os.fstat(self._file)
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def read(self, start: int, byte_size: int) -> bytes:
        """A copy of so many bytes from `start` on.

        Raises:
            ValueError: they are not there, or not any more.
        """
        content = os.pread(self._file, byte_size, self._offset + start)
        if len(content) < byte_size:
            raise ValueError(f"expected {byte_size} bytes at {start}, got {len(content)}; its owner has cut it short")
        return content


def attach(key: str, offset: int, byte_size: int) -> Attached:
    """A part of an object, to be read.

    Raises:
        ValueError: it is no key of an object, or there are not that many bytes.
        OSError: there is no such object, or it is not to be read.
    """
    if _KEY.fullmatch(key) is None or key in {"/.", "/.."}:
        raise ValueError(f"expected the key of a shared memory object, `/name`, got {key!r}")
    memory = Attached(
        os.open(_path(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), offset, byte_size
    )
    size = memory.file_bytes()
    if byte_size < 1 or size is None or offset + byte_size > size:
        raise ValueError(f"expected {byte_size} bytes at {offset} in {key!r}, got {size or 0} in all")
    return memory


def _path(key: str) -> Path:
    return SHARED_MEMORY / key.removeprefix("/")

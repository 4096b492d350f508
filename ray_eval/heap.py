"""Memory that this process has and does not need, given back to the system. On others than Linux nothing happens."""

from __future__ import annotations

import ctypes
import functools
import mmap
import sys
from typing import Any, Final

LARGE_BYTES: Final = 4 * 1024 * 1024
"""Pieces from here on get pages of their own, which go back as soon as they are freed."""
_MADV_DONTNEED: Final = 4
_MADV_PAGEOUT: Final = 21
_M_MMAP_THRESHOLD: Final = -3


@functools.cache
def keep_large_apart() -> None:
    """Has the C library's `malloc` give large pieces pages of their own, for as long as this process lives.

    Left alone, glibc takes the largest piece that was freed, up to 32 MB, as the new limit. So after the first
    scene that is closed, textures of the next ones lie in the heap among what stays, and their holes are kept.
    """
    change = _of_c("mallopt")
    if change is not None:
        change(_M_MMAP_THRESHOLD, LARGE_BYTES)


def trim() -> None:
    """Gives the heap's free pages back."""
    give = _of_c("malloc_trim")
    if give is not None:
        give(ctypes.c_size_t(0))


def page_out(address: int, length: int) -> None:
    """Takes the whole pages of a range of a mapped file out of memory; what is asked for again is read again."""
    _advise(address, length, _MADV_PAGEOUT)


def forget(array: Any) -> None:
    """Gives the whole pages of a contiguous NumPy array back: what was in them is lost, mostly to zeros."""
    _advise(array.ctypes.data, array.nbytes, _MADV_DONTNEED)


def _advise(address: int, length: int, advice: int) -> None:
    start = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    whole = (address + length - start) // mmap.PAGESIZE * mmap.PAGESIZE
    advise = _of_c("madvise")
    if advise is not None and whole > 0:
        advise(ctypes.c_void_p(start), ctypes.c_size_t(whole), advice)


def _of_c(name: str) -> Any:
    """A function of the C library; None where it has none, or means something else by it."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None

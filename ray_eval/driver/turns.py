"""Whose turn it is: Rays of one user start one after another, and a process has one of its own at a time.

A start takes a machine's whole power for seconds, and Ray gives up on one that takes half a minute.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator

from ray_eval import places
from ray_eval.awake import AwakeClock

LOCK_NAME = "starting-ray"
"""File in the user's private folder that is locked by the process whose Ray is starting."""
PATIENCE_S = 120.0
"""Longest wait for the starts of others: a process that was stopped in mid-start holds nobody up for ever."""
POLL_S = 0.1
"""Pause between two looks."""


class _Turn:
    """A lock that its holder's thread may take again, and that any thread may give back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: int | None = None
        self._times = 0

    def acquire(self) -> None:
        if self._holder != threading.get_ident():
            self._lock.acquire()
            self._holder = threading.get_ident()
        self._times += 1

    def release(self) -> None:
        self._times -= 1
        if not self._times:
            self._holder = None
            self._lock.release()


_ours = _Turn()
keepers: list[Callable[[], None]] = []
"""What ends a Ray that was kept for later, before another one is started."""


@contextlib.contextmanager
def own_ray() -> Iterator[contextlib.ExitStack]:
    """Within, no other thread of this process starts a Ray: it waits until the one that was started here has ended.

    Whoever finds that there is no need to wait, since the Ray is the caller's, closes the stack.
    """
    for give_back in keepers:
        give_back()
    with contextlib.ExitStack() as turn:
        _ours.acquire()
        turn.callback(_ours.release)
        yield turn


@contextlib.contextmanager
def start(patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Within, no other process of this user starts a Ray on this machine, unless one takes longer than `patience_s`."""
    descriptor = os.open(places.private_folder() / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with contextlib.suppress(OSError):  # no locks in this file system: then all start together
            _wait(descriptor, patience_s)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, patience_s: float) -> None:
    clock = AwakeClock()
    while clock() < patience_s:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(POLL_S)
        else:
            return

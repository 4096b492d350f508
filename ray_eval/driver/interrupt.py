"""Ctrl+C and SIGTERM: the first stops leasing and gives running episodes a grace, the second ends at once.

Before the first episode there is nothing to wait for, and the first one ends at once.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType


class StopSignal:
    """Whether and since when the user wants the run to stop."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._since: float | None = None

    @property
    def is_set(self) -> bool:
        """Whether no further episode is to begin."""
        return self._since is not None

    def is_over(self, *, holding: bool) -> bool:
        """Whether the run is to end now: it was told to stop, and nothing runs or the grace is spent."""
        return self._since is not None and (not holding or time.monotonic() - self._since >= self._grace_s)

    def receive(self) -> None:
        """Takes one signal.

        Raises:
            KeyboardInterrupt: it is the second one.
        """
        if self._since is not None:
            raise KeyboardInterrupt
        self._since = time.monotonic()


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM does what Ctrl+C does: while a run is being set up or put away, it ends it by KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def stop_on_signals(grace_s: float) -> Iterator[StopSignal]:
    """Takes SIGINT and SIGTERM for the length of a run; leaves them alone outside the main thread."""
    stop = StopSignal(grace_s)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(_signal: int, _frame: FrameType | None) -> None:
        stop.receive()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

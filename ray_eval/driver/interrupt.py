"""Ctrl+C, SIGTERM and SIGHUP: the first stops leasing and gives running episodes a grace, the second ends at once.

Before the first episode there is nothing to wait for, and the first one ends at once. SIGHUP comes when the terminal
goes, by a lost connection; where it is ignored, as below `nohup`, it stays so.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
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
def signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP do what Ctrl+C does: while a run is set up or put away, they end it by KeyboardInterrupt."""

    def handle(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled((signal.SIGTERM, signal.SIGHUP), handle):
        yield


@contextlib.contextmanager
def stop_on_signals(grace_s: float) -> Iterator[StopSignal]:
    """Takes SIGINT, SIGTERM and SIGHUP for the length of a run; leaves them alone outside the main thread."""
    stop = StopSignal(grace_s)

    def handle(_signal: int, _frame: FrameType | None) -> None:
        stop.receive()

    with _handled((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), handle):
        yield stop


@contextlib.contextmanager
def hangups_wait() -> Iterator[None]:
    """SIGHUP waits until the end; processes that are started meanwhile, and theirs, never get any.

    A terminal that goes sends it to every process that it runs, to those of a Ray as well that this process has to end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _handled(numbers: Sequence[signal.Signals], handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """These signals are taken, in the main thread; a SIGHUP that is ignored is not."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_hangup_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    taken = [number for number in numbers if number is not signal.SIGHUP or not is_hangup_ignored]
    before = {number: signal.signal(number, handle) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

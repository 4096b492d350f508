"""Time for limits: a process that stood still itself, with all that it waits for, has not waited.

A container is paused, a job suspended, a machine's lid closed: every clock but this one goes on meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable

STILL_S = 10.0
"""Of a longer time between two readings only so much counts; whoever waits reads more often."""


class AwakeClock:
    """Seconds from some beginning, without those in which nobody read it; for one thread.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._read_at = clock()
        self._now_s = 0.0

    def __call__(self) -> float:
        """The present time, s."""
        now = self._clock()
        self._now_s += min(now - self._read_at, STILL_S)
        self._read_at = now
        return self._now_s

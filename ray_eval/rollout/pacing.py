"""Control steps at a rate of wall-clock time, and whether the machine held it; runs in each worker, in realtime."""

from __future__ import annotations

import time
from collections.abc import Callable

from ray_eval.errors import EpisodeError
from ray_eval.types import Pacing

LATE_SHARE = 0.5
"""A step that begins later than this share of a period after its time is a missed tick."""
HELD_SHARE = 0.95
"""Share of the ticks, and of the rate, that must be met for a result to say anything about that rate."""


class Pacer:
    """Lets one control step begin per period; a late step moves all later ones, it is never caught up with.

    Args:
        fps: Control steps per second.
        clock: Monotonic seconds.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self, fps: int, clock: Callable[[], float] = time.perf_counter, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._fps = fps
        self._clock = clock
        self._sleep = sleep
        self._started: float | None = None
        self._due = 0.0
        self._ticks = 0
        self._missed = 0

    def tick(self) -> None:
        """Waits for the time of the next step; the first one is now."""
        now = self._clock()
        if self._started is None:
            self._started = self._due = now
        elif now - self._due > LATE_SHARE / self._fps:
            self._missed += 1
            self._due = now
        elif now < self._due:
            self._sleep(self._due - now)
        self._ticks += 1
        self._due += 1.0 / self._fps

    def pacing(self) -> Pacing:
        """What was achieved from the first step's beginning to the last one's end.

        Raises:
            EpisodeError: the machine did not hold the rate, so that the outcome says nothing about it.
        """
        # The last step has its whole period, however soon it was done.
        elapsed_s = max(self._clock(), self._due) - (self._started or 0.0)
        achieved = self._ticks / elapsed_s if self._ticks else 0.0
        if achieved < HELD_SHARE * self._fps or self._missed > (1 - HELD_SHARE) * self._ticks:
            raise EpisodeError(
                f"realtime: expected {self._fps} control steps per second, got {achieved:.1f} with {self._missed} of "
                f"{self._ticks} ticks missed; set execution.fps or workers lower, or take a faster machine"
            )
        return Pacing(achieved_fps=round(achieved, 3), missed_ticks=self._missed)

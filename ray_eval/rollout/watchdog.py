"""Deadlines of an attempt's phases, watched by a thread of the process that simulates; ends that process.

Building, resetting, stepping and rendering are the worker's own, and each has its limit. Waiting for the policy is not:
a server that many share has its own limit, `serving.infer_timeout_s`.
"""

from __future__ import annotations

import faulthandler
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ray_eval.awake import STILL_S

POLL_S = 1.0
"""Pause between two looks; an attempt that takes less is not looked at."""
EXIT_CODE = 70
"""Of a process that was past a deadline. Source: sysexits.h, EX_SOFTWARE."""
TELL_S = 15.0
"""By so much must the wait for the policy have grown to be told again."""
STUCK_FACTOR = 1.25
"""Native code that never lets go of Python's lock is ended by so much more than the longest limit."""

_STDERR = 2
_NOBODY: AbstractContextManager[object] = nullcontext()


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Longest times, s; the keys `limits.build_timeout_s` and so on."""

    build: float = 1200.0
    """Building a task's simulator: the first one of a machine compiles."""
    reset: float = 600.0
    """A reset with its settle steps."""
    step: float = 300.0
    """One control step."""
    render: float = 300.0
    """One observation, its images included."""


@dataclass(frozen=True, slots=True)
class Phases:
    """What an episode enters; nothing is watched by default."""

    build: AbstractContextManager[object] = _NOBODY
    """While its env is built."""
    reset: AbstractContextManager[object] = _NOBODY
    """While it is reset."""
    step: AbstractContextManager[object] = _NOBODY
    """While it steps."""
    render: AbstractContextManager[object] = _NOBODY
    """While it observes."""


UNWATCHED = Phases()
"""Of an attempt that nothing watches."""


class Watchdog:
    """Watches one attempt at a time.

    Args:
        say: Takes the last words of this process, for whoever waits for its result.
        waited: Takes the seconds that the present attempt has spent outside of its phases, now and then.
        end: Ends the process.
    """

    def __init__(
        self,
        say: Callable[[str], None] = lambda _words: None,
        waited: Callable[[float], None] = lambda _seconds: None,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._say, self._waited, self._end = say, waited, end
        self._limits: Deadlines | None = None
        self._phase: tuple[str, float, float, float] | None = None
        self._looked_at, self._still_s = math.inf, 0.0
        self._since = self._worked_s = self._told_s = 0.0
        self._is_begun = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, limits: Deadlines) -> Phases:
        """An attempt's phases; it lasts until `finish`."""
        self._since, self._worked_s, self._told_s, self._limits = time.monotonic(), 0.0, 0.0, limits
        self._is_begun.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        return Phases(*(_Phase(self, name, getattr(limits, name)) for name in ("build", "reset", "step", "render")))

    def finish(self) -> None:
        """Nothing is watched any more."""
        self._is_begun.clear()
        self._limits = self._phase = None
        if self._told_s:
            self._waited(0.0)

    def enter(self, name: str, limit_s: float) -> None:
        """A phase begins."""
        self._phase = (name, limit_s, time.monotonic(), self._still_s)

    def leave(self) -> None:
        """The phase is over."""
        phase, self._phase = self._phase, None
        if phase is not None:
            self._worked_s += time.monotonic() - phase[2]

    def _watch(self) -> None:
        while True:
            if not self._is_begun.is_set():
                faulthandler.cancel_dump_traceback_later()
                self._is_begun.wait()
                self._looked_at = math.inf
            limits = self._limits
            if limits is not None:
                longest_s = max(limits.build, limits.reset, limits.step, limits.render)
                faulthandler.dump_traceback_later(STUCK_FACTOR * longest_s + POLL_S, exit=True, file=_STDERR)
            time.sleep(POLL_S)
            self.look()

    def look(self) -> None:
        """Ends the process where its phase is past its limit; tells how long the policy was waited for."""
        phase, now = self._phase, time.monotonic()
        # Where this thread stood still, so did the phase.
        self._still_s += max(0.0, now - self._looked_at - STILL_S)
        self._looked_at = now
        if phase is not None and now - phase[2] - (self._still_s - phase[3]) > phase[1]:
            self._give_up(phase[0], phase[1])
        if phase is None and self._limits is not None:
            waited_s = now - self._since - self._worked_s
            if waited_s - self._told_s > TELL_S:
                self._told_s = waited_s
                self._waited(waited_s)

    def _give_up(self, name: str, limit_s: float) -> None:
        faulthandler.dump_traceback(_STDERR, all_threads=True)
        words = (
            f"{name}: expected its end within limits.{name}_timeout_s={limit_s:g} s, got none; where it was is at the "
            f"end of {_log()}"
        )
        print(f"EpisodeError: {words}", file=sys.__stderr__, flush=True)
        self._say(words)
        self._end(EXIT_CODE)


def _log() -> str:
    """Where this process's standard error goes."""
    try:
        path = Path("/proc/self/fd/2").readlink()
    except OSError:
        return "its standard error"
    return str(path) if path.is_file() else "its standard error"


class _Phase:
    """One phase, entered again and again."""

    __slots__ = ("_limit_s", "_name", "_watchdog")

    def __init__(self, watchdog: Watchdog, name: str, limit_s: float) -> None:
        self._watchdog, self._name, self._limit_s = watchdog, name, limit_s

    def __enter__(self) -> None:
        self._watchdog.enter(self._name, self._limit_s)

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._watchdog.leave()

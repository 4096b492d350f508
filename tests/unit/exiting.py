"""A process that ends at a chosen one of its writes, as by a kill: every change that it makes to files is counted."""

import io
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

CHANGES = ("fsync", "replace", "rename", "unlink", "truncate", "mkdir", "rmdir", "utime")
"""Functions of `os` that change files, or wait until they are changed."""
WRITES = ("write", "flush", "truncate", "close")
"""Methods of a file that do."""
ENDED = 9


class Countdown:
    """Numbers the changes, and ends the process before, after or in the middle of one."""

    def __init__(self, at: int | None, when: str) -> None:
        self.count = 0
        self.writes: list[int] = []
        self._at, self._when = at, when

    def done(self, change: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        is_it = self.count == self._at
        if arguments and isinstance(arguments[0], (bytes, str)) and getattr(change, "__name__", "") == "write":
            self.writes.append(self.count)
        self.count += 1
        if is_it and self._when == "before":
            os._exit(ENDED)
        if is_it and self._when == "torn":
            change(arguments[0][: len(arguments[0]) // 2])
            getattr(change, "__self__", self).flush()
            os._exit(ENDED)
        try:
            return change(*arguments, **named)
        finally:
            if is_it:
                os._exit(ENDED)

    def flush(self) -> None:
        """A change that has nothing to flush."""


class CountedFile:
    """A file whose changes are counted."""

    def __init__(self, file: Any, countdown: Countdown) -> None:
        self._file, self._countdown = file, countdown

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._file, name)
        return (lambda *a, **k: self._countdown.done(found, *a, **k)) if name in WRITES else found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Any:
        return iter(self._file)


def _count_changes(countdown: Countdown) -> None:
    """In this process, for good."""

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **named: countdown.done(change, *arguments, **named)

    for name in CHANGES:
        setattr(os, name, counted(getattr(os, name)))

    def counted_open(opened: Callable[..., Any]) -> Callable[..., Any]:
        def open_(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
            found = (
                countdown.done(opened, file, mode, *arguments, **named)
                if mode[0] != "r"
                else opened(file, mode, *arguments, **named)
            )
            return CountedFile(found, countdown) if mode[0] != "r" else found

        return open_

    io.open = counted_open(io.open)
    os.fdopen = counted_open(os.fdopen)


def run_in_child(
    scenario: Callable[[Callable[[str], None]], None], at: int | None = None, when: str = ""
) -> tuple[list[tuple[int, str]], list[str]]:
    """Runs a scenario in a child: where it could be ended, none where it was, and what it said is kept.

    What is after a change is before the next one, so that `after` stands with the last change alone.

    Args:
        scenario: given a function, to be called with the name of what the scenario may rely on from then on.
        at: the change at which it is to end; None: it is not.
        when: `before`, `after` or `torn`, which writes half and ends.
    """
    reading, writing = os.pipe()
    write, end = os.write, os._exit
    pid = os.fork()
    if pid == 0:
        try:
            countdown = Countdown(at, when)
            _count_changes(countdown)
            scenario(lambda name: write(writing, f"{name}\n".encode()) and None)
            write(writing, f"{countdown.count} {' '.join(map(str, countdown.writes))}\n".encode())
            end(0)
        except BaseException:  # noqa: BLE001 - a child does not go on as its parent
            traceback.print_exc()
            end(1)
    os.close(writing)
    with os.fdopen(reading) as said:
        lines = said.read().splitlines()
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code == (0 if at is None else ENDED), (code, at, when)
    if at is not None:
        return [], lines
    count, *writes = map(int, lines.pop().split())
    before = [(number, "before") for number in range(count)]
    return [*before, (count - 1, "after"), *((number, "torn") for number in writes)], lines


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

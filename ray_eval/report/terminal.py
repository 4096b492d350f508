"""What takes our words: a terminal, a file, or a pipe; one that takes no more of them ends nothing that is at work."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from rich.console import Console

PLAIN_WIDTH = 160
"""Columns of a table that goes to a file or a pipe."""
_READER_IS_GONE = (errno.EPIPE, errno.EIO)
"""What a pipe without a reader answers, as with `| head`, and a terminal that was closed, as by a lost connection."""


class SpeechStream(io.TextIOBase):
    """A text stream that never fails: what its encoding lacks is written as `?`, and after an error it is silent."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None
        """Why nothing is written any more; None while everything is."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's own."""
        return self._stream.encoding or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """What happens to characters that the encoding lacks."""
        return "replace"

    def __getattr__(self, name: str) -> Any:
        """Whatever else the stream has."""
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        """Whether a terminal takes it; none takes what is closed."""
        return not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        """The stream's descriptor."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, text: str) -> int:
        """Writes what can be written; the length of the text, whatever came of it."""
        with self._never_failing():
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        """Writes what is still held back."""
        with self._never_failing():
            self._stream.flush()

    @contextlib.contextmanager
    def _never_failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failure = self.failure or error
            _send_nowhere(self._stream)

    @property
    def is_cut_short(self) -> bool:
        """Whether a reader of what was written lacks the rest: of a file on a full disk, not of a closed pipe."""
        return self.failure is not None and self.failure.errno not in _READER_IS_GONE


@contextlib.contextmanager
def never_failing_output() -> Iterator[SpeechStream | None]:
    """Within, standard output and standard error never fail; yields the former, None where it is closed."""
    before = sys.stdout, sys.stderr
    # A closed descriptor makes them None.
    out, error = (SpeechStream(stream) if stream is not None else None for stream in before)
    sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", error)
    try:
        yield out
    finally:
        for stream in (out, error):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def output_console() -> Console:
    """The terminal, or whatever takes our output, which has room for whole lines."""
    file = sys.stdout if sys.stdout is None or isinstance(sys.stdout, SpeechStream) else SpeechStream(sys.stdout)
    # What is printed has names of folders and words of users in it, in which brackets are brackets.
    console = Console(file=cast("TextIO", file), markup=False)
    return console if console.is_terminal else Console(file=cast("TextIO", file), width=PLAIN_WIDTH, markup=False)


def _send_nowhere(stream: TextIO) -> None:
    """Sends what a stream still holds back, and whatever comes, nowhere."""
    with contextlib.suppress(OSError, ValueError):
        descriptor = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)

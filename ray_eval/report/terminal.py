"""What takes our words: a terminal, a file, or a pipe whose reader may have gone."""

from __future__ import annotations

import os
import sys

from rich.console import Console

PLAIN_WIDTH = 160
"""Columns of a table that goes to a file or a pipe."""


class OutputConsole(Console):
    """A console that falls silent when its reader has gone, as with `| head`; what is at work goes on."""

    def on_broken_pipe(self) -> None:
        """Called by rich, which would end the program."""
        self.quiet = True
        silence()


def output_console() -> Console:
    """The terminal, or whatever takes our output, which has room for whole lines."""
    console = OutputConsole()
    return console if console.is_terminal else OutputConsole(width=PLAIN_WIDTH)


def silence() -> None:
    """Sends standard output nowhere from now on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)

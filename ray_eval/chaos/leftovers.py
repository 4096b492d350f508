"""What a disturbed run leaves on this machine: processes, folders, sockets, shared memory; runs in the disturber."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from ray_eval.awake import AwakeClock
from ray_eval.orders import VARIABLE
from ray_eval.scratch import PREFIX, SHARED_MEMORY

_MADE_BY = re.compile(rf"{PREFIX}([0-9]+)-.*")
_KEPT = re.compile(r"ray|ray_eval-[0-9]+")
"""Names in a temporary folder that stay: Ray's own logs, and the user's private folder, which is a cache."""
_POLL_S = 0.5


def processes_of(orders: Path) -> list[psutil.Process]:
    """The processes on this machine that have the orders' folder in their environment, wherever they descend from."""
    mark, found = f"{VARIABLE}={orders}".encode(), []
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
    return found


def title_of(process: psutil.Process) -> str:
    """What the process is called; empty where it is gone."""
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline()).strip()
    return ""


def leftovers(orders: Path, temporary: Path, patience_s: float) -> list[str]:
    """What is left, once all is gone or the time is over: agents outlive what they serve by a moment.

    Args:
        orders: by which the run's processes are known.
        temporary: the run's own temporary folder.
        patience_s: longest wait.
    """
    clock = AwakeClock()
    while True:
        left = [f"process {process.pid} {title_of(process)[:80]}" for process in processes_of(orders)]
        left += [*_files_in(temporary), *_abandoned_memory()]
        if not left or clock() > patience_s:
            return left
        time.sleep(_POLL_S)


def _files_in(temporary: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        yield from (str(path) for path in sorted(temporary.iterdir()) if not _KEPT.fullmatch(path.name))


def _abandoned_memory() -> Iterator[str]:
    """Shared memory of this user whose maker is gone."""
    for path in sorted(SHARED_MEMORY.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError):
            made_by = _MADE_BY.fullmatch(path.name)
            if made_by and path.stat().st_uid == os.getuid() and not psutil.pid_exists(int(made_by.group(1))):
                yield str(path)

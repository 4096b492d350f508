"""The folder of a process's sockets under /tmp: short of path, and gone after the process, however that ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "ray-eval-"
LOCK_NAME = "lock"
YOUNGEST_STALE_S = 60.0
"""A folder younger than this is left alone: its process may not have locked it yet."""


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of this process alone, which goes at the end; those that killed processes left go at once.

    A process holds a lock in its folder, which ends with the process, so that a folder whose lock can be had is
    nobody's.
    """
    root = Path(tempfile.gettempdir())
    remove_stale(root)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=root, ignore_cleanup_errors=True) as name:
        descriptor = os.open(Path(name) / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield Path(name)
        finally:
            os.close(descriptor)


def remove_stale(root: Path) -> None:
    """Removes the scratch folders of this user's dead processes."""
    for folder in root.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if _is_stale(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_stale(folder: Path) -> bool:
    found = folder.lstat()
    if found.st_uid != os.getuid() or time.time() - found.st_mtime < YOUNGEST_STALE_S:
        return False
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)
    return True

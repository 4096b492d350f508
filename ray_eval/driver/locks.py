"""A lock on a file that ends with its process, also on file systems that have no locks; runs in the driver.

Where flock is not to be had (Lustre without `flock`, NFS without its lock daemon, some FUSE file systems), a claim
stands in for it: a file beside the lock, made by the one process that finds none, which says who made it. A claim of a
dead process of this host is taken over; one of another host is for a person to judge.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray_eval.errors import LedgerError

CLAIM_SUFFIX = ".claim"
"""Behind the lock's name: the file that stands in for a lock that the file system does not have."""
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
"""What flock answers where the file system has none."""
_CUT_CHARACTERS = 200
_START_FIELD = 19
"""Place of the start among what /proc/PID/stat says behind the program's name. Source: proc(5), field 22."""


class Held(LedgerError):
    """Another process holds the lock."""


class Lock:
    """A lock that this process holds until `release`, or until its end."""

    def __init__(self, path: Path, flock: Callable[[int, int], None] = fcntl.flock) -> None:
        """Takes the lock, and makes its file where there is none.

        Args:
            path: the lock's file.
            flock: the system's.

        Raises:
            Held: another process has it.
            OSError: the file cannot be opened for writing.
        """
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            self._claim = None if _is_locked(self._descriptor, path, flock) else _claimed(path)
        except BaseException:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        """Lets go of it; the lock's file stays."""
        if self._claim is not None:
            self._claim.unlink(missing_ok=True)
        os.close(self._descriptor)


def _is_locked(descriptor: int, path: Path, flock: Callable[[int, int], None]) -> bool:
    """Whether the file was locked; False where its file system has no locks."""
    try:
        flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise Held(
            f"{path.parent}: expected nobody else to write there, got a run that is still going on; wait for its end, "
            "or choose another --out"
        ) from error
    return True


def _claimed(lock: Path) -> Path:
    """The claim beside a lock's file, once it is this process's."""
    path = lock.with_name(lock.name + CLAIM_SUFFIX)
    if not _made(path):
        found = _read(path)
        if _is_alive(found):
            raise Held(_whose(path, found))
        aside = path.with_name(f"{path.name}-{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            path.rename(aside)
        is_the_dead_ones = _read(aside) == found
        if not is_the_dead_ones:
            # Somebody else was quicker to take the dead one's place: this is their claim.
            with contextlib.suppress(OSError):
                os.link(aside, path)
        aside.unlink(missing_ok=True)
        if not is_the_dead_ones or not _made(path):
            raise Held(_whose(path, _read(path)))
    return path


def _made(path: Path) -> bool:
    """Whether the claim was made here and now; False where there is one."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        json.dump(_myself(), file)
    return True


def _myself() -> dict[str, Any]:
    return {"host": platform.node(), "pid": os.getpid(), "since": start_of(os.getpid())}


def _read(path: Path) -> dict[str, Any]:
    """Who made a claim; nothing where it says nothing, as one that is being made."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_alive(claim: dict[str, Any]) -> bool:
    """Whether the claim's process may be there: certain only of this host's."""
    if claim.get("host") != platform.node():
        return True
    return start_of(claim.get("pid")) == claim.get("since")


def start_of(pid: Any) -> str | None:
    """When a process of this host began, in the kernel's ticks since boot; None where there is none of that id."""
    try:
        return Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[_START_FIELD]
    except (OSError, TypeError, ValueError):
        return None


def _whose(path: Path, claim: dict[str, Any]) -> str:
    who = (
        f"process {claim['pid']} on {claim.get('host')}" if "pid" in claim else "a process that does not say who it is"
    )
    return (
        f"{path.parent}: expected nobody else to write there, got the claim of {who[:_CUT_CHARACTERS]} (this file "
        f"system has no locks); where that is no longer running, remove {path} and start again"
    )

"""What a process keeps outside of its results: sockets, tokens, keys, notes; gone with it, or at the next start.

Everything of the kind is a folder with a lock in it, or an object in shared memory that is its own lock, named
`ray-eval-...` and held by its process. A lock ends with its process, however that ends, so that whatever lock can be
had is nobody's, and is removed. Used by every process.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ray_eval import places

with contextlib.suppress(ModuleNotFoundError):
    import fcntl  # Windows has none; there the evaluator is refused before it locks anything

PREFIX = "ray-eval-"
LOCK_NAME = "lock"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 -- where Linux has what shm_open opens
SOCKET_ROOM_BYTES = 40
"""Length of a folder's name and a socket's in it."""
READING_S = 600.0
"""A traceback is left alone for so long after its process: somebody was told to read it."""
_TRACEBACKS = "traceback-"
_OURS = re.compile(rf"{PREFIX}(?:{_TRACEBACKS}|loading-)?[a-z0-9_]+")
_OURS_IN_MEMORY = re.compile(rf"{PREFIX}[0-9]+-[0-9a-f]{{16}}")


class Scratch:
    """A folder of this process alone, which it holds until `close`."""

    def __init__(self, root: Path, kind: str = "") -> None:
        """Makes it; nobody else finds it without its lock and removes it.

        Raises:
            OSError: it cannot be made.
        """
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}", dir=root))
            lock = _locked(self.path)
            if lock is not None:
                self._lock = lock
                return

    def close(self) -> None:
        """Removes it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of this process alone, which goes at the end; what killed processes left goes at once.

    Its path is short enough for sockets in it.
    """
    remove_abandoned()
    scratch = Scratch(places.short_folder(SOCKET_ROOM_BYTES))
    try:
        yield scratch.path
    finally:
        scratch.close()


@contextlib.contextmanager
def only_time(name: str) -> Iterator[bool]:
    """Within, a folder says that this is being done; whether one was there, of a process that died of it.

    Args:
        name: What is done: small letters, digits.
    """
    folder = places.temporary_folder() / f"{PREFIX}loading-{name}"
    was_there = folder.exists()
    folder.mkdir(exist_ok=True, mode=0o700)
    lock = _locked(folder)
    try:
        yield was_there
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def is_named_as_ours(path: Path) -> bool:
    """Whether a folder has a name that this module gives."""
    return _OURS.fullmatch(path.name) is not None


def restore_folder(path: Path) -> None:
    """Makes a folder of ours again that something has cleared away, held by this process to its end.

    Where somebody else has made one of that name meanwhile, it stays away, and whoever needs it says so.
    """
    if not is_named_as_ours(path):
        return
    with contextlib.suppress(OSError):
        path.mkdir(mode=0o700)
        lock = _locked(path)
        if lock is not None:
            _restored.append(lock)


_restored: list[int] = []
_tracebacks: Scratch | None = None


def kept_text(text: str) -> Path:
    """A new file with this text, for a person to read; it stays when the process ends, until a later start.

    Raises:
        OSError: it cannot be written.
    """
    global _tracebacks  # noqa: PLW0603 -- a process has one folder of them
    if _tracebacks is None or not _tracebacks.path.is_dir():
        _tracebacks = Scratch(places.temporary_folder(), _TRACEBACKS)
    descriptor, path = tempfile.mkstemp(suffix=".txt", dir=_tracebacks.path)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return Path(path)


def remove_abandoned() -> None:
    """Removes what this user's dead processes left: folders, tracebacks that had their time, shared memory."""
    for root in {places.temporary_folder(), places.short_folder(SOCKET_ROOM_BYTES)}:
        for folder in _named(root, _OURS):
            with contextlib.suppress(OSError):
                _remove_folder(folder)
    for file in _named(SHARED_MEMORY, _OURS_IN_MEMORY):
        with contextlib.suppress(OSError):
            _remove_file(file)


def is_held(file: Path, descriptor: int) -> bool:
    """Takes the lock of a file that was just made; whether it has it, and the file its name.

    Where a file system has no locks, nobody can remove it either, and it is held.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    try:
        return os.path.samestat(os.fstat(descriptor), file.lstat())
    except FileNotFoundError:
        return False


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock; None where somebody took the folder for abandoned meanwhile."""
    path = folder / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        return None
    if is_held(path, descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _named(root: Path, pattern: re.Pattern[str]) -> list[Path]:
    try:
        return [root / name for name in os.listdir(root) if pattern.fullmatch(name)]  # noqa: PTH208 -- names alone
    except OSError:
        return []


def _remove_folder(folder: Path) -> None:
    found = folder.lstat()
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
        return
    if folder.name.startswith(f"{PREFIX}{_TRACEBACKS}") and time.time() - found.st_mtime < READING_S:
        return
    # One without a lock is being made, or another's.
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_size == 0:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_file(file: Path) -> None:
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor)
        found = os.fstat(descriptor)
        if found.st_uid == os.getuid() and stat.S_ISREG(found.st_mode):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink()

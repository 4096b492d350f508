"""SHA-256 of files, remembered on disk by what the file system says of each; runs in the driver and in workers.

A file whose device, inode, size and times are those of the last time is not read again. What cannot be remembered, for
want of a folder that can be written, is read each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from ray_eval.errors import SetupError
from ray_eval.places import cache_folder

SETTLED_S: Final = 2.0
"""A file changed more recently than this is not remembered: another change within the clock's grain would not show."""
DIGEST_DIGITS: Final = 32
"""Hexadecimal digits of a digest of several files."""
_THREADS: Final = 2

Stamp = list[int]
"""Device, inode, size, time of the last change of content and of the last change of status, ns."""


def memory_file() -> Path | None:
    """`digests.json` in ray-eval's cache folder; None where there is no place for one."""
    try:
        return cache_folder() / "digests.json"
    except (OSError, SetupError):
        return None


class FileDigests:
    """SHA-256 by file, with a memory in one JSON file that several processes share; the last writer's word counts.

    One object looks at a file once: it is for one look at everything, not for a process's life.
    """

    def __init__(self, memory: Path | None) -> None:
        """Without a memory every file is read."""
        self._memory = memory
        self._known: dict[str, tuple[Stamp, str]] = _read(memory)
        self._learnt: dict[str, tuple[Stamp, str]] = {}
        self._seen: dict[Path, str] = {}

    def of(self, paths: Iterable[Path]) -> dict[Path, str]:
        """SHA-256 of each file, in hexadecimal.

        Raises:
            OSError: one cannot be read.
        """
        paths = list(paths)
        stamps = {path: stamp_of(path) for path in paths if path not in self._seen}
        unread = [path for path, stamp in stamps.items() if not self._knows(path, stamp)]
        if unread:
            with ThreadPoolExecutor(_THREADS) as pool:
                read = dict(zip(unread, pool.map(_digest, unread), strict=True))
            self._learn({path: (stamps[path], digest) for path, digest in read.items()})
        self._seen |= {path: self._known[str(path)][1] for path in stamps}
        return {path: self._seen[path] for path in paths}

    def save(self) -> None:
        """Remembers what was read; nothing where that cannot be written."""
        if self._memory is None or not self._learnt:
            return
        kept = {**_read(self._memory), **self._learnt}
        self._learnt = {}
        with contextlib.suppress(OSError):
            keep_json(self._memory, kept)

    def _knows(self, path: Path, stamp: Stamp) -> bool:
        known = self._known.get(str(path))
        return known is not None and known[0] == stamp

    def _learn(self, read: Mapping[Path, tuple[Stamp, str]]) -> None:
        latest_ns = time.time_ns() - int(SETTLED_S * 1e9)
        settled = {str(path): entry for path, entry in read.items() if max(entry[0][3:]) < latest_ns}
        self._known |= {str(path): entry for path, entry in read.items()}
        self._learnt |= settled


def combined(digests: Mapping[str, str]) -> str:
    """One digest of several by name, whatever their order: 32 hexadecimal digits."""
    lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()[:DIGEST_DIGITS]


def _read(memory: Path | None) -> dict[str, tuple[Stamp, str]]:
    """What a memory holds; nothing where there is none, or one that is damaged."""
    if memory is None:
        return {}
    try:
        values = json.loads(memory.read_text(encoding="utf-8"))
        return {str(path): ([int(number) for number in stamp], str(digest)) for path, (stamp, digest) in values.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def keep_json(path: Path, value: object) -> None:
    """Writes a memory whole, in a folder that is this user's alone.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(value, file)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def stamp_of(path: Path) -> Stamp:
    """What the file system says of a file.

    Raises:
        OSError: it is not there.
    """
    status = path.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

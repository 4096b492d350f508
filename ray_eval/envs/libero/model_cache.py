"""Compiled MuJoCo models on disk, shared by the workers and runs of one machine.

An entry is MuJoCo's own binary, `<key>-<digest>.mjb`: the key is the SHA-256 of whatever the model is compiled from
(the MJCF text, the contents of the files it names, MuJoCo's version and this machine's architecture), the digest
that of the entry's own bytes. Beside models lie the textures of all scenes (see `mipmaps`). A torn, foreign or
damaged entry does not have the digest that its name claims; it is deleted and made anew. Files are read for their
digests once, and again when they change (see `envs.digests`). When an entry was used last is said by the time of an
empty file beside it, so that the entry itself stays as it is. Loading takes a tenth of the time of compiling in a new
process.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_eval import places
from ray_eval.envs.digests import DIGEST_DIGITS, FileDigests

MODEL = ".mjb"
"""Ends the name of a compiled model."""
TEXTURE = ".texture"
"""Ends the name of a texture."""
KEPT_FOR_S = 3600.0
"""An entry used within this time is not evicted: a run over more tasks than fit finds the first of them again."""

logger = logging.getLogger(__name__)


def default_folder() -> Path:
    """`$RAY_EVAL_CACHE`, else `ray-eval` in the user's cache folder; there `models`."""
    return places.cache_folder() / "models"


@dataclass(frozen=True, slots=True)
class ModelCache:
    """A folder of compiled models, bounded in size; several processes use it at once."""

    folder: Path
    """Made when it is first written to."""
    limit_bytes: int
    """Most bytes that entries take together; 0 neither reads nor writes any."""
    clock: Callable[[], float] = time.time
    """Seconds, comparable to files' times."""

    def compiled(self, mjcf: str) -> Any:
        """The mjModel of an MJCF text, loaded where it is known, else compiled and stored."""
        return self.compiled_as(self.key(mjcf), mjcf)

    def compiled_as(self, key: str | None, mjcf: str) -> Any:
        """The same, where the text's key is known."""
        import mujoco

        if key is None:
            return mujoco.MjModel.from_xml_string(mjcf)
        entry = self.found(key, MODEL)
        if entry is not None:
            return mujoco.MjModel.from_binary_path(str(entry))
        model = mujoco.MjModel.from_xml_string(mjcf)
        self.keep(key, MODEL, mujoco.mj_sizeModel(model), lambda path: mujoco.mj_saveModel(model, str(path), None))
        return model

    def key(self, mjcf: str) -> str | None:
        """What names the scene of an MJCF text, by all that it is compiled from; None where none is kept."""
        import mujoco

        if not self.limit_bytes:
            return None
        digests = self.digests()
        try:
            return content_key(mjcf, mujoco.__version__, digests)
        finally:
            digests.save()

    def found(self, key: str, suffix: str, digests: FileDigests | None = None) -> Path | None:
        """A key's whole entry of one kind; None where there is none.

        Args:
            key: As it was kept.
            suffix: Likewise.
            digests: What reads files; for one look at several entries the same.
        """
        digests = digests or self.digests()
        for entry in self.folder.glob(f"{key}-*{suffix}"):
            with contextlib.suppress(OSError):
                found = digests.of([entry])[entry]
                digests.save()
                if entry.stem.partition("-")[2] == found[:DIGEST_DIGITS]:
                    self._note_use(entry)
                    return entry
                logger.warning("model cache: expected %s as it was stored, got other bytes; it is made anew", entry)
                _remove(entry)
        return None

    def digests(self) -> FileDigests:
        """What reads files for their digests, with its memory beside the folder."""
        return FileDigests(self.folder.parent / "digests.json")

    def _note_use(self, entry: Path) -> None:
        used = _used(entry)
        used.touch(mode=0o600)
        os.utime(used, (self.clock(), self.clock()))

    def keep(self, key: str, suffix: str, size: int, write: Callable[[Path], object]) -> None:
        """Stores an entry in place of whatever the key has of its kind; a warning where that fails.

        Args:
            key: What names it, in hexadecimal.
            suffix: `MODEL` or another kind's.
            size: In bytes.
            write: Writes as many to a path.
        """
        import mujoco

        try:
            self._keep(key, suffix, size, write)
        except (OSError, mujoco.FatalError) as error:
            logger.warning("model cache %s: expected to store an entry, got %s; it is made anew", self.folder, error)

    def _keep(self, key: str, suffix: str, size: int, write: Callable[[Path], object]) -> None:
        if not self._make_room(size):
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(dir=self.folder, prefix=".partial-", suffix=suffix)
        os.close(descriptor)
        partial = Path(name)
        try:
            write(partial)
            if partial.stat().st_size != size:
                raise OSError(f"{partial.stat().st_size} of {size} bytes written; is the disk full?")
            entry = self.folder / f"{key}-{_file_digest(partial)}{suffix}"
            for other in self.folder.glob(f"{key}-*{suffix}"):
                if other != entry:
                    _remove(other)
            partial.replace(entry)
            self._note_use(entry)
        finally:
            partial.unlink(missing_ok=True)

    def _make_room(self, size: int) -> bool:
        """Evicts what has not been used for longest; False where that would take what was used just now."""
        entries = sorted(self._entries(), key=lambda entry: entry[1])
        excess = sum(length for _, _, length in entries) + size - self.limit_bytes
        for path, used_s, length in entries:
            if excess <= 0:
                break
            if self.clock() - used_s < KEPT_FOR_S:
                return False
            _remove(path)
            excess -= length
        return excess <= 0

    def _entries(self) -> list[tuple[Path, float, int]]:
        """Path, time of last use and size of every file, those included that a killed process left behind."""
        found = []
        for path in itertools.chain.from_iterable(self.folder.glob(f"*{suffix}") for suffix in (MODEL, TEXTURE)):
            with contextlib.suppress(FileNotFoundError):
                status, used = path.stat(), _used(path)
                used_s = used.stat().st_mtime if used.exists() else status.st_mtime
                found.append((path, used_s, status.st_size))
        return found


def content_key(mjcf: str, mujoco_version: str, digests: FileDigests) -> str | None:
    """SHA-256 over everything that a model is compiled from, in hexadecimal; None where a file cannot be read."""
    digest = hashlib.sha256(f"{mujoco_version}|{platform.machine()}|{mjcf}".encode())
    files = [Path(name) for name in sorted(set(re.findall(r'file="([^"]+)"', mjcf)))]
    try:
        found = digests.of(files)
    except OSError:
        return None
    for file in files:
        digest.update(f"|{file}|{found[file]}".encode())
    return digest.hexdigest()


def _used(entry: Path) -> Path:
    """Its time is that of the entry's last use."""
    return entry.with_suffix(".used")


def _remove(entry: Path) -> None:
    for path in (entry, _used(entry)):
        path.unlink(missing_ok=True)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_DIGITS]

"""A run's folder in an object store: a copy on this machine that is written through; runs in the driver.

The ledger and the actions are kept as segments, and a line counts once its segment is there. The rest are whole
objects, put when they are written or at the end.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ray_eval.driver.locks import Held, start_of
from ray_eval.driver.rules import UNTIL_NAME
from ray_eval.errors import ConfigError, LedgerError, SetupError
from ray_eval.report.segments import SUFFIX, ObjectStore, Segments, patiently
from ray_eval.scratch import scratch_folder

CLAIM_NAME = ".writer"
"""Object that says who writes; its beat goes on while that one lives."""
BEAT_S = 15.0
"""Between two beats."""
SILENCE_S = 40.0
"""A claim of another host whose beat stands still for so long is a dead one's."""
CONFIG_NAME = "config.yaml"
"""File name of the resolved configuration in a run's folder."""
GROWING = ("episodes.jsonl", "actions.jsonl")
"""Files that grow, and are kept as segments."""
_LOCAL = re.compile(r"\.lock|\..*\.partial|.*\.claim")
"""Files of the copy that are nobody else's."""
_PACKAGES = {"s3": "ray-eval[s3]", "s3a": "ray-eval[s3]", "gs": "ray-eval[gs]", "gcs": "ray-eval[gs]"}


class FsspecStore:
    """A place in any of fsspec's file systems.

    Raises:
        SetupError: the package of its kind is not installed.
        ConfigError: there is no such kind.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        scheme = url.partition("://")[0]
        try:
            self._files, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        except ImportError as error:
            package = _PACKAGES.get(scheme)
            remedy = f"pip install '{package}'" if package else "install it"
            raise SetupError(f"{url}: expected fsspec's package for {scheme}, got {error}; {remedy}") from error
        except ValueError as error:
            raise ConfigError(f"{url}: expected a place of a kind that fsspec knows, got {error}") from error
        self._root = root.rstrip("/")

    def create(self, name: str, content: bytes) -> bool:
        """By a conditional put, which S3 and Google's store decide themselves."""
        try:
            self._files.pipe_file(self._path(name), content, mode="create")
        except FileExistsError:
            return False
        return True

    def put(self, name: str, content: bytes) -> None:
        """Makes an object, or replaces it."""
        self._files.pipe_file(self._path(name), content)

    def get(self, name: str) -> bytes:
        """An object's content."""
        return bytes(self._files.cat_file(self._path(name)))

    def names(self, below: str = "") -> list[str]:
        """Names of all objects whose name begins so, in order."""
        folder = below.rpartition("/")[0]
        where = f"{self._root}/{folder}" if folder else self._root
        found = self._files.find(where)
        cut = [path.removeprefix(f"{self._root}/") for path in found]
        return sorted(name for name in cut if name.startswith(below))

    def remove(self, name: str) -> None:
        """Removes an object, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


class RemoteFolder:
    """A run's folder in a store, and the copy of it that the driver works on.

    Args:
        store: the place.
        url: what the user calls it.
        copy: an empty folder of this process alone.
    """

    def __init__(self, store: ObjectStore, url: str, copy: Path, sleep: Callable[[float], None] = time.sleep) -> None:
        self.url, self.copy = url, copy
        self._store, self._sleep = store, sleep
        self._segments = {name: Segments(store, name, url, sleep) for name in GROWING}
        self._put: dict[str, int] = {}
        self._claim: Claim | None = None

    def open(self, *, is_resume: bool) -> None:
        """Claims the place and fetches what is there.

        Raises:
            ConfigError: something is there and this is no resume, or the other way round.
            LedgerError: somebody else writes there, or the store does not answer.
        """
        found = [name for name in self._asked(self._store.names) if name != CLAIM_NAME]
        if is_resume and not found:
            raise ConfigError(f"{self.url}: expected a run's folder to resume, found none; check the path")
        if found and not is_resume:
            raise ConfigError(
                f"{self.url}: expected no such folder, found one; go on with it by --resume {self.url}, or "
                "choose another"
            )
        self._claim = Claim(self._store, self.url, self._sleep)
        try:
            self.fetch(is_writer=True)
        except BaseException:
            self._claim.release()
            raise

    def fetch(self, *, is_writer: bool = False) -> None:
        """Fills the copy.

        Raises:
            LedgerError: a segment is gone, or the store does not answer.
        """
        names = self._asked(self._store.names)
        growing = {name.partition(f"{SUFFIX}/")[0] for name in names if f"{SUFFIX}/" in name}
        for name in sorted(growing & self._segments.keys()):
            self._written(name, self._segments[name].read(is_writer=is_writer))
        for name in names:
            if name != CLAIM_NAME and name not in growing and f"{SUFFIX}/" not in name:
                self._written(name, self._asked(functools.partial(self._store.get, name)))
                self._put[name] = (self.copy / name).stat().st_mtime_ns

    def writer(self, name: str) -> Callable[[bytes], None]:
        """What writes at the end of a file that grows."""
        return self._segments[name].append

    def put(self, path: Path) -> None:
        """Puts a file of the copy in its place.

        Raises:
            LedgerError: the store does not answer.
        """
        name, written = path.relative_to(self.copy).as_posix(), path.stat().st_mtime_ns
        if self._put.get(name) != written:
            self._asked(lambda: self._store.put(name, path.read_bytes()))
            self._put[name] = written

    def close(self) -> None:
        """Puts what is not there yet, the growing files as a whole for other readers, and lets go of the place."""
        if self._claim is None:
            return
        try:
            for path in sorted(self.copy.rglob("*")):
                if path.is_file() and not _LOCAL.fullmatch(path.name):
                    self.put(path)
        finally:
            self._claim.release()

    def _written(self, name: str, content: bytes) -> None:
        path = self.copy / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def _asked(self, action: Callable[[], Any]) -> Any:
        return patiently(action, self.url, sleep=self._sleep)


class Claim:
    """Says who writes in a place, for as long as that one lives: a thread makes its beat go on.

    It spares two runs the surprise; what keeps their lines apart are the segments' numbers.

    Raises:
        Held: somebody else has it.
    """

    def __init__(self, store: ObjectStore, url: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._store, self._url, self._sleep = store, url, sleep
        self._who = {
            "host": platform.node(), "pid": os.getpid(), "since": start_of(os.getpid()), "id": secrets.token_hex(8)
        }  # fmt: skip
        self._beat = 0
        self._is_over = threading.Event()
        while not patiently(lambda: store.create(CLAIM_NAME, self._said()), url, sleep=sleep):
            self._wait_for_the_end_of(self._found())
        self._thread = threading.Thread(target=self._go_on, name="claim", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Lets go of the place, unless it is somebody else's by now."""
        self._is_over.set()
        self._thread.join()
        with contextlib.suppress(OSError, LedgerError):
            if self._found().get("id") == self._who["id"]:
                self._store.remove(CLAIM_NAME)

    def _wait_for_the_end_of(self, other: dict[str, Any]) -> None:
        """Removes a dead one's claim.

        Raises:
            Held: it is alive.
        """
        if not other or other.get("id") == self._who["id"]:
            return
        if other.get("host") == platform.node():
            is_alive = start_of(other.get("pid")) == other.get("since")
        else:
            self._sleep(SILENCE_S)
            is_alive = self._found() != other
        if is_alive:
            who = f"process {other.get('pid')} on {other.get('host')}"
            raise Held(f"{self._url}: expected nobody else to write there, got {who}, which still does")
        self._store.remove(CLAIM_NAME)

    def _go_on(self) -> None:
        while not self._is_over.wait(BEAT_S):
            self._beat += 1
            # One that fails is made good by the next, whatever a store's client raises.
            with contextlib.suppress(Exception):
                self._store.put(CLAIM_NAME, self._said())

    def _said(self) -> bytes:
        return json.dumps({**self._who, "beat": self._beat}).encode()

    def _found(self) -> dict[str, Any]:
        try:
            found = json.loads(self._store.get(CLAIM_NAME))
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


@contextlib.contextmanager
def remote_folder(url: str, copy: Path, *, is_resume: bool) -> Iterator[RemoteFolder]:
    """A place in a store for the length of a run.

    Raises:
        ConfigError, LedgerError, SetupError: as of `RemoteFolder.open` and `FsspecStore`.
    """
    folder = RemoteFolder(FsspecStore(url), url, copy)
    folder.open(is_resume=is_resume)
    try:
        yield folder
    finally:
        folder.close()


@contextlib.contextmanager
def recorded(place: Path | str) -> Iterator[Path]:
    """A folder with what a run wrote down before its first episode: its own, or a copy from the store.

    Raises:
        ConfigError: there is no run in the store.
        LedgerError: the store does not answer.
    """
    if isinstance(place, Path):
        yield place
        return
    store = FsspecStore(place)
    found = [name for name in (CONFIG_NAME, UNTIL_NAME) if name in patiently(store.names, place)]
    if CONFIG_NAME not in found:
        raise ConfigError(f"{place}: expected a run with {CONFIG_NAME} to resume, found none; check the address")
    with scratch_folder() as scratch:
        for name in found:
            (scratch / name).write_bytes(patiently(functools.partial(store.get, name), place))
        yield scratch

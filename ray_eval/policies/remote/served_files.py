"""A checkpoint that servers of this machine load from a folder: whether it is still the one that the run began with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ray_eval.errors import PolicyChanged, SetupError
from ray_eval.policies.lerobot.checkpoint import Checkpoint, open_checkpoint
from ray_eval.policies.remote.endpoint import split_address
from ray_eval.wire.transport import is_loopback


class ServedFiles:
    """The files behind a path that is sent to servers, where they can be seen from here.

    A server loads them anew at each connection and says nothing of them.

    Args:
        addresses: Of the servers; one on another machine has files of its own.
        path: What the servers are told: a folder, or an id on the hub.
    """

    def __init__(self, addresses: Sequence[str], path: str) -> None:
        is_here = all(is_loopback(split_address(address, 0)[0]) for address in addresses)
        self._checkpoint = _seen(path) if is_here else None
        self._stamp: tuple[object, ...] = ()
        self._digest = ""
        self._known = self._now()

    @property
    def digest(self) -> str | None:
        """SHA-256 of the files at the start; None where they cannot be seen from here."""
        return self._known or None

    def check(self, address: str) -> None:
        """Passes as long as they are those of the start; to be called once a server has loaded them.

        Raises:
            PolicyChanged: they are others.
        """
        if self._checkpoint is None or not self._known or (got := self._now()) == self._known:
            return
        raise PolicyChanged(
            f"policy server at {address}: expected the checkpoint that the run began with in {self._checkpoint.folder} "
            f"(SHA-256 {self._known[:12]}), got another ({got[:12] or 'none'}); put the former one back and go on with "
            "--resume, or start another run"
        )

    def _now(self) -> str:
        """The files' digest, made again only where their sizes or times have changed."""
        if self._checkpoint is None:
            return ""
        try:
            stamp = tuple((path.name, *_size_and_time(path)) for path in sorted(self._checkpoint.folder.iterdir()))
            if stamp != self._stamp:
                self._stamp, self._digest = stamp, self._checkpoint.digest()
        except OSError:
            return ""
        return self._digest


def _size_and_time(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _seen(path: str) -> Checkpoint | None:
    """The checkpoint in an absolute path of this machine; a relative one is the server's."""
    if not Path(path).is_absolute():
        return None
    try:
        return open_checkpoint(path, None)
    except SetupError:
        return None  # the server says what is wrong

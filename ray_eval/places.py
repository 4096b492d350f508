"""Where a process may put files: home, temporary folder, caches, sockets, whoever the user is; for every process.

The policy's side asks it too, which has nothing but the standard library in common with the evaluator.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from ray_eval.errors import SetupError

SOCKET_PATH_BYTES = 107
"""Longest path of a unix socket. Source: Linux, sizeof(sockaddr_un.sun_path) less its final NUL."""
SYSTEM_TEMPORARY = Path("/tmp")  # noqa: S108 - the one short path that every Linux has
"""Where sockets go when the user's temporary folder is too long a path for them."""


def check_working_folder() -> None:
    """Passes where the working folder is there.

    Raises:
        SetupError: it was removed; Ray and its workers start in it.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise SetupError(
            "working folder: expected one that is there, got one that was removed; cd to another and start again"
        ) from error


def home() -> Path | None:
    """The user's home, whether it is there or not; None where HOME is unset and the uid has no name."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def settle_home() -> None:
    """Where this process has no home, its private folder stands in, for every package that asks for one."""
    if home() is None:
        os.environ["HOME"] = str(private_folder())


def is_writable(folder: Path) -> bool:
    """Whether files can be made in the folder, or the folder itself where it is not there yet; tried, not asked."""
    nearest = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), None)
    if nearest is None:
        return False
    try:
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError:
        return False
    return True


def temporary_folder() -> Path:
    """`$TMPDIR` where it can be written, else /tmp or another that Python knows of.

    Raises:
        SetupError: none can be written.
    """
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:
        chosen = os.environ.get("TMPDIR")
        tried = f"TMPDIR={chosen}, {SYSTEM_TEMPORARY}" if chosen else str(SYSTEM_TEMPORARY)
        raise SetupError(
            f"temporary folder: expected one that can be written, got none ({tried} and others were tried); free some "
            "space there, or set TMPDIR to a folder of your own"
        ) from error


@functools.cache
def private_folder() -> Path:
    """A folder of this user's alone below the temporary folder: what is read from it, nobody else has put there.

    Raises:
        SetupError: there is no temporary folder that can be written.
    """
    folder = temporary_folder() / f"ray_eval-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    return folder if _is_ours_alone(folder) else Path(tempfile.mkdtemp(prefix="ray_eval-"))


def _is_ours_alone(folder: Path) -> bool:
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def cache_folder() -> Path:
    """`$RAY_EVAL_CACHE`, else `ray-eval` in the user's cache folder; in the private folder where there is no home."""
    if chosen := os.environ.get("RAY_EVAL_CACHE"):
        return Path(chosen).expanduser()
    return user_cache_folder() / "ray-eval"


def user_cache_folder() -> Path:
    """`$XDG_CACHE_HOME`, else `.cache` in the user's home; the private folder where none can be written."""
    chosen, found = os.environ.get("XDG_CACHE_HOME"), home()
    folder = Path(chosen) if chosen else found / ".cache" if found else None
    return folder if folder is not None and is_writable(folder) else private_folder()


def short_folder(room_bytes: int, usual: Path | None = None, is_usable: Callable[[Path], bool] = is_writable) -> Path:
    """The usual folder, or /tmp where the former's path leaves no room for a socket's name of so many bytes.

    Args:
        room_bytes: length of what comes behind the folder, its slash included.
        usual: where files would go; None for the temporary folder.
        is_usable: whether files can be made in a folder.

    Raises:
        SetupError: the usual folder's path is too long, and /tmp cannot be written.
    """
    usual = usual or temporary_folder()
    length, most = len(os.fsencode(usual)), SOCKET_PATH_BYTES - room_bytes
    if length <= most:
        return usual
    if is_usable(SYSTEM_TEMPORARY):
        return SYSTEM_TEMPORARY
    raise SetupError(
        f"{usual}: expected a folder for sockets with a path of at most {most} bytes, got {length}, and /tmp cannot be "
        "written; set TMPDIR to a folder with a shorter path"
    )

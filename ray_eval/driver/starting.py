"""How a Ray of a run's own is started in this place: its folder, its token, its interpreter; runs in the driver.

Imports no Ray: what is settled here has to be settled before that is imported.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from ray_eval import places

UV_HOOK = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"
"""Environment variable, read by Ray at its import: whether workers get a copy of `uv run`'s project."""
AUTH_MODE = "RAY_AUTH_MODE"
"""Environment variable that tells Ray whether tokens are used: `token` or `disabled`."""
TOKEN, TOKEN_PATH = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
"""Environment variables that give Ray a token, or the path of its file."""
NICENESS = "RAY_worker_niceness"
"""Environment variable that tells a node which nice value its workers have; Ray's own choice is 15."""
PRESTART = "RAY_prestart_worker_first_driver"
"""Environment variable that tells a node whether to start a worker for each CPU when its first program comes."""
RAY_TMPDIR = "RAY_TMPDIR"
"""Environment variable that gives Ray another temporary folder than TMPDIR's."""
_TIMED_OUT = "timed out during startup"
"""Words of Ray 2.60 about a node that is not there in time."""
_SOCKET_ROOM_BYTES = len("/ray/session_2026-01-01_00-00-00_000000_/sockets/plasma_store.1")
"""What Ray puts behind the temporary folder at most, without its process id: measured, 61 bytes and the id's digits."""


def keep_this_interpreter() -> None:
    """Has Ray's workers run in this very environment under `uv run`, unless the user has said otherwise.

    Ray's own way copies the project, whatever lies beside it, and installs its packages once more for each worker.
    """
    os.environ.setdefault(UV_HOOK, "0")
    constants = sys.modules.get("ray._private.ray_constants")
    if constants is not None and os.environ[UV_HOOK].lower() not in ("1", "true"):
        constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False  # type: ignore[attr-defined]


@contextlib.contextmanager
def own_choices() -> Iterator[None]:
    """Has a Ray that is started meanwhile do as a run needs it, or as the user set it.

    - Workers run at this process's priority. At Ray's own nice value of 15 one gets 3 % of a core that another program
      keeps busy.
    - No worker is started before it is asked for: each of ours has variables of its own, so those would never be used.
    """
    ours = {name: "0" for name in (NICENESS, PRESTART) if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


def slowness(error: Exception) -> str:
    """What makes Ray's helpers miss the time that Ray gives them to start, where that is what became of them.

    Each is an interpreter of its own. Without compiled files it takes three times the work, each time anew: an
    installer left them out, and PYTHONDONTWRITEBYTECODE keeps them out.
    """
    if _TIMED_OUT not in str(error):
        return ""
    busy = f"; this machine's load is {os.getloadavg()[0]:.0f}, on {os.cpu_count()} CPUs"
    spec = importlib.util.find_spec("ray")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else None
    if folder is None or any(folder.glob("_private/__pycache__/*.pyc")):
        return busy
    return f"{busy}, and Ray's files are not compiled: type {sys.executable} -m compileall -q {folder.parent}"


def ray_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where a Ray that is started here keeps its sessions: its usual folder, or /tmp/ray for a path that is too long.

    Raises:
        SetupError: sockets fit into neither.
    """
    room = _SOCKET_ROOM_BYTES + len(str(os.getpid()))
    chosen = environment.get(RAY_TMPDIR)
    usual = Path(chosen).expanduser().absolute() if chosen else None
    return places.short_folder(room, usual) / "ray"


def token_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the token is that Ray's nodes, its clients and its dashboard ask for."""
    if chosen := environment.get(TOKEN_PATH):
        return Path(chosen).expanduser()
    return (places.home() or places.private_folder()) / ".ray" / "auth_token"


def settle_token() -> None:
    """Gives Ray a token in this user's private folder where it could not keep one in the home.

    Raises:
        SetupError: nowhere is a file of this user's alone to be had.
    """
    if os.environ.get(AUTH_MODE, "token") != "token" or TOKEN in os.environ or TOKEN_PATH in os.environ:
        return
    usual = token_file()
    if os.access(usual, os.R_OK) or (not os.path.lexists(usual) and places.is_writable(usual.parent)):
        return
    own = places.private_folder() / "ray_auth_token"
    if not own.exists():
        descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    os.environ[TOKEN_PATH] = str(own)

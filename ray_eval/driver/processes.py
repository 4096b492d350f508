"""The processes of the Ray that a run starts: whether it lives, and that none of it is left; runs in the driver."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import psutil
import ray

from ray_eval import places
from ray_eval.driver.api_server import NICENESS
from ray_eval.errors import SetupError
from ray_eval.scratch import SOCKET_ROOM_BYTES, Scratch

ESSENTIAL = ("gcs_server", "raylet")
"""Without one of these a Ray does nothing more, and says so after a minute only, or ends the driver."""
TMPDIR = "TMPDIR"
"""Environment variable that names the temporary folder."""
_NAMES = (*ESSENTIAL, "ray::", "ray-")
_ARGUMENT = "/ray/"
_AGENT = ("dashboard/agent.py", "ray::DashboardAgent")
"""How it is called, before and after it names itself."""


class RayEnded(SetupError):
    """The Ray that this run started is gone; nothing of it answers any more."""


class RayProcesses:
    """The processes of the Ray that is started after this is made; made and asked in the process that starts it."""

    def __init__(self) -> None:
        self._others = set(_descendants())
        self._found: set[psutil.Process] = set()
        self._scratch = Scratch(places.short_folder(SOCKET_ROOM_BYTES))

    @contextlib.contextmanager
    def own_temporary_folder(self) -> Iterator[None]:
        """What is started within puts its temporary files where they are removed: Ray's dashboard leaves its own.

        Workers and policies have the usual folder all the same, by `Cluster`.
        """
        before = os.environ.get(TMPDIR)
        os.environ[TMPDIR] = str(self._scratch.path)
        try:
            yield
        finally:
            if before is None:
                del os.environ[TMPDIR]
            else:
                os.environ[TMPDIR] = before

    def note(self) -> None:
        """Remembers those that are there now: once the one that started them is gone, nothing tells whose they were."""
        new = [process for process in _descendants() if process not in self._others]
        self._found |= {process for process in new if _is_rays(process)}
        # What Ray's own have started, whatever it is called.
        self._found |= {child for process in self._found for child in _descendants(process)}

    def give_way(self) -> None:
        """Has the agent that serves the dashboard take what a run leaves; Ray's node starts it, and waits for it."""
        for process in self._found:
            with contextlib.suppress(psutil.Error, OSError):
                if any(word.endswith(_AGENT) for word in process.cmdline()):
                    process.nice(os.nice(0) + NICENESS)

    def check(self) -> None:
        """Passes while Ray lives.

        Raises:
            RayEnded: it does not.
        """
        node = getattr(ray._private.worker, "_global_node", None)  # noqa: SLF001 - Ray has no public way
        dead = [] if node is None else node.dead_processes()
        ended = next(((kind, process.returncode) for kind, process in dead if kind in ESSENTIAL), None)
        if ended is not None:
            kind, code = ended
            how = f"signal {-code}, as the kernel sends where memory is short" if code < 0 else f"exit code {code}"
            raise RayEnded(
                f"ray: expected the {kind} that this run started to live as long as the run, got its end by {how}; "
                "what is finished is kept: resume the run"
            )

    def end(self) -> None:
        """Ends what a shutdown has left: agents outlive the process that they serve by a minute or more."""
        for process in self._found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        waited_until = time.monotonic() + _LONGEST_WAIT_S
        while any(map(_holds_something, self._found)) and time.monotonic() < waited_until:
            time.sleep(_POLL_S)
        self._scratch.close()


_LONGEST_WAIT_S, _POLL_S = 5.0, 0.02


def _holds_something(process: psutil.Process) -> bool:
    """Whether it still runs; one that has ended is a zombie until its parent, in a container often nobody, looks."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _descendants(process: psutil.Process | None = None) -> Iterator[psutil.Process]:
    """Those of a process; of this one by default."""
    with contextlib.suppress(psutil.NoSuchProcess):
        yield from (process or psutil.Process()).children(recursive=True)


def _is_rays(process: psutil.Process) -> bool:
    """Whether a process is Ray's and not one that the caller's program started meanwhile."""
    with contextlib.suppress(psutil.Error):
        return process.name().startswith(_NAMES) or any(_ARGUMENT in word for word in process.cmdline())
    return False

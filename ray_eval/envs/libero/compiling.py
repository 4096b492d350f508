"""Machine code that is not on disk yet, compiled in a process beside; `python -m ray_eval.envs.libero.compiling`.

Compiling takes half a minute of CPU time on a machine's first run. A run's workers do not wait for it: until it is
there they step in robosuite's own loop and have robosuite draw everything, which has the same bits and takes longer.
One of them starts a process that compiles, first what images take; each looks for its work at a reset and before an
image.
Whoever does not ask for that compiles at the first call.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ray_eval.orphans import end_with_parent

NICENESS: Final = 5
"""Nice value of the process: where workers keep all cores busy, it gets a third of one."""
IMAGES: Final = (
    "visibility.find_seen",
    "visibility.find_reflected",
    "meeting.find_drawn_again",
    "meeting.find_touching",
)
"""What Python calls of the machine code when it draws, as Numba's files on disk are named."""
STEPS: Final = (
    "substeps.control_step",
    "substeps.operational_space",
    "substeps.robosuites_operational_space",
    "substeps.multiply",
    "substeps.multiply_by_columns",
    "substeps.turn",
)
"""What it calls when it steps."""
_LOCK, _SAID = "compiling.lock", "compiling.log"
"""In the folder of the machine code: what a process that compiles holds, and what it says."""
_LOOK_S: Final = 0.2
"""Time between two looks at the disk."""

_logger = logging.getLogger(__name__)
_beside: _Beside | None = None


def begin_beside() -> None:
    """From now on this process does without machine code that is not there; the simulator has been imported."""
    global _beside  # noqa: PLW0603 -- Numba's functions are the process's as well
    from ray_eval.envs.libero.native import cache_folder

    folder = cache_folder()
    if _beside is None and folder is not None and not _is_kept(Path(folder), IMAGES + STEPS):
        _beside = _Beside(Path(folder))


def is_ready(entries: Sequence[str]) -> bool:
    """Whether machine code is there, or is to be compiled where it is called.

    Args:
        entries: `IMAGES` or `STEPS`.
    """
    return _beside is None or _beside.is_ready(entries)


class _Beside:
    """The wait of one process for what another one compiles, which it starts if nobody on this machine has."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._ready: set[Sequence[str]] = set()
        self._looked_s = -_LOOK_S
        self.is_ready(STEPS)

    def is_ready(self, entries: Sequence[str]) -> bool:
        """Whether they are there, or cannot be had."""
        if entries not in self._ready and time.monotonic() - self._looked_s >= _LOOK_S:
            goes_on = self._goes_on()
            self._ready |= {part for part in (IMAGES, STEPS) if not goes_on or _is_kept(self._folder, part)}
            self._looked_s = time.monotonic()
        return entries in self._ready

    def _goes_on(self) -> bool:
        """Whether somebody compiles; says so where nobody can."""
        try:
            if self._process is None:
                self._process = self._started()
            if self._process is None or self._process.poll() is None:
                return True
            words = self._last_words()
        except OSError as error:
            words = str(error)
        if not _is_kept(self._folder, IMAGES + STEPS):
            _logger.warning(
                "machine code: expected a process that compiles it, got %s; it is compiled where it is called", words
            )
        return False

    def _started(self) -> subprocess.Popen[bytes] | None:
        """The process, which holds a lock until its end; None where another one has it.

        Raises:
            OSError: there are no locks, or no processes.
        """
        descriptor = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with (self._folder / _SAID).open("wb") as said:
                return subprocess.Popen(
                    [sys.executable, "-m", __spec__.name],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                    pass_fds=[descriptor],
                )
        except BlockingIOError:
            return None
        finally:
            os.close(descriptor)

    def _last_words(self) -> str:
        lines = (self._folder / _SAID).read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "its end without a word")


def _is_kept(folder: Path, entries: Sequence[str]) -> bool:
    return all(any(folder.glob(f"*/{entry}-*.nbi")) for entry in entries)


def compile_all() -> None:
    """Loads all machine code, and compiles and keeps what is not on disk."""
    from ray_eval.envs.libero import suites
    from ray_eval.envs.libero.model_cache import ModelCache, default_folder
    from ray_eval.envs.libero.simulation import Simulation

    _compile_images()
    suite = suites.suites()[0]
    first = suites.tasks(suite)[0]
    Simulation(suites.task(suite, first.task_id).bddl_path, ModelCache(default_folder(), limit_bytes=0)).close()


_SCENE: Final = """
<mujoco>
  <default><geom group="1"/></default>
  <asset><material name="mirror" reflectance=".5"/></asset>
  <worldbody>
    <camera name="front" pos="0 -2 1" xyaxes="1 0 0 0 .45 .9"/>
    <geom type="box" size=".3 .3 .1" material="mirror"/>
    <geom type="box" size=".1 .1 .1" pos="0 0 .3"/>
  </worldbody>
</mujoco>
"""


def _compile_images() -> None:
    """What asks which geoms an image needs, of a scene that has a mirror."""
    import mujoco
    import numpy as np

    from ray_eval.envs.libero.culling import SceneBounds
    from ray_eval.envs.libero.snapshot import take_snapshot

    model = mujoco.MjModel.from_xml_string(_SCENE)
    data: Any = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    bounds, snapshot = SceneBounds(model), take_snapshot(model, data)
    first, second = np.array([True, False]), np.array([False, True])
    bounds.unseen(snapshot, 0)
    bounds.reflected(snapshot, 0)
    bounds.drawn_again(snapshot, second, first)
    bounds.touching(snapshot, second, 0)


if __name__ == "__main__":
    end_with_parent()
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    compile_all()

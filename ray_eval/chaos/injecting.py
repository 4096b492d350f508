"""The faults themselves, each a function that does it and says what it did; in the process that disturbs a run.

None asks the run for help but those that happen in an env, where a waiting worker is told by the orders' folder.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ray_eval.awake import AwakeClock
from ray_eval.chaos.leftovers import processes_of, title_of
from ray_eval.errors import RayEvalError
from ray_eval.orders import Orders, Taken
from ray_eval.report.ledger import LEDGER_NAME
from ray_eval.scratch import LOCK_NAME

POLL_S = 0.02
SLOW_S = 3.0
"""How long a slow policy stands still; shorter than `serving.infer_timeout_s`."""
ROOM_BYTES = 8
"""By how much files of the driver may still grow once its disk is full."""


class NotInjectedError(RayEvalError):
    """A fault could not be made to happen."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault finds: a run in mid-episode."""

    number: int
    """The fault's."""
    driver: psutil.Process
    """The run's driver."""
    taken: Taken
    """The worker that steps."""
    orders: Orders
    """By which its env is told."""
    folder: Path
    """The run's."""
    patience_s: float
    """Longest wait for an effect."""

    @property
    def worker(self) -> psutil.Process:
        """The process of the env.

        Raises:
            NotInjectedError: it has ended meanwhile.
        """
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.taken.pid)
        raise NotInjectedError(f"worker {self.taken.pid}: expected it to run, got its end before the fault")

    def processes(self, word: str) -> list[psutil.Process]:
        """The run's processes with a word in their title; waits for one that is being started again.

        Raises:
            NotInjectedError: there is none, or the driver has ended.
        """
        found: list[psutil.Process] = []

        def is_there() -> bool:
            found[:] = [process for process in processes_of(self.orders.folder) if word in title_of(process)]
            return bool(found)

        self.wait_for_run(is_there, f"a process of the run that is called {word}")
        return found

    def broken(self) -> int:
        """Attempts that the ledger says broke."""
        with contextlib.suppress(OSError):
            return (self.folder / LEDGER_NAME).read_bytes().count(b'"outcome": "error"')
        return 0

    def wait(self, until: Callable[[], object], what: str) -> None:
        """Waits for an effect.

        Raises:
            NotInjectedError: it does not come in time.
        """
        clock = AwakeClock()
        while not until():
            if clock() > self.patience_s:
                raise NotInjectedError(f"expected {what} within {self.patience_s:g} s, got none")
            time.sleep(POLL_S)

    def wait_for_run(self, until: Callable[[], object], what: str) -> None:
        """Waits for what only a run that goes on brings about.

        Raises:
            NotInjectedError: it does not come in time, or the driver ended without.
        """
        self.wait(lambda: until() or not self.is_driver_there(), what)
        if not until():
            raise NotInjectedError(f"expected {what}, got the driver's end")

    def is_driver_there(self) -> bool:
        """Whether the driver runs."""
        with contextlib.suppress(psutil.Error):
            return self.driver.status() != psutil.STATUS_ZOMBIE
        return False

    def wait_for_broken(self, before: int) -> None:
        """Waits until the ledger has one more attempt that broke.

        Raises:
            NotInjectedError: it has none in time, or the driver ended without: who was hit had no episode any more.
        """
        self.wait_for_run(lambda: self.broken() > before, "an attempt that broke in the ledger")


Facts = Mapping[str, Any]
"""What was done, for the event log."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault."""

    inject: Callable[[Scene], Facts]
    """Does it, and says what; raises NotInjectedError."""
    about: str
    """What happens, in words."""
    ends_driver: tuple[int, ...] = ()
    """Exit codes that the driver may end with by it; none where it goes on."""
    is_in_step: bool = False
    """Whether the env does it itself, so that it comes in mid-step and never later."""
    is_of_own_ray: bool = False
    """Whether it is for a Ray that the run started, and would end others' runs in a cluster."""


def _gone(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def _killed(scene: Scene, process: psutil.Process) -> Facts:
    title = title_of(process)
    process.kill()
    scene.wait(lambda: _gone(process), f"the end of {process.pid}")
    return {"pid": process.pid, "title": title}


def _stopped(scene: Scene, process: psutil.Process) -> Facts:
    process.suspend()
    scene.wait(lambda: process.status() == psutil.STATUS_STOPPED, f"{process.pid} to stand still")
    return {"pid": process.pid, "title": title_of(process)}


def _continued(process: psutil.Process) -> bool:
    """Whether it was still there to go on."""
    with contextlib.suppress(psutil.Error):
        process.resume()
        return True
    return False


def _worker_killed(scene: Scene) -> Facts:
    before = scene.broken()
    facts = _killed(scene, scene.worker)
    scene.wait_for_broken(before)
    return facts


def _frozen(whose: Callable[[Scene], psutil.Process]) -> Callable[[Scene], Facts]:
    """Stands still until an attempt has broken of it."""

    def freeze(scene: Scene) -> Facts:
        before, process = scene.broken(), whose(scene)
        facts = _stopped(scene, process)
        scene.orders.answer(scene.number)
        try:
            scene.wait_for_broken(before)
        finally:
            went_on = _continued(process)
        return {**facts, "went_on": went_on}

    return freeze


def _told(verb: str) -> Callable[[Scene], Facts]:
    def tell(scene: Scene) -> Facts:
        before = scene.broken()
        scene.orders.answer(scene.number, verb)
        scene.wait_for_broken(before)
        return {"pid": scene.taken.pid, "told": verb}

    return tell


def _policy_killed(scene: Scene) -> Facts:
    return _killed(scene, _policy(scene))


def _policy_slow(scene: Scene) -> Facts:
    policy = _policy(scene)
    facts = _stopped(scene, policy)
    scene.orders.answer(scene.number)
    time.sleep(SLOW_S)
    _continued(policy)
    return {**facts, "seconds": SLOW_S}


def _worker(scene: Scene) -> psutil.Process:
    return scene.worker


def _policy(scene: Scene) -> psutil.Process:
    return scene.processes("ray::PolicyActor")[0]


def _signalled(number: signal.Signals, times: int = 1) -> Callable[[Scene], Facts]:
    def signal_driver(scene: Scene) -> Facts:
        for _ in range(times):
            scene.driver.send_signal(number)
        scene.orders.answer(scene.number)
        scene.wait(lambda: not scene.is_driver_there(), f"the driver's end by {number.name}")
        return {"pid": scene.driver.pid, "signal": number.name, "times": times}

    return signal_driver


def _torn_tail(scene: Scene) -> Facts:
    facts = _signalled(signal.SIGKILL)(scene)
    path = scene.folder / LEDGER_NAME
    last = path.read_bytes().splitlines()[-1]
    with path.open("ab") as file:
        file.write(last[: len(last) // 2])
    return {**facts, "torn_bytes": len(last) // 2}


def _disk_full(scene: Scene) -> Facts:
    """As where the disk is full: no file of the driver may grow any more, by its own limit."""
    length = (scene.folder / LEDGER_NAME).stat().st_size
    _, hard = resource.prlimit(scene.driver.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(scene.driver.pid, resource.RLIMIT_FSIZE, (length + ROOM_BYTES, hard))
    scene.orders.answer(scene.number)
    scene.wait(lambda: not scene.is_driver_there(), "the driver's end, its disk full")
    return {"pid": scene.driver.pid, "file_limit_bytes": length + ROOM_BYTES}


def _ray_killed(word: str) -> Callable[[Scene], Facts]:
    def kill(scene: Scene) -> Facts:
        facts = _killed(scene, scene.processes(word)[0])
        scene.orders.answer(scene.number)
        scene.wait(lambda: not scene.is_driver_there(), "the driver's end")
        return facts

    return kill


def _scratch_of(scene: Scene) -> Path:
    """The folder that the run's sockets are in, once one is there; known by the lock that the driver holds on it."""
    found: list[Path] = []

    def is_there() -> bool:
        with contextlib.suppress(OSError):
            links = [str(entry.readlink()) for entry in Path(f"/proc/{scene.driver.pid}/fd").iterdir()]
            # The lock stays where the folder was removed and made again.
            locks = [Path(link.removesuffix(" (deleted)")) for link in links]
            found[:] = [path.parent for path in locks if path.name == LOCK_NAME and any(path.parent.glob("*.sock"))]
        return bool(found)

    scene.wait_for_run(is_there, "a folder with the policy's socket; serving.address may be none of a socket")
    return found[0]


def _socket_removed(scene: Scene) -> Facts:
    """Another worker has to connect then."""
    sockets = sorted(_scratch_of(scene).glob("*.sock"))
    for path in sockets:
        path.unlink()
    return {"removed": [path.name for path in sockets], **_worker_killed(scene)}


def _scratch_removed(scene: Scene) -> Facts:
    folder = _scratch_of(scene)
    shutil.rmtree(folder)
    return {"removed": str(folder), **_worker_killed(scene)}


_ENDED_BY_SIGNAL = (130,)
KINDS: Mapping[str, Kind] = {
    "worker_killed": Kind(_worker_killed, "SIGKILL to a worker in mid-episode"),
    "worker_frozen": Kind(_frozen(_worker), "SIGSTOP to a worker until its episode's time is over, then SIGCONT"),
    "env_raises": Kind(_told("raise"), "the env raises in a step", is_in_step=True),
    "env_hangs": Kind(_told("hang"), "a step that never ends", is_in_step=True),
    "env_exits": Kind(_told("exit"), "the env's process ends in a step, as by a crash of native code", is_in_step=True),
    "policy_killed": Kind(_policy_killed, "SIGKILL to a policy actor"),
    "policy_slow": Kind(_policy_slow, f"SIGSTOP to a policy actor, SIGCONT {SLOW_S:g} s later"),
    "policy_frozen": Kind(_frozen(_policy), "SIGSTOP to a policy actor past serving.infer_timeout_s, then SIGCONT"),
    "driver_killed": Kind(_signalled(signal.SIGKILL), "SIGKILL to the driver, then --resume", (-9,)),
    "driver_terminated": Kind(_signalled(signal.SIGTERM), "SIGTERM to the driver, then --resume", _ENDED_BY_SIGNAL),
    "driver_hung_up": Kind(_signalled(signal.SIGHUP), "SIGHUP to the driver, then --resume", _ENDED_BY_SIGNAL),
    "driver_interrupted": Kind(
        _signalled(signal.SIGINT, times=2), "two SIGINT to the driver, then --resume", _ENDED_BY_SIGNAL
    ),
    "torn_tail": Kind(_torn_tail, "SIGKILL to the driver, half a line at the ledger's end, then --resume", (-9,)),
    "disk_full": Kind(_disk_full, "files of the driver may not grow (RLIMIT_FSIZE), then --resume", (2,)),
    "socket_removed": Kind(_socket_removed, "the policy's socket is removed, and a worker killed"),
    "scratch_removed": Kind(_scratch_removed, "the run's temporary folder is removed, and a worker killed"),
    "raylet_killed": Kind(
        _ray_killed("raylet/raylet"), "SIGKILL to Ray's raylet, then --resume", (2,), is_of_own_ray=True
    ),
    "gcs_killed": Kind(_ray_killed("gcs/gcs_server"), "SIGKILL to Ray's GCS, then --resume", (2,), is_of_own_ray=True),
}
"""Every kind of fault by its name."""

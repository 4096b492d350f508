"""An evaluation undisturbed and the same disturbed, until every fault was there; the disturber's own loop.

The driver is a child, started as its user starts it, and resumed whenever a fault has ended it. What happens is a line
of `events.jsonl`; what counts is read from the run's folder alone.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from ray_eval import places
from ray_eval.awake import AwakeClock
from ray_eval.chaos.injecting import KINDS, POLL_S, NotInjectedError, Scene
from ray_eval.chaos.leftovers import leftovers, processes_of, title_of
from ray_eval.chaos.rules import violations
from ray_eval.chaos.schedule import Fault
from ray_eval.config import load_config
from ray_eval.driver.folder import utc_now
from ray_eval.driver.plan import plan_of
from ray_eval.errors import SetupError
from ray_eval.orders import VARIABLE, Orders, Taken
from ray_eval.report.ledger import LEDGER_NAME

EVENTS_NAME = "events.jsonl"
"""File name of the event log."""
MOST_MISSES = 5
"""Evaluations in a row that may end before a fault finds them in mid-episode."""
_SOCKET_ROOM_BYTES = 85
"""What Ray puts behind a temporary folder."""
_WORKER = "ray::"
"""Begins the titles of processes that Ray has work for."""
_COMPLETE, _INCOMPLETE, _KILLED = 0, 1, -9


@dataclass(slots=True)
class Verdict:
    """What came out."""

    injected: dict[str, int] = field(default_factory=dict)
    """Faults that happened, by kind."""
    evaluations: int = 0
    """Disturbed evaluations that came to their end."""
    sessions: int = 0
    """Drivers that were started for them."""
    late_results: int = 0
    """Results of workers that had been given up, which were refused."""
    violations: list[str] = field(default_factory=list)
    """What did not hold."""
    left: list[str] = field(default_factory=list)
    """What was left behind."""

    @property
    def holds(self) -> bool:
        """Whether everything held, and nothing was left."""
        return not self.violations and not self.left


class Chaos:
    """Disturbs one evaluation.

    Args:
        words: the configuration's, as `ray-eval run` takes them.
        out: a new folder.
        patience_s: longest wait for anything.
        say: takes a line for a person.
    """

    def __init__(self, words: Sequence[str], out: Path, patience_s: float, say: Callable[[str], None]) -> None:
        self._words, self._out, self._patience_s, self._say = list(words), out, patience_s, say
        out.mkdir(parents=True)
        self._temporary = Path(tempfile.mkdtemp(prefix="chaos-", dir=places.short_folder(_SOCKET_ROOM_BYTES)))
        self._orders = Orders(self._temporary / "orders")
        self._private = self._temporary / "tmp"
        self._private.mkdir()
        self._verdict = Verdict()
        self._began, self._clock = time.monotonic(), AwakeClock()
        self._tickets = 0

    def close(self) -> None:
        """Ends whatever still runs, and removes what was only for it."""
        for process in processes_of(self._orders.folder):
            process.kill()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def run(self, faults: Iterator[Fault], is_over: Callable[[], bool]) -> Verdict:
        """Disturbs until no fault is left or it is over; the evaluation that is going on then comes to its end.

        Raises:
            NotInjectedError: a fault could not be made to happen.
            SetupError: the undisturbed evaluation did not come to its end.
        """
        expected = self._undisturbed()
        pending, misses = next(faults, None), 0
        while pending is not None:
            before = pending.number
            pending = self._disturbed(pending, faults, is_over, expected)
            misses = misses + 1 if pending is not None and pending.number == before else 0
            if misses >= MOST_MISSES:
                raise NotInjectedError(
                    f"{pending.kind if pending else ''}: expected to find the evaluation in mid-episode, got its end "
                    f"{misses} times; take more episodes or longer ones"
                )
        self._verdict.left = leftovers(self._orders.folder, self._private, self._patience_s)
        self._note("verdict", **{name: getattr(self._verdict, name) for name in Verdict.__slots__})
        return self._verdict

    def _undisturbed(self) -> bytes:
        folder = self._out / "undisturbed"
        self._note("undisturbed", command=self._command(folder))
        driver = self._started(folder, "undisturbed.log")
        code = driver.wait()
        if code != _COMPLETE:
            raise SetupError(
                f"{folder}: expected the undisturbed evaluation to be complete, got exit code {code}; see "
                f"{self._out / 'undisturbed.log'}"
            )
        return (folder / "summary.json").read_bytes()

    def _disturbed(
        self, pending: Fault | None, faults: Iterator[Fault], is_over: Callable[[], bool], expected: bytes
    ) -> Fault | None:
        """One evaluation to its end; the fault that is next."""
        self._verdict.evaluations += 1
        name = f"disturbed-{self._verdict.evaluations}"
        folder = self._out / name
        code: int | None = None
        idle = 0
        while code != _COMPLETE:
            self._verdict.sessions += 1
            before = sum(self._verdict.injected.values()), _finished(folder)
            driver = self._started(folder, f"{name}.{self._verdict.sessions}.log")
            allowed: tuple[int, ...] = (_COMPLETE, _INCOMPLETE)
            while pending is not None and driver.poll() is None:
                pending, ends = self._inject(pending, driver, folder, faults, is_over)
                allowed = (*allowed, *ends)
            code = self._ended(driver, folder, allowed)
            idle = idle + 1 if before == (sum(self._verdict.injected.values()), _finished(folder)) else 0
            if idle >= MOST_MISSES:
                raise SetupError(
                    f"{folder.name}: expected a resume to go on, got {idle} in a row that finished nothing"
                )
        self._check(folder, expected)
        return pending

    def _inject(
        self,
        fault: Fault,
        driver: subprocess.Popen[bytes],
        folder: Path,
        faults: Iterator[Fault],
        is_over: Callable[[], bool],
    ) -> tuple[Fault | None, tuple[int, ...]]:
        """The next fault, and the exit codes that this one may have brought about; itself where it found no episode."""
        kind = KINDS[fault.kind]
        if kind.is_in_step:
            fault = dataclasses.replace(fault, delay_s=0.0)
        scene = self._scene(fault, driver, folder)
        if scene is None:
            return fault, ()
        if fault.delay_s > 0:
            self._orders.answer(scene.number)
            time.sleep(fault.delay_s)
        started, broken = time.monotonic(), scene.broken()
        try:
            facts = kind.inject(scene)
        except (NotInjectedError, psutil.NoSuchProcess, ProcessLookupError) as error:
            missed = self._missed(fault, driver, error, faults)
            return None if is_over() else missed, (*kind.ends_driver, _KILLED)
        finally:
            self._orders.answer(scene.number)
        counts = self._verdict.injected
        counts[fault.kind] = counts.get(fault.kind, 0) + 1
        told = {"delay_s": fault.delay_s, "step": scene.taken.step, "run": folder.name}
        came_of_it = {"broken": scene.broken() - broken, "took_s": round(time.monotonic() - started, 3)}
        self._note("fault", number=fault.number, kind=fault.kind, **told, **came_of_it, **facts)
        self._say(f"{fault.number} {fault.kind} {folder.name}")
        self._await_progress(driver, folder)
        return None if is_over() else next(faults, None), kind.ends_driver

    def _missed(
        self, fault: Fault, driver: subprocess.Popen[bytes], error: Exception, faults: Iterator[Fault]
    ) -> Fault | None:
        """The next fault after one that did not happen: itself in mid-step, where it only came too late."""
        if fault.delay_s > 0:
            return dataclasses.replace(fault, delay_s=0.0)
        if driver.poll() is None:
            driver.kill()
        self._verdict.violations.append(f"fault {fault.number}, {fault.kind}, could not be injected: {error}")
        self._note("not_injected", number=fault.number, kind=fault.kind, reason=str(error))
        return next(faults, None)

    def _scene(self, fault: Fault, driver: subprocess.Popen[bytes], folder: Path) -> Scene | None:
        """A worker of this host in mid-step; None where the driver ended before one was.

        Raises:
            NotInjectedError: none comes by in time.
        """
        until = self._clock() + self._patience_s
        while (taken := self._held(driver, until)) is not None:
            if taken.host == platform.node():
                return Scene(self._tickets, psutil.Process(driver.pid), taken, self._orders, folder, self._patience_s)
            # Another host's process ids mean others here.
            self._orders.answer(self._tickets)
            if self._clock() > until:
                raise NotInjectedError(
                    f"{fault.kind}: expected a worker of {platform.node()} to step within {self._patience_s:g} s, got "
                    f"those of {taken.host} alone; run ray-eval chaos on a host that has workers"
                )
        return None

    def _held(self, driver: subprocess.Popen[bytes], until: float) -> Taken | None:
        """Who waits in mid-step under a new order; None where the driver ended before."""
        self._tickets += 1
        self._orders.hold(self._tickets)
        while (taken := self._orders.taken(self._tickets)) is None:
            if driver.poll() is not None and self._orders.withdraw(self._tickets):
                return None
            if self._clock() > until:
                raise NotInjectedError(f"expected an episode's step within {self._patience_s:g} s, got none")
            time.sleep(POLL_S)
        return taken

    def _await_progress(self, driver: subprocess.Popen[bytes], folder: Path) -> None:
        """Whatever happened, the run goes on: with another episode, or to its end."""
        before, until = _finished(folder), self._clock() + self._patience_s
        while driver.poll() is None and _finished(folder) <= before:
            if self._clock() > until:
                self._verdict.violations.append(f"{folder.name}: expected it to go on, got nothing for long")
                driver.kill()
            time.sleep(POLL_S)

    def _ended(self, driver: subprocess.Popen[bytes], folder: Path, allowed: Sequence[int]) -> int:
        code = driver.wait()
        self._note("session", run=folder.name, exit_code=code, finished=_finished(folder))
        self._await_end_of_workers(folder)
        if code not in allowed:
            said = f"{folder.name}: expected the driver to end with one of {sorted(set(allowed))}, got {code}"
            self._verdict.violations.append(f"{said}; see {folder.name}.{self._verdict.sessions}.log")
        return code

    def _await_end_of_workers(self, folder: Path) -> None:
        """Workers outlive a driver that was killed by a moment, in which they would take the next driver's orders."""
        until = self._clock() + self._patience_s
        while any(_WORKER in title_of(process) for process in processes_of(self._orders.folder)):
            if self._clock() > until:
                self._verdict.violations.append(f"{folder.name}: expected its workers to end with their driver")
                return
            time.sleep(POLL_S)

    def _check(self, folder: Path, expected: bytes) -> None:
        lines = [json.loads(line) for line in (folder / LEDGER_NAME).read_text().splitlines()]
        config = load_config(folder / "config.yaml", [])
        plan = [spec.episode_id for spec in plan_of(config)]
        found = violations(lines, plan, config.limits.max_attempts)
        self._verdict.late_results += sum(line.get("late_results", 0) for line in lines)
        is_same = (folder / "summary.json").read_bytes() == expected
        if not is_same:
            found.append("summary.json: expected the undisturbed run's bytes, got others")
        self._note("checked", run=folder.name, lines=len(lines), is_same_summary=is_same, violations=found)
        self._verdict.violations += [f"{folder.name}: {each}" for each in found]

    def _command(self, folder: Path) -> list[str]:
        ray_eval = [sys.executable, "-m", "ray_eval", "run"]
        if (folder / LEDGER_NAME).exists():
            return [*ray_eval, "--resume", str(folder)]
        return [*ray_eval, *self._words, f"out={folder}"]

    def _started(self, folder: Path, log: str) -> subprocess.Popen[bytes]:
        if folder.exists() and not (folder / LEDGER_NAME).exists():
            shutil.rmtree(folder)  # ended before it had begun: nothing to resume
        environment = {**os.environ, VARIABLE: str(self._orders.folder), "TMPDIR": str(self._private)}
        with (self._out / log).open("wb") as output:
            return subprocess.Popen(
                self._command(folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def _note(self, event: str, **facts: Any) -> None:
        line = {"at": utc_now(), "s": round(time.monotonic() - self._began, 3), "event": event, **facts}
        with (self._out / EVENTS_NAME).open("a") as file:
            file.write(json.dumps(line) + "\n")


def _finished(folder: Path) -> int:
    """Episodes that the ledger has to the end."""
    path = folder / LEDGER_NAME
    content = path.read_bytes() if path.exists() else b""
    return content.count(b'"outcome": "success"') + content.count(b'"outcome": "failure"')

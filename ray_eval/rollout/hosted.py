"""A simulator in another interpreter, as a worker or the driver sees it: a child process, watched and started again."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import multiprocessing
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import IO, Any, cast

from ray_eval import places
from ray_eval.envs.registry import simulator_type
from ray_eval.errors import EpisodeError, PolicyUnavailable, RayEvalError, SetupError
from ray_eval.interfaces import Env, Simulator
from ray_eval.interpreters import check_interpreter, environment
from ray_eval.rollout.answering import Answer, Question, Raised, WhereIsThePolicy
from ray_eval.rollout.episode import error_result
from ray_eval.rollout.inside import TraceListener
from ray_eval.rollout.replaying import ReplaySettings, Retraced, Seer
from ray_eval.rollout.running import RolloutSettings
from ray_eval.scratch import Scratch, remove_abandoned
from ray_eval.sections import ConnectSection, EnvSettings, SimulatorSection
from ray_eval.types import (
    Canary,
    EnvSpec,
    EpisodeResult,
    EpisodeSpec,
    FloatArray,
    Origin,
    TaskEntry,
)

KEY = "simulator.python"
"""The configuration's key that names the interpreter."""
NEEDED: Mapping[str, str] = {"grpcio": "grpc", "numpy": "numpy", "pillow": "PIL", "protobuf": "google.protobuf"}
"""Modules that ray-eval's own side of an episode needs there, by distribution."""
KEPT_LINES = 60
"""Lines of the child's output that an error message can draw on."""
END_GRACE_S = 10.0
"""From hanging up to SIGKILL."""
POLL_S = 0.2
"""Longest wait for an answer before the child is looked at."""


class Child:
    """A child process of the simulator's interpreter; started when it is first asked, and again when it has died.

    Used by one thread at a time, which is held to by a lock.

    Args:
        section: The simulator, and its interpreter.
        connect: Says where the policy is, when the child asks.
    """

    def __init__(self, section: SimulatorSection, connect: Callable[[], ConnectSection] | None = None) -> None:
        self._python = str(section.python)
        self._section = dataclasses.replace(section, python=None)
        self.connect = connect
        remove_abandoned()
        self._scratch = Scratch(places.temporary_folder())
        self._folder = self._scratch.path
        self._lock = threading.RLock()
        self._process: subprocess.Popen[str] | None = None
        self._connection: Connection
        self._output: deque[str] = deque(maxlen=KEPT_LINES)
        self._reader: threading.Thread
        atexit.register(self.close)

    @property
    def pid(self) -> int | None:
        """Process id of the present child; None where there is none."""
        return self._process.pid if self._process is not None else None

    def ask(self, method: str, *arguments: Any, listen: Callable[[Any], None] | None = None) -> Any:
        """What a method of `answering.Service` gives.

        Args:
            method: Its name.
            arguments: What it is given.
            listen: Gets the pictures and records that are told meanwhile.

        Raises:
            EpisodeError: the child died; the next question starts another one.
            SetupError: it cannot be started.
            Exception: what the method raised.
        """
        with self._lock:
            self._ensure()
            try:
                self._connection.send(Question(method, arguments))
                return self._answer(listen)
            except (EOFError, OSError) as error:
                raise EpisodeError(self._ended()) from error

    def close(self) -> None:
        """Ends the child: hangs up, then SIGKILL after the grace."""
        atexit.unregister(self.close)
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                self._connection.close()
                _reap(process, END_GRACE_S)
                self._reader.join(timeout=END_GRACE_S)
        self._scratch.close()

    def _answer(self, listen: Callable[[Any], None] | None) -> Any:
        while True:
            said = self._received()
            if isinstance(said, WhereIsThePolicy):
                self._connection.send(self._where())
            elif isinstance(said, Answer):
                return said.value
            elif isinstance(said, Raised):
                raise said.error
            elif listen is not None:
                listen(said)

    def _received(self) -> Any:
        while not self._connection.poll(POLL_S):
            if self._process is None or self._process.poll() is not None:
                raise EOFError
        return self._connection.recv()

    def _where(self) -> ConnectSection | Exception:
        if self.connect is None:
            return PolicyUnavailable("policy: expected a run, got a question outside of one")
        try:
            return self.connect()
        except RayEvalError as error:
            return error

    def _ensure(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        if self._process is None:
            check_interpreter(self._python, KEY, NEEDED)
        self._start()

    def _start(self) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        self._output.clear()
        with contextlib.closing(theirs):
            self._process = subprocess.Popen(
                # -P: not the present folder's ray_eval.
                [self._python, "-P", "-m", "ray_eval.rollout.child", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment(self._folder),
                pass_fds=[theirs.fileno()],
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl+C is for the driver, which lets episodes end
            )
        output = self._process.stdout
        self._reader = threading.Thread(target=self._read, args=(output,), name="simulator-output", daemon=True)
        self._reader.start()
        self._connection.send(self._section)

    def _read(self, output: IO[str]) -> None:
        with output:
            for line in output:
                self._output.append(line.rstrip())
                sys.stderr.write(f"[simulator {self._python}] {line}")

    def _ended(self) -> str:
        """What the child's end means, with its last words; nothing of it is left."""
        process = self._process
        self._connection.close()
        code = _reap(process, END_GRACE_S) if process is not None else 0
        self._reader.join(timeout=END_GRACE_S)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        words = " | ".join(line for line in list(self._output)[-6:] if line.strip()) or "nothing"
        said = f"got its process's end by {how}; it said: {words}"
        return f"{KEY}={self._python}: expected an answer of the simulator, {said}"


def _reap(process: subprocess.Popen[str], grace_s: float) -> int:
    try:
        return process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


class HostedSimulator:
    """The Simulator of another interpreter: whatever an installed package must say is asked there, once."""

    def __init__(self, section: SimulatorSection, child: Child) -> None:
        self._child = child
        kind = simulator_type(str(section.name))
        self.name, self.settings_type = kind.name, kind.settings_type
        self.default_protocol, self.gl, self.distributions = kind.default_protocol, kind.gl, kind.distributions
        self._asked = functools.lru_cache(maxsize=1024)(self._ask)
        self.has_suite = kind.has_suite

    def _ask(self, method: str, *arguments: Any) -> Any:
        return self._child.ask("simulator", method, *arguments)

    def suites(self) -> tuple[str, ...]:
        """As the simulator says there."""
        return tuple(self._asked("suites"))

    def tasks(self, suite: str) -> tuple[TaskEntry, ...]:
        """As the simulator says there."""
        return tuple(self._asked("tasks", suite))

    def start_state_count(self, suite: str, task_id: int) -> int:
        """As the simulator says there."""
        return int(self._asked("start_state_count", suite, task_id))

    def spec(self, suite: str, task_id: int) -> EnvSpec:
        """As the simulator says there."""
        spec: EnvSpec = self._asked("spec", suite, task_id)
        return spec

    def identity(self, episodes: Sequence[EpisodeSpec]) -> Mapping[str, Any]:
        """As the simulator says there."""
        found: Mapping[str, Any] = self._asked("identity", tuple(episodes))
        return found

    def origins(self) -> Mapping[str, Origin]:
        """The packages of that interpreter."""
        found: Mapping[str, Origin] = self._asked("origins")
        return found

    def check(self) -> None:
        """As the simulator says there.

        Raises:
            SetupError: what is installed there cannot run.
        """
        self._asked("check")

    def version_warning(self) -> str | None:
        """Of the versions there."""
        warning: str | None = self._asked("version_warning")
        return warning

    def prepare(self) -> None:
        """Imports the engine there."""
        self._ask("prepare")

    def canary(self, *, has_pixels: bool) -> Canary | None:
        """What that interpreter makes of fixed inputs."""
        found: Canary | None = self._child.ask("canary", has_pixels)
        return found

    def versions(self) -> dict[str, str]:
        """Versions of what matters to a result, as installed there."""
        found: dict[str, str] = self._child.ask("versions")
        return found

    def make_env(self, suite: str, task_id: int, settings: EnvSettings) -> Env:  # noqa: ARG002 -- the seam's signature
        """Never: whole episodes run there.

        Raises:
            SetupError: always.
        """
        raise SetupError(f"{KEY}: expected whole episodes to run in the other interpreter, got the question for an env")

    def close(self) -> None:
        """Ends the child."""
        self._child.close()


class HostedRollout:
    """A rollout whose episodes run in another interpreter: as `Rollout`, usable without Ray."""

    def __init__(self, section: SimulatorSection, connect: Callable[[], ConnectSection]) -> None:
        self._child = Child(section, connect)
        self._simulator = HostedSimulator(section, self._child)

    @property
    def simulator(self) -> Simulator:
        """The simulator there."""
        return cast("Simulator", self._simulator)

    @property
    def pid(self) -> int | None:
        """Process id of the present child; None where there is none."""
        return self._child.pid

    def versions(self) -> dict[str, str]:
        """Versions of what matters to a result, as installed there."""
        return self._simulator.versions()

    def turn_to(self, connect: Callable[[], ConnectSection]) -> None:
        """Asks another policy from now on; the simulators stay."""
        self._child.connect = connect
        self._child.ask("hang_up")

    def run(self, spec: EpisodeSpec, attempt: int, settings: RolloutSettings) -> EpisodeResult:
        """The result of one attempt; a child that dies in it is its outcome.

        Raises:
            PolicyGone: its policy is not served any more.
        """
        try:
            result: EpisodeResult = self._child.ask("run", spec, attempt, _inside(settings))
        except EpisodeError as error:
            return error_result(spec, error)
        return result

    def watched(
        self, spec: EpisodeSpec, attempt: int, settings: RolloutSettings, *, on_record: TraceListener | None = None
    ) -> EpisodeResult:
        """One attempt whose steps are told as they come; what breaks in it is raised."""
        result: EpisodeResult = self._child.ask("watched", spec, attempt, _inside(settings), listen=on_record)
        return result

    def replay(self, spec: EpisodeSpec, actions: FloatArray, settings: ReplaySettings, see: Seer) -> Retraced:
        """Recorded actions executed again there; what is seen is told as it comes.

        Raises:
            EpisodeError: the simulator broke, or its process ended.
        """
        inside = dataclasses.replace(settings, env=_env_inside(settings.env))
        found: Retraced = self._child.ask("replay", spec, actions, inside, listen=see)
        return found

    def preflight(self, spec: EpisodeSpec, settings: RolloutSettings) -> list[str]:
        """What looks wrong in an episode's first observation and the policy's answer to it.

        Raises:
            SetupError: the policy cannot answer a real observation.
            EpisodeError: the simulator or the policy server broke.
        """
        said: list[str] = self._child.ask("preflight", spec, _inside(settings))
        return said

    def close(self) -> None:
        """Ends the child."""
        self._child.close()


def _inside(settings: RolloutSettings) -> RolloutSettings:
    """The settings as the child gets them."""
    return dataclasses.replace(settings, env=_env_inside(settings.env))


def _env_inside(env: EnvSettings) -> EnvSettings:
    """An env's settings as the child gets them: there the interpreter is its own."""
    return dataclasses.replace(env, simulator=dataclasses.replace(env.simulator, python=None))


@functools.lru_cache(maxsize=8)
def hosted_simulator(section: SimulatorSection) -> Simulator:
    """The simulator of a section that names an interpreter; its child lives as long as this process."""
    return cast("Simulator", HostedSimulator(section, Child(section)))

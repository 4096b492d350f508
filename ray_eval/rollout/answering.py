"""What a simulator's own interpreter is asked over a socket, and how it answers; runs in that interpreter.

One question at a time: a method of `Service` and its arguments, an answer or what was raised. The policy is asked from
here, over gRPC as from any worker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from ray_eval.envs.registry import simulator_for
from ray_eval.errors import EpisodeError
from ray_eval.interfaces import Simulator
from ray_eval.rollout.replaying import ReplaySettings, Retraced
from ray_eval.rollout.running import Rollout, RolloutSettings, installed_versions
from ray_eval.rollout.watchdog import Watchdog
from ray_eval.sections import ConnectSection, SimulatorSection
from ray_eval.types import EpisodeResult, EpisodeSpec, FloatArray


@dataclass(frozen=True, slots=True)
class Question:
    """What the parent asks: a method of `Service`."""

    method: str
    """Its name."""
    arguments: tuple[Any, ...] = ()
    """What it is given."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question's method gave."""

    value: Any
    """Its value."""


@dataclass(frozen=True, slots=True)
class Raised:
    """What it raised instead."""

    error: Exception
    """The exception; one that cannot be sent is told in an EpisodeError."""


@dataclass(frozen=True, slots=True)
class WhereIsThePolicy:
    """Asked of the parent while a question is being answered."""


class Service:
    """What the parent can ask: the simulator itself, and a rollout in this process."""

    def __init__(self, section: SimulatorSection, connection: Connection) -> None:
        self._section = section
        self._connection = connection
        self._rollout = Rollout(self._connect, section, watchdog=Watchdog())

    @property
    def _simulator(self) -> Simulator:
        return simulator_for(self._section)

    def simulator(self, method: str, *arguments: Any) -> Any:
        """What a method of the simulator gives."""
        return getattr(self._simulator, method)(*arguments)

    def canary(self, has_pixels: bool) -> Any:
        """The simulator's canary."""
        return self._simulator.canary(has_pixels=has_pixels)

    def versions(self) -> dict[str, str]:
        """Versions of what matters to the simulator's results, as installed here."""
        return installed_versions(self._section)

    def run(self, spec: EpisodeSpec, attempt: int, settings: RolloutSettings) -> EpisodeResult:
        """One attempt; what breaks in it is its outcome."""
        return self._rollout.run(spec, attempt, settings)

    def watched(self, spec: EpisodeSpec, attempt: int, settings: RolloutSettings) -> EpisodeResult:
        """One attempt of which every step is told."""
        return self._rollout.watched(spec, attempt, settings, on_record=self._connection.send)

    def replay(self, spec: EpisodeSpec, actions: FloatArray, settings: ReplaySettings) -> Retraced:
        """Recorded actions executed again; what is seen is told as it comes."""
        return self._rollout.replay(spec, actions, settings, self._connection.send)

    def preflight(self, spec: EpisodeSpec, settings: RolloutSettings) -> list[str]:
        """What looks wrong in a first observation and the answer to it."""
        return self._rollout.preflight(spec, settings)

    def hang_up(self) -> None:
        """Asks where the policy is before the next request."""
        self._rollout.turn_to(self._connect)

    def close(self) -> None:
        """Frees the simulators."""
        self._rollout.close()

    def _connect(self) -> ConnectSection:
        self._connection.send(WhereIsThePolicy())
        answer: ConnectSection | Exception = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


def serve(connection: Connection) -> None:
    """Answers until the parent hangs up."""
    service = Service(connection.recv(), connection)
    while True:
        try:
            question: Question = connection.recv()
        except EOFError:
            return
        _send(connection, _answered(getattr(service, question.method), question.arguments))


def _answered(method: Callable[..., Any], arguments: tuple[Any, ...]) -> Answer | Raised:
    try:
        return Answer(method(*arguments))
    except Exception as error:  # noqa: BLE001 -- raised again by the parent
        return Raised(error)


def _send(connection: Connection, answer: Answer | Raised) -> None:
    try:
        connection.send(answer)
    except (TypeError, AttributeError, ValueError) as error:  # what pickle says of what it cannot carry
        told = answer.error if isinstance(answer, Raised) else error
        connection.send(Raised(EpisodeError(f"simulator: {type(told).__name__}: {told}")))

"""Simulated workers that share processes: real workers, clients and episodes, around environments that only sleep.

A worker of a run is a Ray actor with a process of its own, 0.1 GB each without a simulator. Here one Ray actor holds
many, each in a thread, and the driver holds a `Seat` for each of them. A lease is still one actor call with one
reference, and its answer one pickled result. What differs: fewer processes, and one interpreter's lock for each crowd.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import ray
from ray.actor import ActorHandle

from ray_eval.driver.cluster import Cluster, Connect
from ray_eval.envs import make_env
from ray_eval.interfaces import Env
from ray_eval.rollout.actor import Worker
from ray_eval.rollout.running import Rollout
from ray_eval.sections import ConnectSection, EnvSettings, SimulatorSection
from ray_eval.types import Array, Contents, EpisodeResult, EpisodeSpec, FloatArray, StepResult

MOST_OF_A_CROWD = 64
"""Workers that share a process."""
SPREAD = 0.5
"""Each episode's pace is drawn within this share of the mean, so that workers do not march in step."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The time of a worker between two episodes."""

    since: float
    """Monotonic time, s, the same clock in every process of a host: when the result was handed to Ray."""
    delay_s: float
    """Until the next episode began."""


class SleepingEnv:
    """An env whose steps take time and no CPU: what they owe is slept where a policy looks, and at the end.

    Args:
        env: Answers everything.
        step_s: Mean time of a step.
        sleep: Waits for so many seconds.
    """

    def __init__(self, env: Env, step_s: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self._env, self._step_s, self._sleep = env, step_s, sleep
        self._owed_s = 0.0
        self._pace_s = step_s
        self._steps_left = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def reset(self, episode: EpisodeSpec) -> None:
        """Draws the episode's pace from its identity."""
        self._env.reset(episode)
        self._pace_s = self._step_s * random.Random(episode.episode_id).uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311
        self._owed_s, self._steps_left = 0.0, episode.max_steps

    def observe(self) -> Mapping[str, Array]:
        """Sleeps what is owed first."""
        self._pay()
        return self._env.observe()

    def step(self, action: FloatArray) -> StepResult:
        """Owes a step; no episode ends before its budget."""
        result = self._env.step(action)
        self._owed_s += self._pace_s
        self._steps_left -= 1
        if self._steps_left == 0:
            self._pay()
        return StepResult(result.reward, is_success=False)

    def _pay(self) -> None:
        owed_s, self._owed_s = self._owed_s, 0.0
        if owed_s > 0:
            self._sleep(owed_s)


class SimulatedWorker(Worker):
    """A worker whose envs sleep."""

    def __init__(
        self, name: str, connect: Callable[[], ConnectSection], simulator: SimulatorSection, step_s: float
    ) -> None:
        super().__init__(name, connect, simulator)

        def build(suite: str, task_id: int, settings: EnvSettings) -> Env:
            return cast(Env, SleepingEnv(make_env(suite, task_id, settings), step_s))

        self._rollout = Rollout(connect, simulator, build)
        self._free_since: float | None = None
        self.turns: list[Turn] = []

    def run(self, spec: EpisodeSpec, attempt: int, settings: Any) -> EpisodeResult:
        """One attempt; notes how long the worker had nothing to do before."""
        if self._free_since is not None:
            self.turns.append(Turn(self._free_since, time.monotonic() - self._free_since))
        try:
            return super().run(spec, attempt, settings)
        finally:
            self._free_since = time.monotonic()


class Crowd:
    """The actor class: many workers, each called by its number, each in a thread of its own while it is called."""

    def __init__(self) -> None:
        self._workers: dict[int, SimulatedWorker] = {}
        self._lock = threading.Lock()
        self._looked: Contents | None = None

    def seat(self, number: int, *arguments: Any) -> None:
        """Makes a worker."""
        worker = SimulatedWorker(*arguments)
        with self._lock:
            self._workers[number] = worker

    def ask(self, number: int, method: str, *arguments: Any, **named: Any) -> Any:
        """What a worker's method answers."""
        return getattr(self._workers[number], method)(*arguments, **named)

    def look(self, number: int, episodes: Sequence[EpisodeSpec]) -> Contents:
        """What a worker would make these episodes of: the same for all of a process, and found once."""
        with self._lock:
            if self._looked is None:
                self._looked = self._workers[number].look(episodes)
            return self._looked

    def turns(self) -> list[Turn]:
        """Of all its workers."""
        return [turn for worker in self._workers.values() for turn in worker.turns]

    def close(self) -> None:
        """Frees what the workers hold."""
        for worker in self._workers.values():
            worker.close()


@dataclass(frozen=True, slots=True)
class _Method:
    crowd: ActorHandle[Any]
    number: int
    name: str

    def remote(self, *arguments: Any, **named: Any) -> Any:
        if self.name == "look":
            return self.crowd.look.remote(self.number, *arguments, **named)
        return self.crowd.ask.remote(self.number, self.name, *arguments, **named)


@dataclass(frozen=True, slots=True)
class Seat:
    """What the driver holds of one simulated worker: `seat.run.remote(...)`, as of an actor of its own."""

    crowd: ActorHandle[Any]
    """The process that it shares."""
    number: int
    """Which of the crowd's it is."""

    def __getattr__(self, name: str) -> _Method:
        """A method of the worker's."""
        return _Method(self.crowd, self.number, name)


@dataclass
class CrowdedCluster(Cluster):
    """A cluster whose workers are simulated, many to a process."""

    step_s: float = 0.05
    """Mean time of a control step."""
    crowds: list[ActorHandle[Any]] = field(default_factory=list)
    """Their processes."""
    _seated: int = 0

    def start_worker(
        self, name: str, connect: Connect, simulator: SimulatorSection, environment: Mapping[str, str]
    ) -> Any:
        """A simulated worker's seat, in a new process where the others are full."""
        if self._seated == MOST_OF_A_CROWD * len(self.crowds):
            options = {
                "num_cpus": 0,
                # The driver asks a worker for several things at once while it starts.
                "max_concurrency": 2 * MOST_OF_A_CROWD + 8,
                "runtime_env": {"env_vars": dict(environment)},
            }
            self.crowds.append(ray.remote(Crowd).options(**options).remote())
            self.actors.append(self.crowds[-1])
            # Calls are made in order up to here only: with threads one may overtake another.
        crowd, number = self.crowds[-1], self._seated
        self._seated += 1
        ray.get(crowd.seat.remote(number, name, connect, simulator, self.step_s))
        return Seat(crowd, number)

    def end(self, actor: Any) -> None:
        """Ends an actor; a seat only stays empty."""
        if not isinstance(actor, Seat):
            super().end(actor)

    def turns(self) -> list[Turn]:
        """All workers' times between two episodes, oldest first."""
        found: list[Turn] = []
        with contextlib.suppress(ray.exceptions.RayActorError):
            for turns in ray.get([crowd.turns.remote() for crowd in self.crowds]):
                found += turns
        return sorted(found, key=lambda turn: turn.since)

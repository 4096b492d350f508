"""Episodes one after the other in one process: what a worker does, without Ray; also in another interpreter."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ray_eval.envs import make_env
from ray_eval.envs.registry import simulator_for
from ray_eval.errors import ContractError, EpisodeError, PolicyGone, SetupError
from ray_eval.interfaces import Simulator
from ray_eval.rollout.built_envs import Builder, BuiltEnvs, resident_bytes
from ray_eval.rollout.client import PolicyClient
from ray_eval.rollout.episode import Episode, error_result
from ray_eval.rollout.inside import TraceListener
from ray_eval.rollout.latency import EndlessLatency, make_latency
from ray_eval.rollout.pacing import Pacer
from ray_eval.rollout.preflight import remarks
from ray_eval.rollout.replaying import ReplaySettings, Retraced, Seer, looking, replayed
from ray_eval.rollout.watchdog import UNWATCHED, Deadlines, Phases, Watchdog
from ray_eval.sections import (
    WORKER_MEMORY_BYTES,
    ConnectSection,
    EnvSettings,
    LatencySection,
    QueueRules,
    SimulatorSection,
    StepsLatency,
)
from ray_eval.types import EnvSpec, EpisodeResult, EpisodeSpec, FloatArray, PolicySpec, is_image

_LIBERO = SimulatorSection("libero")
BASE_DISTRIBUTIONS = ("ray-eval", "numpy", "pillow")
"""Packages that a worker reports whatever it simulates; those of them that are there."""


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """What a worker is given with each episode of a run."""

    run_id: str
    """Names the run in request ids."""
    env: EnvSettings
    """What an env must know."""
    rules: QueueRules
    """The chunk queue's rules."""
    latency: LatencySection = field(default_factory=StepsLatency)
    """Virtual latency of inference."""
    fps: int | None = None
    """Control steps per second of wall-clock time, with the latency that inference really has; None in virtual time."""
    memory_bytes: int = WORKER_MEMORY_BYTES
    """Resident memory within which the worker keeps the simulators of tasks that it may come back to."""
    canaries: tuple[str, ...] = ()
    """Digests of the machines that may take part; empty admits any."""
    keeps_actions: bool = False
    """Whether results bring along the actions that were executed."""
    deadlines: Deadlines = field(default_factory=Deadlines)
    """Longest times of an attempt's phases."""
    policy: PolicySpec | None = None
    """The policy that the run began with, by whose version it is asked; None takes whichever is served."""

    @property
    def has_images(self) -> bool:
        """Whether the policy looks through a camera."""
        return any(is_image(key) for key in self.env.recipe.keys)


class Rollout:
    """Runs episodes one after the other, keeping the simulators it has built; usable without Ray.

    One simulator at a time is in use: the process's global random numbers have one owner.

    Args:
        connect: Says where the policy is.
        simulator: Which one.
        build: Builds an env.
        watchdog: Ends this process where an attempt hangs; None watches nothing.
    """

    def __init__(
        self,
        connect: Callable[[], ConnectSection],
        simulator: SimulatorSection = _LIBERO,
        build: Builder = make_env,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._watchdog = watchdog
        self._connect = connect
        self._section = simulator
        self._open_client: PolicyClient | None = None
        self._envs = BuiltEnvs(build)

    @property
    def simulator(self) -> Simulator:
        """The simulator, in this process."""
        return simulator_for(self._section)

    def versions(self) -> dict[str, str]:
        """Versions of what matters to a result, as installed here."""
        return installed_versions(self._section)

    def watched(
        self,
        spec: EpisodeSpec,
        attempt: int,
        settings: RolloutSettings,
        *,
        on_record: TraceListener | None = None,
    ) -> EpisodeResult:
        """One attempt whose steps are told as they come; what breaks in it is raised."""
        return self.episode(spec, attempt, settings, on_record=on_record).run()

    def turn_to(self, connect: Callable[[], ConnectSection]) -> None:
        """Asks another policy from now on; the simulators stay."""
        self._hang_up()
        self._connect = connect

    def _client(self, policy: PolicySpec | None) -> PolicyClient:
        """The way to the policy, opened when it is first needed: the policy may still be loading before."""
        if self._open_client is None:
            self._open_client = PolicyClient(self._connect, policy)
        return self._open_client

    def _hang_up(self) -> None:
        client, self._open_client = self._open_client, None
        if client is not None:
            client.close()

    def run(self, spec: EpisodeSpec, attempt: int, settings: RolloutSettings) -> EpisodeResult:
        """The result of one attempt; whatever breaks in it is its outcome.

        Raises:
            PolicyGone: its policy is not served any more, which would break the next attempt as well.
        """
        started = time.perf_counter()
        phases = UNWATCHED if self._watchdog is None else self._watchdog.begin(settings.deadlines)
        try:
            result = self.episode(spec, attempt, settings, phases=phases).run()
        except PolicyGone:
            raise
        except Exception as error:  # noqa: BLE001 - the one place where an exception becomes an outcome
            self._envs.discard(spec.suite, spec.task_id, settings.env)
            result = error_result(spec, error, time.perf_counter() - started)
        finally:
            if self._watchdog is not None:
                self._watchdog.finish()
        return dataclasses.replace(result, resident_bytes=resident_bytes())

    def episode(
        self,
        spec: EpisodeSpec,
        attempt: int,
        settings: RolloutSettings,
        *,
        on_record: TraceListener | None = None,
        phases: Phases = UNWATCHED,
    ) -> Episode:
        """One attempt, ready to run; what breaks in it is raised by its `run`."""
        env_spec = _env_spec(spec, settings)
        with phases.build:
            env = self._envs.env_of(spec.suite, spec.task_id, settings.env, settings.memory_bytes)
        return Episode(
            env,
            self._client(settings.policy),
            spec,
            settings.rules,
            make_latency(settings.latency, env_spec.control_hz) if settings.fps is None else EndlessLatency(),
            request_prefix=f"{settings.run_id}/{spec.episode_id}/{attempt}",
            control=env_spec.action.control,
            is_noop=settings.policy is not None and settings.policy.is_noop,
            pacer=None if settings.fps is None else Pacer(settings.fps),
            keeps_actions=settings.keeps_actions,
            on_record=on_record,
            phases=phases,
        )

    def replay(self, spec: EpisodeSpec, actions: FloatArray, settings: ReplaySettings, see: Seer) -> Retraced:
        """Recorded actions executed again, without a policy; what breaks is raised.

        Raises:
            EpisodeError: the simulator broke.
            ContractError: the actions are not this env's.
        """
        cameras = simulator_for(settings.env.simulator, spec.suite).spec(spec.suite, spec.task_id).cameras
        env = self._envs.env_of(spec.suite, spec.task_id, settings.env, settings.memory_bytes)
        try:
            return replayed(env, spec, actions, see, looking(settings.looks, cameras, len(actions)))
        except Exception:
            self._envs.discard(spec.suite, spec.task_id, settings.env)
            raise

    def preflight(self, spec: EpisodeSpec, settings: RolloutSettings) -> list[str]:
        """What looks wrong in an episode's first observation and the policy's answer to it.

        Raises:
            SetupError: the policy cannot answer a real observation.
            EpisodeError: the simulator or the policy server broke.
        """
        episode = self.episode(spec, 0, settings)
        try:
            observation, actions = episode.first_answer()
        except ContractError as error:
            raise SetupError(f"preflight, one real observation of {spec.episode_id}: {error}") from error
        except EpisodeError:
            self._envs.discard(spec.suite, spec.task_id, settings.env)
            raise
        control = _env_spec(spec, settings).action.control
        return remarks(observation, actions, self._client(settings.policy).spec(), control)

    def close(self) -> None:
        """Frees the simulators and hangs up."""
        self._envs.close()
        self._hang_up()


def installed_versions(simulator: SimulatorSection = _LIBERO) -> dict[str, str]:
    """Versions of the distributions that matter to a simulator's results, and of Python."""
    versions = {"python": platform.python_version()}
    for name in (*BASE_DISTRIBUTIONS, *simulator_for(simulator).distributions):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _env_spec(spec: EpisodeSpec, settings: RolloutSettings) -> EnvSpec:
    return simulator_for(settings.env.simulator, spec.suite).spec(spec.suite, spec.task_id)

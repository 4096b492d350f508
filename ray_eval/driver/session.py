"""A session: Ray with a policy and workers, in which one run or the many runs of a sweep share both."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.actor import ActorHandle
from rich.console import Console

from ray_eval.config import EvalConfig
from ray_eval.driver.callers_policy import LivePolicy
from ray_eval.driver.canaries import canary_identity
from ray_eval.driver.cluster import ActorsEnded, Cluster, local_workers, ray_session, ray_session_name, worker_count
from ray_eval.driver.contents import content_identity, where_from
from ray_eval.driver.context import Context
from ray_eval.driver.crew import Crew
from ray_eval.driver.execution import Execution
from ray_eval.driver.folder import make_header
from ray_eval.driver.interrupt import signals_interrupt, stop_on_signals
from ray_eval.driver.jobs import in_a_job
from ray_eval.driver.latency import ResolvedLatency
from ray_eval.driver.part import Part
from ray_eval.driver.provenance import aggregation_identity, environment_identity, preprocessing_identity, provenance
from ray_eval.driver.rendering import Rendering
from ray_eval.driver.replay import Fleet
from ray_eval.driver.replicas import Replicas, actor_cpus, policy_cpus
from ray_eval.driver.resolve import (
    deadlines,
    differences,
    env_settings,
    is_starved,
    needs_images,
    queue_rules,
    starvation,
)
from ray_eval.driver.served import Served
from ray_eval.driver.servers import check_servers
from ray_eval.driver.shipped import shipped_modules
from ray_eval.driver.simulators import simulator_of, spec_identity
from ray_eval.driver.titles import spec_words
from ray_eval.errors import ConfigError, EpisodeError
from ray_eval.interfaces import Policy
from ray_eval.report.progress import ProgressView
from ray_eval.rollout.running import RolloutSettings
from ray_eval.scratch import scratch_folder
from ray_eval.sections import LatencySection, LivePolicySection, ScriptedPolicy
from ray_eval.types import Canary, PolicySpec

OpenSession = Callable[[EvalConfig, int, ProgressView], contextlib.AbstractContextManager["Session"]]
"""What gives a run its session: `open_session`, or what keeps one for the next run."""


@contextlib.contextmanager
def open_session(
    config: EvalConfig,
    waiting_count: int,
    progress: ProgressView,
    live: Policy | None = None,
    *,
    others: Sequence[EvalConfig] = (),
) -> Iterator[Session]:
    """Ray for the length of one or several runs, with room for the workers of so many waiting episodes.

    Args:
        config: what is run, or the first of what is.
        waiting_count: episodes.
        progress: what takes the words.
        live: the policy of the calling program, if it is that which is run.
        others: what else is run in it; the modules that these name are shipped as well.

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
            modules = tuple(dict.fromkeys(path for each in (config, *others) for path in shipped_modules(each)))
            cluster = stack.enter_context(ray_session(config.ray, run_id, count, actor_cpus(config), modules))
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
        self._context = Context(config, cluster, scratch, progress, waiting_count)
        self._context.tell_dashboard()
        self._served = Served(self._context, live)
        self._rendering = Rendering(self._context)
        self._crew = Crew(self._context)
        self._parts: Sequence[Part] = ()
        self._parts_begun = 0
        self._execution: Execution | None = None
        self.policy_spec: PolicySpec

    def turn_to(self, config: EvalConfig, waiting_count: int, progress: ProgressView, live: Policy | None) -> None:
        """Gets ready for another run, of the same operational keys, perhaps with a policy of the calling program."""
        context = self._context
        context.config, context.waiting_count, context.progress = config, waiting_count, progress
        self._served.live = live

    def turn_to_silence(self) -> None:
        """Says nothing more: whoever listened may be gone."""
        self._context.progress = ProgressView(Console(quiet=True))

    def let_policy_go(self) -> None:
        """Ends the policy: what it was loaded from may change before the next run; a scripted one may stay."""
        self._served.let_go()

    @property
    def progress(self) -> ProgressView:
        """What takes the words of its present run."""
        return self._context.progress

    @property
    def fitting(self) -> int:
        """Workers that its Ray has CPUs for."""
        return self._context.cluster.worker_cpus

    @property
    def is_there(self) -> bool:
        """Whether the Ray that it was opened in is still this process's."""
        return ray_session_name() == self._context.cluster.session_name

    @property
    def is_idle(self) -> bool:
        """Whether no worker is at work, so that another run may begin."""
        return not self._crew.newcomers and (self._execution is None or self._execution.is_idle)

    @property
    def workers(self) -> Mapping[str, ActorHandle[Any]]:
        """The workers that have answered, by name, once something was executed."""
        return self._crew.workers

    @property
    def policies(self) -> Replicas | LivePolicy:
        """The policy actors, or the calling program's policy, once something was executed."""
        return self._served.policies

    @property
    def described(self) -> Mapping[str, Mapping[str, Any]]:
        """What each worker said of itself, by name."""
        return self._crew.described

    def check_rendering(self) -> None:
        """Passes where the workers draw an image, whether the policy looks at any or not.

        Raises:
            SetupError: one does not.
        """
        self._crew.check_rendering()

    def execute(
        self,
        parts: Sequence[Part],
        *,
        order: Sequence[str] | None = None,
        is_enough: Callable[[], bool] = lambda: False,
        is_last: bool = False,
    ) -> bool:
        """Runs parts that have one policy to their summaries; whether it was interrupted.

        A worker runs a task's episodes of all parts before it builds the next task's simulator.

        Args:
            parts: the parts.
            order: episode ids in the order in which they are to be run, as far as simulators allow; None: in any.
            is_enough: asked after every result; what still runs when it says so is let go, and the session is to end.
            is_last: whether nobody needs the workers afterwards, so that those without an episode may go.
        """
        self._parts = parts
        self._set_up()
        policies = self._served.policies
        self._execution = Execution(
            self._context, parts, self._crew, policies, order=order, is_enough=is_enough, is_last=is_last
        )
        return self._execution.run()

    def film(self, parts: Sequence[Part] | None = None, *, is_interrupted: bool = False) -> None:
        """Films of parts, by default those executed last, what their configurations ask for, by the same workers."""
        for part in self._parts if parts is None else parts:
            if part.config.video is not None and not is_interrupted:
                # Only here: what draws and encodes is loaded where it is wanted.
                from ray_eval.driver.filming import film_part

                progress = self._context.progress
                fleet = Fleet(self._crew.workers, self._crew.start_worker, self._context.cluster.end, progress)
                film_part(part.folder.path, part.config.video.split(","), fleet, progress)

    # --- set-up ---

    def _set_up(self) -> None:
        """Gets policy, renderer and workers ready, and opens the parts.

        Raises:
            SetupError: the machines cannot run it, or are not alike.
            ConfigError: a folder holds a run of another identity.
        """
        is_new = self._served.serve(self._parts[0])
        policies = self._served.policies
        if is_new:
            self._crew.turn_to(policies.address_for)
        # The policy loads while the renderer is probed and the workers start and import the simulator.
        environment = self._rendering.environment()
        episodes = tuple(dict.fromkeys(spec for part in self._parts for spec in part.plan))
        self._crew.call(episodes, environment, is_drawn=self._rendering.backend is not None)
        with self.progress.phase(policies.loading, is_told=is_new):
            spec = policies.spec()
            about_policy = policies.describe()
        self.policy_spec = spec
        if is_new:
            self.progress.note(spec_words(spec))
        latencies = [self._served.latency_of(part, self._parts) for part in self._parts]
        settings = [
            self._settings_of(part, spec, latency.section) for part, latency in zip(self._parts, latencies, strict=True)
        ]
        remarks = self._say_remarks(spec)
        canaries = self._crew.meet(has_pixels=needs_images(spec), is_told=is_new)
        remarks += self._preflight(settings)
        self._open_parts(settings, latencies, canaries, about_policy, remarks)

    def _open_parts(
        self,
        settings: Sequence[RolloutSettings],
        latencies: Sequence[ResolvedLatency],
        canaries: Sequence[Canary],
        about_policy: Mapping[str, Any],
        remarks: Sequence[str],
    ) -> None:
        """Writes or checks each part's header: everything that decides its results, and where it came from."""
        config, spec, backend = self._context.config, self.policy_spec, self._rendering.backend
        simulator = simulator_of(config)
        renderer = backend.renderer if backend and needs_images(spec) else None
        described = [self._crew.described[name] for name in self._crew.workers]
        environment = {
            **environment_identity(described, simulator.distributions, renderer, spec),
            **canary_identity(canaries),
        }
        origin = provenance(described, about_policy, remarks, simulator.version_warning())
        admitted = () if config.limits.allow_mixed else tuple(sorted({canary.digest for canary in canaries}))
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
                self.progress.note(f"WARNING: {part.folder.place}: not run under one version of everything: {changed}")

    def _say_remarks(self, spec: PolicySpec) -> list[str]:
        """What a reader of the results should know of the policy, said here and kept in the header."""
        # A scripted policy has no wish of its own to differ from.
        parts = self._parts if spec.runtime else ()
        said = [line for part in parts for line in differences(part.config, spec, part.env)]
        remarks = [*spec.remarks, *dict.fromkeys(said)]
        for line in remarks:
            self.progress.note(f"note: {line}")
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
            name, worker = next(iter(self._crew.workers.items()))
            answer = worker.preflight.remote(waiting[0], given)
            try:
                with self.progress.phase("showing the policy a first real observation"):
                    found |= dict.fromkeys(
                        self._context.cluster.ask(f"preflight by {name}", answer, _PREFLIGHT_TIMEOUT_S)
                    )
            except (EpisodeError, ActorsEnded) as error:  # the run has its attempts to find out whether it stays so
                found[f"the policy's first real observation was not answered: {error}"] = None
        for line in found:
            self.progress.note(f"WARNING: {line}")
        return list(found)

    def _settings_of(self, part: Part, spec: PolicySpec, latency: LatencySection) -> RolloutSettings:
        rules = queue_rules(part.config, spec)
        if is_starved(rules, latency, part.env.control_hz):
            self.progress.note(f"warning: {starvation(rules, latency, part.env.control_hz)}")
        # Requests are known by their id: two parts never share one.
        run_id = f"{self._context.cluster.run_id}.{self._parts_begun}"
        self._parts_begun += 1
        memory_bytes = round(part.config.limits.worker_memory_gb * 1e9)
        fps = part.config.execution.fps
        env = env_settings(part.config, spec, part.env)
        keeps_actions = part.config.record.actions
        return RolloutSettings(
            run_id,
            env,
            rules,
            latency,
            fps,
            memory_bytes,
            keeps_actions=keeps_actions,
            deadlines=deadlines(part.config),
            policy=spec,
        )


_PREFLIGHT_TIMEOUT_S = 600.0

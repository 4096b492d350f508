"""The workers of a session, and those on their way; in the driver."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle

from ray_eval.awake import AwakeClock
from ray_eval.config import simulator_section
from ray_eval.driver.canaries import differing_parts, unlike
from ray_eval.driver.cluster import ActorsEnded, local_workers, worker_count
from ray_eval.driver.contents import OwnContents, check_contents, redirection
from ray_eval.driver.context import Context
from ray_eval.driver.elastic import Nodes, newcomers_wanted
from ray_eval.driver.endings import ANSWER_TIMEOUT_S, lateness, placed_actors
from ray_eval.driver.provenance import check_versions
from ray_eval.driver.readiness import memory_warning
from ray_eval.driver.replicas import fewer_words
from ray_eval.driver.simulators import simulator_of
from ray_eval.envs.first_use import is_first_use
from ray_eval.envs.known_gl import forget_backends
from ray_eval.errors import RayEvalError, SetupError
from ray_eval.foreign import first_line
from ray_eval.sections import ConnectSection
from ray_eval.types import Canary, EpisodeSpec


class Crew:
    """Workers by name, alike in what they compute and in what they make of the episodes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.workers: dict[str, ActorHandle[Any]] = {}
        """Those that have answered."""
        self.newcomers: dict[ray.ObjectRef[Any], Newcomer] = {}
        """Those on their way, by the answer that is waited for."""
        self.described: dict[str, dict[str, Any]] = {}
        """What each said of itself."""
        self._canaries: dict[str, Canary] = {}
        self._born = 0
        self._clock = AwakeClock(time.monotonic)
        self._told_late: set[str] = set()
        self._nodes = Nodes() if context.config.ray.address is not None else None
        self._address_for: Callable[[int], Callable[[], ConnectSection]]
        self._environment: Mapping[str, str]
        self._contents: OwnContents
        self._planned: ray.ObjectRef[Any]
        self._looked: dict[str, ray.ObjectRef[Any]] = {}
        self._has_pixels = False

    # --- set-up ---

    def turn_to(self, address_for: Callable[[int], Callable[[], ConnectSection]]) -> None:
        """Has all ask another policy, the n-th worker by what `address_for(n)` gives."""
        self._address_for = address_for
        coming = [newcomer.worker for newcomer in self.newcomers.values()]
        for index, worker in enumerate([*self.workers.values(), *coming]):
            worker.turn_to.remote(address_for(index))

    def call(self, episodes: tuple[EpisodeSpec, ...], environment: Mapping[str, str], *, is_drawn: bool) -> None:
        """Starts the workers where there are none, and has them look at the episodes.

        Args:
            episodes: of all that is about to be executed.
            environment: their environment variables.
            is_drawn: whether the simulator draws by GL, which takes memory.
        """
        config = self._context.config
        self._environment = environment
        self._contents = OwnContents.of(episodes, simulator_section(config), simulator_of(config))
        if not self.workers:
            self._start(is_drawn=is_drawn)
        # Once for all workers: the plan is as long as the run, and there may be hundreds of them.
        self._planned = ray.put(episodes)
        self._looked = {name: worker.look.remote(self._planned) for name, worker in self.workers.items()}

    def _start(self, *, is_drawn: bool) -> None:
        warning = simulator_of(self._context.config).version_warning()
        if warning:
            self._context.note(f"WARNING: {warning}")
        if self._context.config.ray.address is None and is_first_use(simulator_of(self._context.config).name):
            self._context.note(
                "note: the first run on this machine compiles beside its first episodes, which take longer"
            )
        for newcomer in self.newcomers.values():
            self._context.cluster.end(newcomer.worker)
        self.newcomers.clear()
        count = worker_count(self._context.config, self._context.waiting_count, self._context.cluster.worker_cpus)
        shortage = memory_warning(count) if is_drawn and self._context.config.ray.address is None else None
        if shortage:
            self._context.note(f"WARNING: {shortage}")
        if why := fewer_words(self._context.config, count, self._context.waiting_count, local_workers(0)):
            self._context.note(f"workers: {count}, {why}")
        for _ in range(count):
            name, worker = self.start_worker()
            self.workers[name] = worker

    def meet(self, *, has_pixels: bool, is_told: bool) -> list[Canary]:
        """Passes when all workers are there and alike; the canaries of their machines.

        One whose process ends meanwhile is replaced, `limits.max_attempts` times.

        Args:
            has_pixels: whether the policy looks at images.
            is_told: whether the comparison is told of as something that takes time.

        Raises:
            SetupError: they are not, or end again and again.
        """
        self._has_pixels = has_pixels
        for tries_left in reversed(range(self._context.config.limits.max_attempts)):
            try:
                self._describe_workers()
                self._compare_contents()
                canaries = self._compare_machines(is_told=is_told)
            except ActorsEnded as error:
                if not tries_left:
                    raise
                self._replace_ended(error)
            else:
                self._ask_newcomers_again()
                return canaries
        raise AssertionError("limits.max_attempts is at least 1")

    def _describe_workers(self) -> None:
        unknown = {name: worker for name, worker in self.workers.items() if name not in self.described}
        if unknown:
            with self._context.progress.phase(f"starting {len(unknown)} worker{'s'[: len(unknown) > 1]}"):
                self.described |= self._context.cluster.wait_for_workers(unknown)

    def _replace_ended(self, error: ActorsEnded) -> None:
        self._context.note(f"WARNING: {error}; another one is started in its place")
        for ended in error.ended:
            self._context.cluster.end(self.workers.pop(ended))
            self._looked.pop(ended, None)
            name, worker = self.start_worker()
            self.workers[name] = worker
            self._looked[name] = worker.look.remote(self._planned)

    def _compare_contents(self) -> None:
        """Passes when the workers make the parts' episodes of what the driver planned with.

        Raises:
            SetupError: one imports other packages, or finds other files.
        """
        found = self._context.cluster.ask_all(self._looked)
        redirected = redirection(self._contents.get())
        if redirected:
            self._context.note(f"note: {redirected}")
        check_contents(self._contents.get(), found, {name: self.described[name]["host"] for name in found})

    def _compare_machines(self, *, is_told: bool) -> list[Canary]:
        """The workers' canaries; none where nothing is simulated.

        Raises:
            SetupError: the machines do not compute the same bits, and that is not allowed.
        """
        try:
            with self._context.progress.phase("comparing what the workers' machines compute", is_told=is_told):
                self._canaries = self._context.cluster.canaries(self.workers, has_pixels=self._has_pixels)
        except RayEvalError:
            forget_backends()  # it may have been the renderer
            raise
        self._check_canaries(self._canaries)
        parts = differing_parts(list(self._canaries.values()))
        if parts:
            self._context.note(f"WARNING: the machines of this run differ in {' and '.join(parts)}; it is mixed")
        return list(self._canaries.values())

    def check_rendering(self) -> None:
        """Passes where the workers draw an image, whether the policy looks at any or not.

        Raises:
            SetupError: one does not.
        """
        self._check_canaries(self._context.cluster.canaries(self.workers, has_pixels=True))

    def _check_canaries(self, canaries: Mapping[str, Canary]) -> None:
        """Passes when the machines of these workers compute the same bits, or need not.

        Raises:
            SetupError: they do not, and that is not allowed.
        """
        if differing_parts(list(canaries.values())) and not self._context.config.limits.allow_mixed:
            raise SetupError(unlike(canaries, {name: self.described[name]["host"] for name in canaries}))

    def start_worker(self) -> tuple[str, ActorHandle[Any]]:
        """Starts one that nobody knows yet: its name and its actor."""
        suites = self._context.config.suite
        doing = suites[0] if len(suites) == 1 else f"{suites[0]}+{len(suites) - 1}"
        name = f"worker-{self._born} {doing}"
        connect = self._address_for(self._born)
        self._born += 1
        worker = self._context.cluster.start_worker(
            name, connect, simulator_section(self._context.config), self._environment
        )
        worker.prepare.remote()
        return name, worker

    # --- while episodes run ---

    def idle(self, busy: Collection[str]) -> list[str]:
        """Names of those that an episode can be given to: neither busy nor on a node that is about to go."""
        return [name for name in self.workers if name not in busy and not self._is_leaving(name)]

    def _is_leaving(self, name: str) -> bool:
        return self._nodes is not None and self.described[name].get("node") in self._nodes.leaving

    def grow(self, busy: Collection[str], waiting_count: int) -> None:
        """Sends for workers where a joined cluster has CPUs that it had not, unless the user said how many.

        Args:
            busy: names of those that hold an episode.
            waiting_count: episodes that nobody holds.
        """
        if self._nodes is None or not self._follows_cluster():
            return
        for _ in range(newcomers_wanted(self._nodes.room, waiting_count, len(self.idle(busy)), len(self.newcomers))):
            self._send_for_worker()

    def shrink(self, busy: Collection[str]) -> list[str]:
        """Ends those that have nothing to do any more, on a cluster that others have a use for; the names of workers.

        Args:
            busy: names of those that hold an episode.
        """
        if not self._follows_cluster():
            return []
        leaving = [name for name in self.workers if name not in busy]
        for name in leaving:
            self._context.cluster.end(self.workers.pop(name))
        for answer in list(self.newcomers):
            self._context.cluster.end(self.newcomers.pop(answer).worker)
        return leaving

    def _follows_cluster(self) -> bool:
        """Whether there are as many as a joined cluster has room and work for: the user named no number."""
        return self._nodes is not None and self._context.config.workers == "auto"

    def replace(self, name: str) -> None:
        """Ends a worker, and sends for another one."""
        self._context.cluster.end(self.workers.pop(name))
        self._send_for_worker()

    # --- newcomers: a worker is leased to from its first answer on, so that one without a place holds nothing up ---

    def _send_for_worker(self, tries: int = 1) -> None:
        name, worker = self.start_worker()
        self.newcomers[self._ask_newcomer(worker)] = Newcomer(name, worker, tries, self._clock())

    def _ask_newcomer(self, worker: ActorHandle[Any]) -> ray.ObjectRef[Any]:
        answer: ray.ObjectRef[Any] = worker.introduce.remote(has_pixels=self._has_pixels, episodes=self._planned)
        return answer

    def _ask_newcomers_again(self) -> None:
        """Asks those still on their way from the parts before for what these parts compare."""
        self.newcomers = {self._ask_newcomer(newcomer.worker): newcomer for newcomer in self.newcomers.values()}

    def welcome(self, answer: ray.ObjectRef[Any]) -> None:
        """Takes a newcomer that has answered among the workers, if it is like those that the run began with.

        Raises:
            SetupError: it is not, or could not be started, and nobody else is there or on the way.
        """
        newcomer = self.newcomers.pop(answer)
        try:
            description, canary, found = self._context.cluster.ask(newcomer.name, answer)
        except (SetupError, ray.exceptions.RayError) as error:
            self._context.cluster.end(newcomer.worker)
            if newcomer.tries < self._context.config.limits.max_attempts:
                self._send_for_worker(newcomer.tries + 1)
            else:
                self._go_on_without(newcomer, first_line(error))
            return
        first = next(iter(self.described))
        self.described[newcomer.name] = description
        try:
            check_versions([self.described[first]["versions"], description["versions"]])
            check_contents(self._contents.get(), {newcomer.name: found}, {newcomer.name: description["host"]})
            self._check_canaries({**self._canaries, newcomer.name: canary} if canary else {})
        except SetupError as error:
            self._context.cluster.end(newcomer.worker)
            self._go_on_without(newcomer, str(error))
            return
        self.workers[newcomer.name] = newcomer.worker

    def _go_on_without(self, newcomer: Newcomer, reason: str) -> None:
        if not (self.workers or self.newcomers):
            raise SetupError(reason)
        self._context.note(f"WARNING: {reason}; the run goes on without {newcomer.name}")

    def look_out(self) -> None:
        """Tells of those that have no place.

        Raises:
            SetupError: nobody else is there.
        """
        limit_s, now = self._context.config.ray.placement_timeout_s, self._clock()
        late = [newcomer.name for newcomer in self.newcomers.values() if now - newcomer.since > limit_s]
        if late and all(now - newcomer.since < ANSWER_TIMEOUT_S for newcomer in self.newcomers.values()):
            there = placed_actors()
            late = [name for name in late if name not in there]
        if late and not self.workers and len(late) == len(self.newcomers):
            raise SetupError(lateness(late, limit_s))
        untold = [name for name in late if name not in self._told_late]
        if untold and self.workers:
            self._told_late.update(untold)
            said = lateness(untold, limit_s)
            self._context.note(f"WARNING: {said}; until then the run goes on with those that are there")


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A worker that takes a lost one's place and has not answered yet."""

    name: str
    worker: ActorHandle[Any]
    tries: int
    since: float

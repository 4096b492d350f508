"""Ray, started here or joined: how many workers fit, and the life of the run's actors; runs in the driver."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.actor import ActorHandle

from ray_eval import places
from ray_eval.awake import AwakeClock
from ray_eval.config import EvalConfig, RayConfig
from ray_eval.driver import turns
from ray_eval.driver.api_server import ApiServer
from ray_eval.driver.elastic import steady_labels
from ray_eval.driver.endings import (
    ANSWER_TIMEOUT_S,
    MOST_KILLS,
    KillWatch,
    lateness,
    logs_folder,
    placed_actors,
    told_by_us,
    told_end,
)
from ray_eval.driver.imports import added_by_ray, driver_path, keep_order
from ray_eval.driver.interrupt import hangups_wait
from ray_eval.driver.joining import check_members, prepare_to_join
from ray_eval.driver.limits import cpu_limit, memory_limit
from ray_eval.driver.processes import TMPDIR, RayEnded, RayProcesses
from ray_eval.driver.registration import noticed_at_once
from ray_eval.driver.starting import own_choices, ray_folder, settle_token, slowness
from ray_eval.errors import RayEvalError, SetupError
from ray_eval.foreign import told_with_traceback
from ray_eval.orders import passed_on
from ray_eval.rollout.actor import Worker
from ray_eval.sections import (
    WORKER_MEMORY_BYTES,
    BatchingSection,
    ConnectSection,
    ListenSection,
    PolicySection,
    SimulatorSection,
)
from ray_eval.serving.actor import PolicyActor
from ray_eval.serving.determinism import thread_variables
from ray_eval.types import Canary

OBJECT_STORE_BYTES = 256 * 1024 * 1024
"""Object store of a Ray started here: results are small, observations never go through it."""
SMALLEST_OBJECT_STORE_BYTES = 80 * 1024 * 1024
"""Ray refuses to start with less."""
SET_UP = "worker_process_setup_hook"
"""Ray's name of what each of a job's workers runs at its start."""
Connect = Callable[[], ConnectSection]
"""What says, in a worker, where the policy is served; asked again at each reconnect."""
LARGE_MACHINE_CPUS = 4
"""From here on one CPU is left to Ray and the driver; below, they share."""
LOOK_S = 5.0
"""Time between two looks at what Ray does with those that are waited for."""


def auto_workers(cpu_count: int, memory_bytes: int, policy_cpus: int) -> int:
    """How many workers a machine carries, at least 1: its CPUs less Ray's and the policy's, within its memory."""
    reserved = policy_cpus + (1 if cpu_count > LARGE_MACHINE_CPUS else 0)
    return max(1, min(cpu_count - reserved, memory_bytes // WORKER_MEMORY_BYTES))


def object_store_bytes(shm_free_bytes: int) -> int:
    """Size of the object store of a Ray started here.

    Raises:
        SetupError: /dev/shm is too small for Ray.
    """
    usable = int(shm_free_bytes * 0.9)
    if usable < SMALLEST_OBJECT_STORE_BYTES:
        needed = SMALLEST_OBJECT_STORE_BYTES * 10 // 9 // 1024**2 + 1
        raise SetupError(
            f"shared memory (/dev/shm): expected {needed} MB free for Ray, got {shm_free_bytes // 1024**2} MB; "
            "free some, or start the container with --shm-size=1g"
        )
    return min(OBJECT_STORE_BYTES, usable)


def ray_session_name() -> str | None:
    """Ray's name of the session that this process is in; None without one."""
    return ray.get_runtime_context().get_session_name() if ray.is_initialized() else None


class ActorsEnded(SetupError):
    """Processes of actors ended before they answered; others in their place may do better."""

    def __init__(self, ended: Mapping[str, str]) -> None:
        """Takes what came to each, by the actor's name; the first is told of."""
        name, words = next(iter(ended.items()))
        super().__init__(f"{name}: expected it to start, got {words}")
        self.ended = ended
        """What came to each, by the actor's name."""


@dataclass
class Cluster:
    """A Ray session of one run: the policy actor, the workers, and nothing of anybody else's."""

    config: RayConfig
    """Which Ray."""
    run_id: str
    """Namespace of the run's actors."""
    worker_cpus: int
    """CPUs for workers: free ones when the run came, less the policy's."""
    is_ours: bool = True
    """Whether this run started Ray and will end it."""
    api_server: ApiServer = field(default_factory=ApiServer)
    """Its dashboard; without one nothing is known of it."""
    actors: list[ActorHandle[Any]] = field(default_factory=list)
    """Every actor that is alive as far as the driver knows."""
    processes: RayProcesses | None = None
    """Those of a Ray that this run started."""
    session_name: str | None = field(default_factory=ray_session_name)
    """Ray's name of the session; the program may have ended it, and begun another."""

    def check_alive(self) -> None:
        """Passes while the Ray that this run started lives; always where it started none.

        Raises:
            RayEnded: it does not.
        """
        if self.processes is not None:
            self.processes.check()

    def start_policy(
        self, name: str, policy: PolicySection, listen: ListenSection, batching: BatchingSection, gpus: float = 0.0
    ) -> ActorHandle[Any]:
        """A policy actor; restarted by Ray when it dies, at the same address where that is fixed.

        It stays off nodes that may be taken back, where there are others for it.
        """
        options = {
            "name": name,
            "namespace": self.run_id,
            "num_cpus": batching.threads,
            "num_gpus": gpus,
            "label_selector": steady_labels(ray.nodes(), batching.threads, gpus),
            "max_restarts": -1,
            "max_concurrency": 8,
            "runtime_env": {"env_vars": {**thread_variables(batching.threads), **self._variables()}},
        }
        actor = ray.remote(PolicyActor).options(**options).remote(name, policy, listen, batching)
        self.actors.append(actor)
        return actor

    def start_worker(
        self, name: str, connect: Connect, simulator: SimulatorSection, environment: Mapping[str, str]
    ) -> ActorHandle[Any]:
        """A worker actor, its GL and thread variables set before anything is imported there."""
        options = {
            "name": name,
            "namespace": self.run_id,
            "num_cpus": 1,
            "runtime_env": {"env_vars": {**environment, **self._variables()}},
        }
        actor = ray.remote(Worker).options(**options).remote(name, connect, simulator)
        self.actors.append(actor)
        return actor

    def _variables(self) -> dict[str, str]:
        """What an actor's environment has besides; Ray's own processes have another temporary folder."""
        folder = {} if self.processes is None else {TMPDIR: str(places.temporary_folder())}
        return {**folder, **passed_on()}

    def ask(self, name: str, question: Any, timeout_s: float | None = None) -> Any:
        """The answer to one question, within `timeout_s` or the time that a placement may take.

        Raises:
            SetupError: none came in time.
        """
        return self.ask_all({name: question}, timeout_s)[name]

    def wait_for_workers(self, workers: Mapping[str, ActorHandle[Any]]) -> dict[str, dict[str, Any]]:
        """What each worker says of itself by its name, once all are placed.

        Raises:
            SetupError: some are not placed in time.
        """
        return self.ask_all({name: actor.describe.remote() for name, actor in workers.items()})

    def canaries(self, workers: Mapping[str, ActorHandle[Any]], *, has_pixels: bool) -> dict[str, Canary]:
        """What each worker's machine makes of fixed inputs, by the worker's name; empty where nothing is simulated.

        Raises:
            SetupError: some do not answer in time, or cannot compute it.
        """
        asked = {name: actor.canary.remote(has_pixels=has_pixels) for name, actor in workers.items()}
        return {name: canary for name, canary in self.ask_all(asked).items() if canary is not None}

    def ask_all(self, questions: Mapping[str, Any], timeout_s: float | None = None) -> dict[str, Any]:
        """The answer to each question by its name.

        Without a `timeout_s` an actor that is not placed is waited for as long as a placement may take, and one that
        is there `ANSWER_TIMEOUT_S`: the first process of a new user compiles for minutes on a busy machine.

        Raises:
            SetupError: some did not come in time.
            ActorsEnded: nothing else went wrong than that processes ended.
        """
        watch, clock, waiting = KillWatch(logs_folder()), AwakeClock(), list(questions.values())
        limit_s = timeout_s or self.config.placement_timeout_s
        while waiting:
            self.check_alive()
            slice_s = min(LOOK_S, max(0.1, limit_s - clock()))
            _, waiting = ray.wait(list(questions.values()), num_returns=len(questions), timeout=slice_s)
            late = [name for name, question in questions.items() if question in waiting]
            kills = watch.kills() if late else []
            if late and timeout_s is None and set(late) <= placed_actors():
                limit_s = max(limit_s, ANSWER_TIMEOUT_S)
            if late and (clock() >= limit_s or len(kills) >= MOST_KILLS):
                raise SetupError(lateness(late, limit_s, kills))
        answers: dict[str, Any] = {}
        ended: dict[str, str] = {}
        for name, question in questions.items():
            try:
                answers[name] = _get(name, question)
            except ActorsEnded as error:
                ended |= error.ended
        if ended:
            raise ActorsEnded(ended)
        return answers

    def end(self, actor: ActorHandle[Any]) -> None:
        """Ends one actor at once."""
        if actor in self.actors:
            self.actors.remove(actor)
        with contextlib.suppress(Exception):
            ray.kill(actor)

    def close(self) -> None:
        """Ends every actor of this run; asks them to close first, where anything is left to be asked."""
        if ray_session_name() != self.session_name:
            return
        try:
            self.check_alive()
        except RayEnded:
            return
        if self.processes is not None:
            self.processes.note()
        closing = [actor.close.remote() for actor in self.actors]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=5)
        for actor in list(self.actors):
            self.end(actor)


@contextlib.contextmanager
def ray_session(
    config: RayConfig, run_id: str, worker_cpus: int, actor_cpus: int, modules: Sequence[str] = ()
) -> Iterator[Cluster]:
    """Ray for the length of a run: a local one with so many CPUs, or the cluster of `ray.address`.

    Args:
        config: which Ray.
        run_id: namespace of the run's actors.
        worker_cpus: CPUs for workers of a Ray that is started here; one that was joined has its own number.
        actor_cpus: CPUs that the policy actors take.
        modules: paths of packages and files that the nodes of a cluster that is joined get from this machine.

    Raises:
        SetupError: Ray does not start, or the cluster cannot be joined.
    """
    with turns.own_ray() as turn:
        if ray.is_initialized():
            turn.close()
            check_room(actor_cpus)
            # The caller's own session (Python API): used as it is, and left as it was.
            cluster = Cluster(config, run_id, _free_cpus() - actor_cpus, is_ours=False)
            with contextlib.closing(cluster):
                yield cluster
            return
        processes, api_server = RayProcesses() if config.address is None else None, ApiServer()
        with contextlib.ExitStack() as stack:
            stack.enter_context(told_by_us())
            if processes is not None:
                stack.callback(processes.end)
            stack.callback(api_server.end)
            with api_server.beside():
                url = _initialise(config, run_id, worker_cpus + actor_cpus, processes, modules)
            if url is not None:
                api_server.url = url
            stack.callback(_shut_down, ray_session_name())
            fitting = _free_cpus() - actor_cpus if config.address else worker_cpus
            cluster = Cluster(config, run_id, fitting, config.address is None, api_server, processes=processes)
            stack.callback(cluster.close)
            stack.callback(api_server.settle)
            yield cluster


def _shut_down(name: str | None) -> None:
    """Ends the Ray of that session, if it is still the one that this process is in."""
    if ray_session_name() == name:
        ray.shutdown()


def check_room(actor_cpus: int) -> None:
    """Passes where a Ray that the caller started holds the policy actors and one worker; it will not grow.

    Raises:
        SetupError: it does not, however long one waits.
    """
    node = getattr(ray._private.worker, "_global_node", None)  # noqa: SLF001 - Ray has no public way
    total = ray.cluster_resources().get("CPU", 0)
    # None at all are told of for a moment after the start.
    if node is not None and node.is_head() and 0 < total < actor_cpus + 1:
        raise SetupError(
            f"ray: expected {actor_cpus + 1} CPUs or more ({actor_cpus} for the policy and 1 for a worker), got this "
            f"program's own Ray with {total:g}; write ray.init(num_cpus={actor_cpus + 1}), or leave Ray to ray-eval"
        )


def _free_cpus() -> int:
    return int(ray.available_resources().get("CPU", 0))


def _initialise(
    config: RayConfig, run_id: str, cpu_count: int, processes: RayProcesses | None, modules: Sequence[str]
) -> str | None:
    """Starts or joins Ray, whose processes are noted if they are its own; the dashboard's address where it is known."""
    shared: dict[str, Any] = {"namespace": run_id, "log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if processes is not None:
            context = _start_local(config, cpu_count, shared, processes)
        else:
            context = _join(str(config.address), shared, modules)
    except RayEvalError:
        raise
    except (KeyboardInterrupt, SystemExit) as error:
        # While it starts, Ray takes SIGTERM for itself and leaves by SystemExit.
        if processes is not None:
            processes.note()
        ray.shutdown()
        raise KeyboardInterrupt from error
    except Exception as error:
        where = f"ray.address={config.address}" if config.address else "ray"
        raise SetupError(
            f"{where}: expected Ray to start or to be joined, got {error}{slowness(error)}; see ray-eval doctor"
        ) from error
    if processes is not None:
        processes.note()
        processes.give_way()
    return context.dashboard_url or None


def _start_local(config: RayConfig, cpu_count: int, shared: Mapping[str, Any], processes: RayProcesses) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    settle_token()
    with turns.start(), hangups_wait(), own_choices(), noticed_at_once(), processes.own_temporary_folder():
        return _started(config, cpu_count, shared)


def _started(config: RayConfig, cpu_count: int, shared: Mapping[str, Any]) -> Any:
    return ray.init(
        # Not the Ray that RAY_ADDRESS names, nor one that happens to run on this machine.
        address="local",
        num_cpus=cpu_count,
        include_dashboard=config.dashboard,
        object_store_memory=object_store_bytes(shutil.disk_usage("/dev/shm").free),  # noqa: S108 - Ray's choice
        _temp_dir=str(ray_folder()),
        # Nothing but this machine has to reach a Ray that was started for one run.
        _node_ip_address="127.0.0.1",
        runtime_env={SET_UP: keep_order(added_by_ray(), driver_path())},
        **shared,
    )


def _join(address: str, shared: Mapping[str, Any], modules: Sequence[str]) -> Any:
    prepare_to_join(address)
    # Where the list is empty, Ray 2.60.0 sets up no worker at all.
    shipped = {"py_modules": list(modules)} if modules else {}
    runtime_env = {SET_UP: keep_order(added_by_ray()), **shipped}
    context = ray.init(address=address, runtime_env=runtime_env, **shared)
    check_members(address)
    return context


def _get(name: str, question: Any) -> Any:
    try:
        return ray.get(question)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, RayEvalError):
            raise error.cause from None
        cause = error.cause or error
        raise SetupError(f"{name}: expected an answer, got {told_with_traceback(cause, error)}") from error
    except ray.exceptions.RayActorError as error:
        raise ActorsEnded({name: told_end(error)}) from error
    except ray.exceptions.RayError as error:
        raise SetupError(f"{name}: expected it to start, got {told_end(error)}") from error


def local_workers(policy_cpus: int) -> int:
    """Workers that this machine carries now beside a policy that keeps so many CPUs busy."""
    return auto_workers(cpu_limit().count, memory_limit().available_bytes, policy_cpus)


def worker_count(config: EvalConfig, waiting_episodes: int, fitting: int) -> int:
    """Workers that a run starts: what is asked for, or with `auto` what fits; never more than there are episodes."""
    return max(1, min(fitting if config.workers == "auto" else config.workers, waiting_episodes))

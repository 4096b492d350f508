"""The schema of an evaluation: frozen, every field declared identity (it changes results) or operational."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ray_eval.errors import ConfigError
from ray_eval.sections import (
    ADDRESS,
    COMMAND,
    MAX_LATENCY_MS,
    PATH,
    POLICY_TYPES,
    RESULTS,
    WORKER_MEMORY_BYTES,
    BatchingSection,
    Control,
    Determinism,
    ExecutionMode,
    GlBackend,
    GripperTransform,
    ImageRecipe,
    InitStates,
    Instruction,
    Kwargs,
    LognormalLatency,
    PolicySection,
    QueueKind,
    SettleAction,
    StateFormat,
    Underrun,
    UniformLatency,
    require,
)
from ray_eval.stats.intervals import DEFAULT_METHOD, IntervalMethod

IDENTITY = types.MappingProxyType({"kind": "identity"})
"""Marks a field that changes results: part of the run's hash, fixed for a resume."""
OPERATIONAL = types.MappingProxyType({"kind": "operational"})
"""Marks a field that changes only where, when or how fast a run happens."""

AUTO_ADDRESS = "auto"
"""Serving address that the run chooses by itself."""
_ADDRESS = re.compile(r"unix:.+|[^\s/]+:[0-9]{1,5}")
_VIDEO = re.compile(r"(failures|successes|all|first:[1-9][0-9]{0,5})(,(failures|successes|all|first:[1-9][0-9]{0,5}))*")

OPERATIONAL_POLICY_KEYS = (
    "policy.python",
    "policy.addresses",
    "policy.timeout_s",
    "policy.first_timeout_s",
    "policy.ignore_metadata",
    "policy.connections",
    "policy.token_file",
    "policy.certificate",
)
"""Keys of a policy's settings that change nothing: what an interpreter brings along is in the policy's `runtime`."""


class MaxSteps(dict[str, int]):
    """Step budget by suite; `default` serves every suite that is not named and whose base suite is not."""

    def of(self, suite: str) -> int:
        """The budget of a suite; a variant such as `libero_10_with_mug` takes that of `libero_10`.

        Raises:
            ConfigError: neither the suite, nor its base suite, nor a default is there.
        """
        bases = [name for name in self if suite == name or suite.startswith(f"{name}_")]
        budget = self[max(bases, key=len)] if bases else self.get("default")
        if budget is None:
            raise ConfigError(f"protocol.max_steps: expected a budget for {suite}; set protocol.max_steps.{suite}=300")
        return budget


@dataclass(frozen=True)
class ProtocolConfig:
    """A named set of the choices that change a number. Source of the presets: PROTOCOLS in docs/protocols.md."""

    name: str = field(default="custom", metadata=IDENTITY)
    """Name of the preset that it started from."""
    max_steps: MaxSteps = field(default_factory=MaxSteps, metadata=IDENTITY)
    """Budget in control steps, by suite."""
    settle_steps: int | None = field(default=10, metadata=IDENTITY)
    """Control steps before step 0, not counted in the budget; null, as the six below, where the simulator has none."""
    settle_action: SettleAction | None = field(default="gripper_open", metadata=IDENTITY)
    """What is executed while settling."""
    env_seed: int = field(default=0, metadata=IDENTITY)
    """Seed applied before every reset."""
    env_seed_per_episode: bool = field(default=False, metadata=IDENTITY)
    """Whether the init state's index is added to `env_seed`."""
    init_states: InitStates | None = field(default="stored", metadata=IDENTITY)
    """LIBERO's stored init states, or what the seeded reset draws."""
    instruction: Instruction | None = field(default="filename", metadata=IDENTITY)
    """The sentence that a policy is told: LIBERO's `task.language`, made of the file's name, or the BDDL file's own."""
    replan_steps: int | Literal["chunk", "policy"] | None = field(default="chunk", metadata=IDENTITY)
    """Actions of a chunk executed before asking again; all of it, or what the checkpoint says. Null where a threshold
    of the chunk queue says when to ask."""
    images: ImageRecipe = field(default_factory=ImageRecipe, metadata=IDENTITY)
    """Treatment of camera images."""
    state_format: StateFormat | None = field(default="libero_8d", metadata=IDENTITY)
    """Layout of `observation.state`."""
    gripper: GripperTransform | None = field(default="raw", metadata=IDENTITY)
    """What is done to a policy's gripper component when it is executed."""
    control: Control | None = field(default="delta", metadata=IDENTITY)
    """Pose deltas, or absolute poses."""

    def __post_init__(self) -> None:
        settle_steps = self.settle_steps
        require(settle_steps is None or 0 <= settle_steps <= 1000, "protocol.settle_steps", "0 to 1000", settle_steps)
        require(0 <= self.env_seed < 2**31, "protocol.env_seed", "0 to 2147483647", self.env_seed)
        for suite, steps in self.max_steps.items():
            require(1 <= steps <= 100_000, f"protocol.max_steps.{suite}", "1 to 100000", steps)
        if isinstance(self.replan_steps, int):
            require(self.replan_steps >= 1, "protocol.replan_steps", "at least 1, chunk or policy", self.replan_steps)


@dataclass(frozen=True)
class SimulatorConfig:
    """Which simulator is run, and where; its own keys stand beside these two."""

    name: str | None = field(default=None, metadata=IDENTITY)
    """Name of the simulator; null is the one that the suites belong to."""
    python: str | None = field(default=None, metadata={**OPERATIONAL, **COMMAND})
    """Interpreter that whole episodes run in, with the simulator installed; null takes the worker's own."""
    own: Kwargs = field(default_factory=Kwargs, metadata=IDENTITY)
    """The simulator's own keys, of those that `protocol` does not have, every value final."""


@dataclass(frozen=True)
class LatencyConfig:
    """Latency between capturing an observation and its chunk being usable; exactly one of its fields (async)."""

    steps: int | None = field(default=None, metadata=IDENTITY)
    """Control steps."""
    ms: float | None = field(default=None, metadata=IDENTITY)
    """Milliseconds, rounded up to whole control steps."""
    uniform: UniformLatency | None = field(default=None, metadata=IDENTITY)
    """Drawn uniformly for each request."""
    lognormal: LognormalLatency | None = field(default=None, metadata=IDENTITY)
    """Drawn from a lognormal distribution for each request."""
    trace: str | None = field(default=None, metadata={**IDENTITY, **PATH})
    """File of measured latencies, one number of milliseconds a line; its content is part of the run's identity."""
    calibrated: bool | None = field(default=None, metadata=IDENTITY)
    """Times the policy at batch 1 when the run starts; the figure is part of the run's identity from then on."""

    def __post_init__(self) -> None:
        given = self.kinds
        if len(given) > 1:
            both = "both" if len(given) == 2 else "all"
            raise ConfigError(f"execution.latency: expected one of {' and '.join(given)}, got {both}; leave one out")
        require(self.steps is None or 0 <= self.steps <= 10_000, "execution.latency.steps", "0 to 10000", self.steps)
        require(self.ms is None or 0 <= self.ms <= MAX_LATENCY_MS, "execution.latency.ms", "0 to 600000", self.ms)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the fields that are set."""
        return tuple(item.name for item in dataclasses.fields(self) if getattr(self, item.name) not in (None, False))


@dataclass(frozen=True)
class ExecutionConfig:
    """How chunks become actions; in sync only `mode` and `actions_per_chunk`, `latency` in async, `fps` in realtime."""

    mode: ExecutionMode = field(default="sync", metadata=IDENTITY)
    """sync: the simulator stands still while the policy thinks; async: it does not, in virtual time; realtime: it
    does not, by the clock, so that results depend on the machine."""
    actions_per_chunk: int | None = field(default=None, metadata=IDENTITY)
    """H: most rows kept of a chunk; null keeps all."""
    chunk_size_threshold: float | None = field(default=None, metadata=IDENTITY)
    """A chunk is asked for when queued / H is at most this; null asks when `protocol.replan_steps` are executed."""
    aggregate: str | None = field(default=None, metadata=IDENTITY)
    """How overlapping actions are merged; latest_only in async unless said."""
    underrun: Underrun | None = field(default=None, metadata=IDENTITY)
    """What is executed when no action is queued; hold in async unless said."""
    queue: QueueKind | None = field(default=None, metadata=IDENTITY)
    """virtual: row i of a chunk is for the i-th step after its observation; lerobot: as LeRobot's client has it."""
    similarity_atol: float | None = field(default=None, metadata=IDENTITY)
    """LeRobot's observation filter: while actions are queued, an observation is not sent whose state is nearer than
    this (L2) to the last one sent; null sends every one, LeRobot has 1."""
    latency: LatencyConfig = field(default_factory=LatencyConfig, metadata=IDENTITY)
    """Virtual latency; 0 steps in async unless said."""
    fps: int | None = field(default=None, metadata=IDENTITY)
    """Control steps per second of wall-clock time (realtime); the simulator's own rate unless said."""

    def __post_init__(self) -> None:
        require(self.fps is None or 1 <= self.fps <= 1000, "execution.fps", "1 to 1000", self.fps)
        if self.mode == "realtime" and self.underrun == "wait":
            raise ConfigError(
                "execution.underrun: expected hold or noop in realtime mode, where the world waits for nobody, got wait"
            )
        threshold = self.chunk_size_threshold
        require(threshold is None or 0 <= threshold <= 1, "execution.chunk_size_threshold", "0 to 1", threshold)
        rows = self.actions_per_chunk
        require(rows is None or 1 <= rows <= 10_000, "execution.actions_per_chunk", "1 to 10000", rows)
        atol = self.similarity_atol
        require(atol is None or atol >= 0, "execution.similarity_atol", "null or at least 0", atol)


@dataclass(frozen=True)
class ServingConfig:
    """How the policy is served to the workers."""

    address: str = field(default=AUTO_ADDRESS, metadata={**OPERATIONAL, **ADDRESS})
    """auto (a unix socket on one host, TLS over TCP across hosts), `unix:/path` or `host:port`."""
    determinism: Determinism = field(default="reproducible", metadata=IDENTITY)
    """reproducible: the same bytes for any workers; throughput: as many episodes as possible, and no such promise."""
    batch_size: int = field(default=1, metadata=IDENTITY)
    """Rows to which every forward is padded in reproducible mode, unless the policy is batch-invariant."""
    threads: int = field(default=1, metadata=IDENTITY)
    """Threads of the policy's linear algebra, and CPUs reserved for each policy actor."""
    max_batch_size: int = field(default=64, metadata=OPERATIONAL)
    """Most requests in one forward, in throughput mode or of a batch-invariant policy."""
    replicas: int = field(default=1, metadata=OPERATIONAL)
    """Policy actors, one per GPU where there are GPUs; workers are spread over them."""
    infer_timeout_s: float = field(default=60.0, metadata=OPERATIONAL)
    """Longest that the server may answer nobody while a request waits, reconnects included."""
    load_timeout_s: float = field(default=1800.0, metadata=OPERATIONAL)
    """Longest wait for a policy that is read from files to be loaded, its actor's placement included."""
    slowdown_ms: tuple[float, ...] | None = field(default=None, metadata=OPERATIONAL)
    """[low, high]: a random pause before each forward, to see that no result depends on how fast a policy answers."""

    def __post_init__(self) -> None:
        is_address = self.address == AUTO_ADDRESS or _ADDRESS.fullmatch(self.address) is not None
        require(is_address, "serving.address", "auto, unix:/path or host:port", self.address)
        require(1 <= self.replicas <= 64, "serving.replicas", "1 to 64", self.replicas)
        can_share = self.replicas == 1 or self.address == AUTO_ADDRESS or self.address.endswith(":0")
        require(can_share, "serving.address", "auto, or port 0, while there are several replicas", self.address)
        pause = self.slowdown_ms
        is_range = pause is None or (len(pause) == 2 and 0 <= pause[0] <= pause[1] <= MAX_LATENCY_MS)
        require(is_range, "serving.slowdown_ms", "null or [low,high] in ms", pause)
        require(0 < self.load_timeout_s <= 86_400, "serving.load_timeout_s", "above 0, to 86400", self.load_timeout_s)
        self.batching()
        require(0 < self.infer_timeout_s <= 3600, "serving.infer_timeout_s", "above 0, to 3600", self.infer_timeout_s)

    def batching(self) -> BatchingSection:
        """What a policy server is given.

        Raises:
            ConfigError: a value is out of range, or belongs to the other determinism.
        """
        pause = self.slowdown_ms
        return BatchingSection(
            determinism=self.determinism,
            batch_size=self.batch_size,
            threads=self.threads,
            max_batch_size=self.max_batch_size,
            slowdown_ms=(pause[0], pause[1]) if pause else None,
        )


@dataclass(frozen=True)
class RayConfig:
    """Which Ray is used."""

    address: str | None = field(default=None, metadata=OPERATIONAL)
    """Address of a cluster to join, `auto` for the one on this machine; null starts a local one."""
    placement_timeout_s: float = field(default=60.0, metadata=OPERATIONAL)
    """Longest wait for an actor to be placed."""
    dashboard: bool = field(default=True, metadata=OPERATIONAL)
    """Whether a Ray started here has its dashboard."""

    def __post_init__(self) -> None:
        require(
            0 < self.placement_timeout_s <= 3600,
            "ray.placement_timeout_s",
            "above 0, to 3600",
            self.placement_timeout_s,
        )


@dataclass(frozen=True)
class RenderConfig:
    """How cameras are rendered. The renderer that was found is part of the run's identity."""

    gl: GlBackend = field(default="auto", metadata=OPERATIONAL)
    """GL backend; auto takes the first that really renders."""


@dataclass(frozen=True)
class RecordConfig:
    """What a run keeps beside its ledger."""

    actions: bool = field(default=True, metadata=OPERATIONAL)
    """Whether the executed actions of each episode are kept, about 10 kB each: what a replay needs."""


@dataclass(frozen=True)
class LimitsConfig:
    """What a run puts up with."""

    max_attempts: int = field(default=3, metadata=OPERATIONAL)
    """Attempts at one episode before it is an error."""
    episode_timeout_s: float = field(default=1800.0, metadata=OPERATIONAL)
    """Longest attempt, what it waits for the policy not counted; a worker past it is killed and its episode leased
    again."""
    build_timeout_s: float = field(default=1200.0, metadata=OPERATIONAL)
    """Longest that a worker may take to build a task's simulator; the first one of a machine compiles."""
    reset_timeout_s: float = field(default=600.0, metadata=OPERATIONAL)
    """The same for a reset, its settle steps included."""
    step_timeout_s: float = field(default=300.0, metadata=OPERATIONAL)
    """The same for one control step."""
    render_timeout_s: float = field(default=300.0, metadata=OPERATIONAL)
    """The same for one observation, its images included."""
    grace_s: float = field(default=20.0, metadata=OPERATIONAL)
    """After Ctrl+C or SIGTERM, how long running episodes may go on."""
    worker_memory_gb: float = field(default=WORKER_MEMORY_BYTES / 1e9, metadata=OPERATIONAL)
    """Memory that a worker may hold: simulators of tasks that it may come back to are kept within it."""
    recycle_memory_gb: float | None = field(default=None, metadata=OPERATIONAL)
    """A worker that holds more after an episode is replaced by a new one; null takes twice `worker_memory_gb`."""
    model_cache_gb: float = field(default=8.0, metadata=OPERATIONAL)
    """Disk space, on each machine, for compiled scenes (up to 0.25 GB a task); 0 keeps none."""
    allow_mixed: bool = field(default=False, metadata=OPERATIONAL)
    """Whether machines may take part that compute other bits; the run is then marked as mixed."""

    def __post_init__(self) -> None:
        require(1 <= self.max_attempts <= 100, "limits.max_attempts", "1 to 100", self.max_attempts)
        for phase in ("episode", "build", "reset", "step", "render"):
            timeout_s = getattr(self, f"{phase}_timeout_s")
            require(0 < timeout_s <= 10**6, f"limits.{phase}_timeout_s", "above 0, to 1000000", timeout_s)
        require(0 <= self.grace_s <= 10**6, "limits.grace_s", "0 to 1000000", self.grace_s)
        memory_gb = self.worker_memory_gb
        require(0.1 <= memory_gb <= 10_000, "limits.worker_memory_gb", "0.1 to 10000", memory_gb)
        recycle_gb = self.recycle_memory_gb
        require(
            recycle_gb is None or 0.1 <= recycle_gb <= 10_000, "limits.recycle_memory_gb", "0.1 to 10000", recycle_gb
        )
        require(0 <= self.model_cache_gb <= 100_000, "limits.model_cache_gb", "0 to 100000", self.model_cache_gb)


@dataclass(frozen=True)
class EvalConfig:
    """One evaluation, resolved: every value final."""

    suite: tuple[str, ...] = field(metadata=IDENTITY)
    """Suites of one simulator, in order."""
    policy: PolicySection = field(metadata=IDENTITY)
    """The policy's own settings."""
    protocol: ProtocolConfig = field(metadata=IDENTITY)
    """The choices that change a number."""
    tasks: tuple[int, ...] | None = field(default=None, metadata=IDENTITY)
    """Task indices in each suite; null takes all."""
    init_states: tuple[int, ...] | None = field(default=None, metadata=IDENTITY)
    """Init states of each task; null takes the first `episodes_per_task`."""
    episodes_per_task: int | None = field(default=None, metadata=IDENTITY)
    """How many init states of each task, from the first on; null takes all."""
    repeats: int = field(default=1, metadata=IDENTITY)
    """Times that each init state is run, with other seeds."""
    seed: int = field(default=0, metadata=IDENTITY)
    """Root of the policy's noise and of drawn latencies."""
    simulator: SimulatorConfig = field(default_factory=SimulatorConfig, metadata=IDENTITY)
    """Which simulator is run, and where."""
    task_text: str | None = field(default=None, metadata=IDENTITY)
    """Instruction given to the policy instead of the task's own."""
    execution: ExecutionConfig = field(default_factory=ExecutionConfig, metadata=IDENTITY)
    """How chunks become actions."""
    serving: ServingConfig = field(default_factory=ServingConfig, metadata=IDENTITY)
    """How the policy is served."""
    workers: int | Literal["auto"] = field(default="auto", metadata=OPERATIONAL)
    """Simulators side by side; auto takes the CPUs that Ray and the policy leave."""
    ray: RayConfig = field(default_factory=RayConfig, metadata=OPERATIONAL)
    """Which Ray is used."""
    render: RenderConfig = field(default_factory=RenderConfig, metadata=OPERATIONAL)
    """How cameras are rendered."""
    record: RecordConfig = field(default_factory=RecordConfig, metadata=OPERATIONAL)
    """What is kept beside the ledger."""
    limits: LimitsConfig = field(default_factory=LimitsConfig, metadata=OPERATIONAL)
    """What a run puts up with."""
    video: str | None = field(default=None, metadata=OPERATIONAL)
    """Episodes that are filmed at the end: `failures`, `successes` or `all`, of which `first:N` keeps N of each task,
    with commas between; null films none."""
    interval: IntervalMethod = field(default=DEFAULT_METHOD, metadata=OPERATIONAL)
    """How intervals are made: `clopper_pearson`, `mid_p`, `jeffreys`, `agresti_coull` or `wilson`."""
    out: str | None = field(default=None, metadata={**OPERATIONAL, **RESULTS})
    """Folder of the results; null makes one under `runs/`."""
    track: tuple[str, ...] = field(default=(), metadata=OPERATIONAL)
    """Experiment trackers that are told of the run: `tensorboard`, `wandb`, `mlflow`, `trackio`."""
    report: bool = field(default=True, metadata=OPERATIONAL)
    """Whether `report.html` is written into the folder at the end."""

    def __post_init__(self) -> None:
        require(len(self.suite) >= 1, "suite", "at least one", self.suite)
        for name, values in (("suite", self.suite), ("tasks", self.tasks), ("init_states", self.init_states)):
            require(values is None or len(values) >= 1, name, "at least one value", values)
            require(values is None or len(set(values)) == len(values), name, "no value twice", values)
        for name, indices in (("tasks", self.tasks), ("init_states", self.init_states)):
            is_ok = indices is None or (min(indices) >= 0 and max(indices) < 10**6)
            require(is_ok, name, "indices from 0 upwards", indices)
        if self.init_states is not None and self.episodes_per_task is not None:
            raise ConfigError(
                "episodes_per_task: expected nothing while init_states is given; leave one of them out, or where a "
                "preset has the other, set that to null"
            )
        count = self.episodes_per_task
        require(count is None or 1 <= count <= 10**6, "episodes_per_task", "1 to 1000000", count)
        if self.video is not None:
            is_choice = _VIDEO.fullmatch(self.video) is not None
            require(is_choice, "video", "null, failures, successes, all, first:N or failures,first:N", self.video)
            require(self.record.actions, "record.actions", "true while video is given", self.record.actions)
        require(1 <= self.repeats <= 10_000, "repeats", "1 to 10000", self.repeats)
        require(0 <= self.seed < 2**63, "seed", "0 to 2**63 - 1", self.seed)
        require(self.workers == "auto" or 1 <= self.workers <= 4096, "workers", "auto or 1 to 4096", self.workers)

    @property
    def policy_type(self) -> str:
        """The policy's `type` key."""
        return next(name for name, section in POLICY_TYPES.items() if type(self.policy) is section)

    def resolved(self) -> dict[str, Any]:
        """The configuration as plain JSON values, in the shape that `load_config` reads."""
        plain = _plain(self)
        plain["policy"] = {"type": self.policy_type, **plain["policy"]}
        plain["simulator"] |= plain["simulator"].pop("own")
        return typing.cast("dict[str, Any]", plain)

    def identity(self) -> dict[str, Any]:
        """Every identity value by its dotted key."""
        operational = (*operational_keys(EvalConfig), *OPERATIONAL_POLICY_KEYS)
        leaves = {key: value for key, value in flattened(self.resolved()) if not _is_under(key, operational)}
        # An empty mapping says something where a user's own function gets it; a field that holds one has no leaves.
        return {key: value for key, value in leaves.items() if value != {} or key.startswith("policy.kwargs.")}


def operational_keys(schema: type, prefix: str = "") -> Iterator[str]:
    """Dotted keys of the operational fields of a schema; a key stands for everything below it."""
    hints = typing.get_type_hints(schema)
    for item in dataclasses.fields(schema):
        if item.metadata.get("kind") == "operational":
            yield prefix + item.name
        elif dataclasses.is_dataclass(hints[item.name]):
            yield from operational_keys(typing.cast("type", hints[item.name]), f"{prefix}{item.name}.")


def flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings by their dotted keys; a mapping without any is one."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _is_under(key: str, parents: tuple[str, ...]) -> bool:
    return any(key == parent or key.startswith(f"{parent}.") for parent in parents)


def _plain(value: Any) -> Any:
    """JSON values of a configuration value."""
    if dataclasses.is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        plain = {key: _plain(inner) for key, inner in value.items()}
        # What knows no types but its values' own is to be told from what the schema's types are known of.
        return Kwargs(plain) if isinstance(value, Kwargs) else plain
    return list(value) if isinstance(value, tuple) else value

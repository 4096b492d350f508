"""The frozen settings that each component receives: narrow, validated, free of every configuration library."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from ray_eval.errors import ConfigError
from ray_eval.messages import array_named, without_arrays

Resize = Literal["none", "pad_bilinear", "bilinear", "lanczos"]
StateFormat = Literal["libero_8d", "libero_8d_canonical", "controller_pose", "joints_gripper"]
GripperTransform = Literal["raw", "sign", "openvla", "starvla", "above_half"]
Control = Literal["delta", "absolute"]
InitStates = Literal["stored", "sampled"]
Instruction = Literal["filename", "bddl"]
SettleAction = Literal["gripper_open", "zeros"]
GlBackend = Literal["auto", "egl", "osmesa"]
ExecutionMode = Literal["sync", "async", "realtime"]
Underrun = Literal["hold", "noop", "wait"]
QueueKind = Literal["virtual", "lerobot"]
Device = Literal["auto", "cpu", "cuda"]
Determinism = Literal["reproducible", "throughput"]
NumberFormat = Literal["checkpoint", "float32", "bfloat16", "float16"]
PrefixSchedule = Literal["zeros", "ones", "linear", "exp"]

MAX_LATENCY_MS = 600_000
"""Longest latency, ms."""
WORKER_MEMORY_BYTES = 1_500_000_000
"""Resident memory to allow for a worker with one LIBERO simulator. Measured: 0.8 to 1.4 GB, 1.7 as one loads."""
MOST_REPR_CHARACTERS = 20_000
"""Of a value that an error message shows, what is looked at."""


PLACE = "place"
"""Key of a field's metadata that says what kind of path is in it; `config.paths` makes it absolute."""
PATH = MappingProxyType({PLACE: "path"})
"""Marks a file or folder."""
RESULTS = MappingProxyType({PLACE: "results"})
"""Marks a path that may be an address in a store as well."""
COMMAND = MappingProxyType({PLACE: "command"})
"""Marks a program: a path, or a bare name that is looked up where it is started."""
CHECKPOINT = MappingProxyType({PLACE: "checkpoint"})
"""Marks a checkpoint's folder, or its id on the hub, which has `hub:` in front once it was read."""
ADDRESS = MappingProxyType({PLACE: "address"})
"""Marks an address, or several; `unix:` is followed by a path."""
HUB = "hub:"
"""Begins a checkpoint's id on the hub; whatever else stands there is a folder."""


def shown(value: object, most_characters: int = 200) -> str:
    """A value as an error message shows it: an array by its shape, all else by its `repr`, cut where it is long."""
    array = array_named(value)
    if array is not None:
        return array
    try:
        text = without_arrays(repr(value)[:MOST_REPR_CHARACTERS])
    except ValueError:
        # Python writes out no integer of more than 4300 digits.
        return "a number of thousands of digits"
    except Exception:  # noqa: BLE001 - another's __repr__ may raise anything
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= most_characters else f"{text[:most_characters]}... ({len(text)} characters)"


def require(condition: bool, where: str, expected: str, got: object) -> None:
    """Raises ConfigError `where: expected ..., got ...` unless the condition holds."""
    if not condition:
        raise ConfigError(f"{where}: expected {expected}, got {shown(got)}")


@dataclass(frozen=True, slots=True)
class ImageRecipe:
    """How a camera image becomes what a policy sees; applied in the order of the fields."""

    render_size_px: int | None = 256
    """Height and width at which the cameras are rendered; None is each camera's own size."""
    is_agentview_rotated: bool = True
    """Whether robosuite's agentview array is rotated by 180 degrees, as in the training data."""
    is_wrist_rotated: bool = True
    """Whether robosuite's wrist array is rotated by 180 degrees."""
    jpeg_quality: int | None = None
    """Quality of a JPEG round trip at the rendered size; None leaves it out."""
    resize: Resize = "none"
    """How the image is brought to `image_size_px`."""
    image_size_px: int | None = 256
    """Height and width delivered; None is what was rendered."""
    centre_crop_area: float | None = None
    """Share of the area kept by a centre crop that is then resized back; None leaves it out."""

    def __post_init__(self) -> None:
        for name, size_px in (("render_size_px", self.render_size_px), ("image_size_px", self.image_size_px)):
            require(size_px is None or 16 <= size_px <= 2048, f"images.{name}", "null or 16 to 2048", size_px)
        if self.jpeg_quality is not None:
            require(1 <= self.jpeg_quality <= 100, "images.jpeg_quality", "1 to 100", self.jpeg_quality)
        if self.centre_crop_area is not None:
            require(0 < self.centre_crop_area <= 1, "images.centre_crop_area", "in (0, 1]", self.centre_crop_area)
        if self.resize != "none":
            require(self.image_size_px is not None, "images.image_size_px", "a size to resize to", self.image_size_px)
            return
        require(
            self.image_size_px in (None, self.render_size_px),
            "images.image_size_px",
            f"{self.render_size_px} (render_size_px) while images.resize is none",
            self.image_size_px,
        )


@dataclass(frozen=True, slots=True)
class ObservationRecipe:
    """Which arrays an env delivers, and how it makes them."""

    keys: tuple[str, ...]
    """Observation keys; a camera that is not among them is never rendered."""
    n_obs_steps: int = 1
    """Consecutive steps in one observation, the first frame repeated at an episode's start."""
    images: ImageRecipe = ImageRecipe()
    """Treatment of the cameras."""


@dataclass(frozen=True, slots=True)
class SimulatorSection:
    """Which simulator, how it is set, and where it runs."""

    name: str | None = None
    """Name of the simulator, as in `envs.registry`; None is the one that the suite's name belongs to."""
    own: Any = None
    """Its own settings: an instance of its `settings_type`; None takes that type's defaults."""
    python: str | None = field(default=None, metadata=COMMAND)
    """Interpreter that whole episodes run in; None for the worker's own."""


@dataclass(frozen=True, slots=True)
class EnvSettings:
    """Everything an env must know besides its task and the episode."""

    recipe: ObservationRecipe
    """What it delivers."""
    simulator: SimulatorSection = SimulatorSection()
    """The simulator that the env is of, with its own settings."""
    task_text: str | None = None
    """Instruction given to the policy instead of the task's own."""
    model_cache_bytes: int = 8_000_000_000
    """Most bytes that compiled models take on this machine's disk; 0 keeps none."""


@dataclass(frozen=True, slots=True)
class QueueRules:
    """The chunk queue's rules, resolved; sync is the special case of latency 0 and threshold 0."""

    horizon: int
    """H: rows of a chunk that are kept."""
    chunk_len: int
    """Rows that a chunk must at least have: the policy's own."""
    action_dim: int
    """Columns of a chunk."""
    chunk_size_threshold: float = 0.0
    """A new chunk is asked for when queued / H is at most this, in [0, 1]."""
    aggregate: str = "latest_only"
    """Name of an aggregation, or an import string `package.module:function`."""
    underrun: Underrun = "hold"
    """What is executed at a step for which no action is queued."""
    kind: QueueKind = "virtual"
    """Row i is for step s + i; or as LeRobot's client labels rows and merges them."""
    similarity_atol: float | None = None
    """While actions are queued, an observation nearer than this to the last one sent is left out; None sends all."""


@dataclass(frozen=True, slots=True)
class StepsLatency:
    """The same latency for every request."""

    steps: int = 0
    """Control steps from capturing an observation to its chunk being usable."""


@dataclass(frozen=True, slots=True)
class UniformLatency:
    """A latency drawn uniformly for every request, rounded up to whole control steps."""

    low_ms: float
    """Shortest, ms."""
    high_ms: float
    """Longest, ms."""

    def __post_init__(self) -> None:
        require(0 <= self.low_ms <= MAX_LATENCY_MS, "execution.latency.uniform.low_ms", "0 to 600000", self.low_ms)
        expected = f"{self.low_ms:g} (low_ms) to 600000"
        require(
            self.low_ms <= self.high_ms <= MAX_LATENCY_MS, "execution.latency.uniform.high_ms", expected, self.high_ms
        )


@dataclass(frozen=True, slots=True)
class LognormalLatency:
    """A latency drawn from a lognormal distribution for every request, rounded up to whole control steps."""

    median_ms: float
    """Half of all requests take longer, ms."""
    p95_ms: float
    """One in twenty requests takes longer, ms."""

    def __post_init__(self) -> None:
        require(
            0 < self.median_ms <= MAX_LATENCY_MS, "execution.latency.lognormal.median_ms", "above 0", self.median_ms
        )
        expected = f"{self.median_ms:g} (median_ms) to 600000"
        require(
            self.median_ms <= self.p95_ms <= MAX_LATENCY_MS, "execution.latency.lognormal.p95_ms", expected, self.p95_ms
        )


@dataclass(frozen=True, slots=True)
class RecordedLatency:
    """Latencies that were measured, replayed in their order."""

    values_ms: tuple[float, ...]
    """Milliseconds, one per request."""


LatencySection = StepsLatency | UniformLatency | LognormalLatency | RecordedLatency
"""Every kind of virtual latency, resolved."""


@dataclass(frozen=True, slots=True)
class ScriptedPolicy:
    """What every policy that ships with ray-eval can be told."""

    chunk_len: int = 10
    """Rows of an answer, 1 to 1000."""
    images: bool = True
    """Whether it asks for the camera images, unseen, so that a run costs what a vision policy's would."""
    cameras: tuple[str, ...] | None = None
    """Observation keys of those cameras; null takes those that are usual there."""
    action_low: tuple[float, ...] | None = None
    """Smallest value of each component of an action, infinite where there is none; null takes the simulator's."""
    action_high: tuple[float, ...] | None = None
    """Largest value of each component; null takes the simulator's."""

    def __post_init__(self) -> None:
        require(1 <= self.chunk_len <= 1000, "policy.chunk_len", "1 to 1000", self.chunk_len)
        low, high = self.action_low, self.action_high
        both = low is None or high is None or len(low) == len(high)
        require(both, "policy.action_high", "as many numbers as policy.action_low", high)

    @property
    def action_dim(self) -> int:
        """Components of an action; LIBERO's seven where nobody says it."""
        return len(self.action_low or self.action_high or (0,) * 7)


@dataclass(frozen=True, slots=True)
class OraclePolicy(ScriptedPolicy):
    """A scripted expert that reads the privileged state."""


@dataclass(frozen=True, slots=True)
class ExpertPolicy(ScriptedPolicy):
    """The scripted experts that the simulator's own package brings along."""

    chunk_len: int = 1
    """Rows of an answer: they look at every step."""
    images: bool = False
    """Whether it asks for the camera images, unseen."""
    simulator: str | None = None
    """The simulator; null takes the run's."""
    python: str | None = field(default=None, metadata=COMMAND)
    """Interpreter that the experts run in, with the simulator's package; null takes `simulator.python`."""

    def __post_init__(self) -> None:
        # The two-argument form: a class with slots is made anew, and the short one would name the old one.
        super(ExpertPolicy, self).__post_init__()
        require(self.chunk_len == 1, "policy.chunk_len", "1, as an expert looks at every step", self.chunk_len)


@dataclass(frozen=True, slots=True)
class NoopPolicy(ScriptedPolicy):
    """The env's own no-op, at every step."""


@dataclass(frozen=True, slots=True)
class RandomPolicy(ScriptedPolicy):
    """Uniform actions within the simulator's bounds, drawn from the request's noise seed."""


@dataclass(frozen=True, slots=True)
class FakePolicySection(ScriptedPolicy):
    """The solver of the fake suite, for tests."""


@dataclass(frozen=True, slots=True)
class ReplayPolicy(ScriptedPolicy):
    """Recorded actions, (T, A) per episode, the last one repeating."""

    path: str = field(default="", metadata=PATH)
    """Folder of `<suite>/<task_id>/<init_state_id>.npy`."""

    def __post_init__(self) -> None:
        # The two-argument form: a class with slots is made anew, and the short one would name the old one.
        super(ReplayPolicy, self).__post_init__()
        require(bool(self.path), "policy.path", "a folder of recorded actions", self.path)


@dataclass(frozen=True, slots=True)
class LivePolicySection:
    """A policy object of the program that calls `ray_eval.evaluate`, served from there."""

    NOT_THERE: ClassVar[str] = (
        "policy.type=live: expected an object of a Python program, got none; a command line has no such object: call "
        "ray_eval.evaluate(..., policy=object)"
    )
    """What is to be said where there is no such object."""

    name: str = ""
    """The name in its spec."""


class Kwargs(dict[str, Any]):
    """Keyword arguments of a user's own function: texts as they were written, or values of JSON's types."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(repr(sorted(self.items())))


class Names(dict[str, str]):
    """Another's names, by ours; ours may have dots."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted(self.items())))


@dataclass(frozen=True, slots=True)
class TorchPolicySection:
    """A user's own torch policy: made by a factory, or a TorchScript or `torch.export` file without code."""

    entrypoint: str | None = None
    """`package.module:factory`; the factory returns an object with `spec` and `infer_batch`."""
    kwargs: Kwargs = field(default_factory=Kwargs)
    """The factory's arguments; a text is read by the type of the parameter that it goes to."""
    path: str | None = field(default=None, metadata=PATH)
    """With an entrypoint, weights that the factory gets as `state_dict`; else a `.pt` or `.pt2` module."""
    python: str | None = field(default=None, metadata=COMMAND)
    """Interpreter that the policy runs in, with torch installed; null takes the evaluator's own."""
    device: Device = "auto"
    """Where it runs; auto takes CUDA where it is. A factory gets it where it has a parameter `device`."""
    trust: bool = False
    """Whether the file may be unpickled, which runs whatever code it carries."""
    keys: tuple[str, ...] = ("observation.images.image", "observation.images.image2", "observation.state")
    """Inputs of a module without code, in order."""
    chunk_len: int = 10
    """Rows of such a module's answer."""
    action_dim: int = 7
    """Columns of such a module's answer."""
    image_size_px: int | None = None
    """Height and width of such a module's images; null takes the protocol's."""
    n_obs_steps: int = 1
    """Consecutive observations that such a module gets, oldest first, behind the batch axis."""
    noise_shape: tuple[int, ...] = ()
    """Shape per row of such a module's last input, standard normal from the request's seed; empty for none."""
    state_dim: int | None = None
    """Components of `observation.state` that the policy reads; null takes what a factory says, else the protocol's."""

    def __post_init__(self) -> None:
        require(
            bool(self.entrypoint or self.path),
            "policy.entrypoint",
            "package.module:factory, or policy.path=FILE.pt of a TorchScript or torch.export module",
            self.entrypoint,
        )
        parts = (self.entrypoint or "module:factory").partition(":")
        require(all(parts), "policy.entrypoint", "package.module:factory, with a ':' between them", self.entrypoint)
        require(1 <= self.chunk_len <= 1000, "policy.chunk_len", "1 to 1000", self.chunk_len)
        require(1 <= self.action_dim <= 1000, "policy.action_dim", "1 to 1000", self.action_dim)
        require(1 <= self.n_obs_steps <= 100, "policy.n_obs_steps", "1 to 100", self.n_obs_steps)
        dim = self.state_dim
        require(dim is None or 1 <= dim <= 1000, "policy.state_dim", "null or 1 to 1000", dim)


@dataclass(frozen=True, slots=True)
class CameraNames:
    """What a checkpoint calls LIBERO's cameras, where it does not call them as LIBERO does."""

    image: str | None = None
    """Its name of the agentview camera, with or without `observation.images.` before it."""
    image2: str | None = None
    """Its name of the wrist camera."""


@dataclass(frozen=True, slots=True)
class RtcSection:
    """Real-time chunking: a chunk is made to go on from what is left of the one before it."""

    enabled: bool | None = None
    """Whether it is done; null takes the checkpoint's word."""
    execution_horizon: int | None = None
    """Steps from the present one that the last chunk's rest guides; null takes the checkpoint's, else LeRobot's 10."""
    max_guidance_weight: float | None = None
    """Most that the guidance weighs in a denoising step; null takes the checkpoint's, else LeRobot's 10."""
    prefix_attention_schedule: PrefixSchedule | None = None
    """How the guidance falls off from the delay to the horizon; null takes the checkpoint's, else LeRobot's linear."""

    def __post_init__(self) -> None:
        horizon, weight = self.execution_horizon, self.max_guidance_weight
        require(horizon is None or 1 <= horizon <= 1000, "policy.rtc.execution_horizon", "null or 1 to 1000", horizon)
        require(weight is None or weight > 0, "policy.rtc.max_guidance_weight", "null or above 0", weight)
        settings = (horizon, weight, self.prefix_attention_schedule)
        if self.enabled is False and any(setting is not None for setting in settings):
            raise ConfigError("policy.rtc.enabled=false: expected no other policy.rtc setting beside it, got one")


@dataclass(frozen=True, slots=True)
class LeRobotPolicySection:
    """A checkpoint of LeRobot, run by LeRobot's own code."""

    path: str = field(default="", metadata=CHECKPOINT)
    """Folder of the checkpoint (the one with config.json), or its id on the hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub; null takes the newest."""
    python: str | None = field(default=None, metadata=COMMAND)
    """Interpreter that the policy runs in, with LeRobot installed; null takes the evaluator's own."""
    device: Device = "auto"
    """Where it runs; auto takes CUDA where it is."""
    dtype: NumberFormat = "checkpoint"
    """Number format of the forward; checkpoint takes what config.json says."""
    compile: bool | Literal["checkpoint"] = "checkpoint"
    """Whether the network goes through `torch.compile`; checkpoint takes what config.json says."""
    rename: CameraNames = CameraNames()
    """The checkpoint's names of the cameras."""
    absent: tuple[str, ...] = ()
    """Cameras of the checkpoint that are left out, for policies that fill in what is absent."""
    keys: tuple[str, ...] | None = None
    """Observation keys that it may be fed with; null takes the simulator's."""
    temporal_ensemble: Literal["checkpoint", "off"] = "checkpoint"
    """ACT's averaging over chunks, where the checkpoint has it; off executes whole chunks instead."""
    rtc: RtcSection = RtcSection()
    """Real-time chunking, for the policies that offer it."""

    def __post_init__(self) -> None:
        require(bool(self.path), "policy.path", "a checkpoint's folder or an id on the hub", self.path)


_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://(.*)", re.DOTALL)


def _require_address(address: str, schemes: tuple[str, ...]) -> None:
    """Refuses what is no address of such a server, with what to write."""
    scheme = _SCHEME.fullmatch(address)
    if scheme is not None and scheme[1].lower() not in schemes:
        plain = scheme[2].split("/", 1)[0]
        others = f", {' or '.join(f'{each}://' for each in schemes)} before it at most" if schemes else ""
        raise ConfigError(
            f"policy.addresses: expected host:port each{others}, got {address!r}; write {plain or 'host:port'}"
        )
    if scheme is None and address.startswith("unix:") and len(address) > len("unix:") and "unix" in schemes:
        return
    authority = (scheme[2] if scheme else address).split("/", 1)[0]
    port = re.fullmatch(r"(?:\[[0-9a-fA-F:.%]+\]|[^\s/\[\]:]+):(\d{1,5})", authority)
    # A URL has its scheme's port where it names none.
    has_default = scheme is not None and scheme[1].lower() in ("ws", "wss", "http", "https") and ":" not in authority
    is_right = has_default or (port is not None and 1 <= int(port[1]) <= 65535)
    require(is_right and " " not in address, "policy.addresses", "host:port each", address)


@dataclass(frozen=True, slots=True)
class RemoteSection:
    """What every policy on another server is told."""

    SCHEMES: ClassVar[tuple[str, ...]] = ()
    """What may stand before an address, `://` behind it."""

    addresses: tuple[str, ...] = field(default=(), metadata=ADDRESS)
    """Servers that answer alike, `host:port` each; the least loaded is asked."""
    timeout_s: float = 30.0
    """Longest wait for one answer, reconnects included."""
    connections: int = 1
    """Most requests under way at one address."""
    token_file: str | None = field(default=None, metadata=PATH)
    """File of the token that the servers ask for."""
    chunk_len: int | None = None
    """Rows of an answer; null asks the server."""
    action_dim: int = 7
    """Columns of an answer, where `chunk_len` is given."""
    image_size_px: int | None = None
    """Height and width of the images sent; null takes the protocol's."""
    state_dim: int | None = None
    """Components of `observation.state` that the policy reads; null takes the protocol's."""
    first_timeout_s: float = 600.0
    """Longest wait for the first answer of a server that has just started, which may load weights and compile."""
    ignore_metadata: tuple[str, ...] = ()
    """Keys of what a server says of itself that may change while its policy stays the same."""

    def __post_init__(self) -> None:
        require(
            bool(self.addresses), "policy.addresses", "one or several, for instance [127.0.0.1:8000]", self.addresses
        )
        for address in self.addresses:
            _require_address(address, self.SCHEMES)
        require(0 < self.timeout_s <= 3600, "policy.timeout_s", "above 0, to 3600", self.timeout_s)
        first_s = self.first_timeout_s
        require(0 < first_s <= 86_400, "policy.first_timeout_s", "above 0, to 86400", first_s)
        require(1 <= self.connections <= 4096, "policy.connections", "1 to 4096", self.connections)
        rows = self.chunk_len
        require(rows is None or 1 <= rows <= 1000, "policy.chunk_len", "null or 1 to 1000", rows)
        require(1 <= self.action_dim <= 1000, "policy.action_dim", "1 to 1000", self.action_dim)
        dim = self.state_dim
        require(dim is None or 1 <= dim <= 1000, "policy.state_dim", "null or 1 to 1000", dim)


@dataclass(frozen=True, slots=True)
class KservePolicySection(RemoteSection):
    """A server of the Open Inference Protocol over gRPC: ours, Triton, KServe, MLServer."""

    SCHEMES: ClassVar[tuple[str, ...]] = ("grpc", "unix")

    connections: int = 16
    """Most requests under way at one address."""
    model: str | None = None
    """The model's name at the server; null is the only one of a ray-eval server."""
    certificate: str | None = field(default=None, metadata=PATH)
    """File of the certificate that the servers must present, PEM; null speaks no TLS."""
    keys: tuple[str, ...] = ()
    """Observation keys that the model reads, where the server does not say it itself."""
    rename: Names = field(default_factory=Names)
    """The model's names of tensors, by ours (observation keys, `task`, `action`)."""
    datatypes: Names = field(default_factory=Names)
    """Datatypes of inputs (FP16, BF16 ...) by our names, where the server declares none."""
    texts: Names = field(default_factory=Names)
    """Constant texts for further BYTES inputs, by the model's names."""
    contents: Literal["raw", "typed"] | None = None
    """How numbers are sent: as bytes or in typed fields; null sends bytes, and typed fields to whom refuses them."""
    batch_axis: bool | None = None
    """Whether inputs have a batch axis before the observation's own; null takes what the server declares, else true."""


@dataclass(frozen=True, slots=True)
class OpenpiPolicySection(RemoteSection):
    """openpi's websocket server, `serve_policy.py` as it stands."""

    SCHEMES: ClassVar[tuple[str, ...]] = ("ws", "wss")

    keys: tuple[str, ...] = ("observation.images.image", "observation.images.image2", "observation.state")
    """Observation keys that are sent."""
    rename: Names = field(default_factory=Names)
    """The server's names, by ours (observation keys, `task`, `action`), where they are not those of openpi's LIBERO
    configurations; `action` may be a way within envelopes, `data.actions`."""


@dataclass(frozen=True, slots=True)
class StarVlaServerSection(RemoteSection):
    """starVLA's websocket server, `deployment/model_server/server_policy.py` as it stands."""

    SCHEMES: ClassVar[tuple[str, ...]] = ("ws", "wss")

    keys: tuple[str, ...] = ("observation.images.image", "observation.images.image2")
    """Observation keys that are sent: cameras in the order of the training, and the state if it is read."""
    rename: Names = field(default_factory=Names)
    """Where the actions are, by `action`, if they are not in `data.actions`."""
    unnorm_key: str | None = None
    """Data set whose statistics bring the actions back; null takes the server's."""
    num_ddim_steps: int = 10
    """Denoising steps; heads that do not denoise leave it out."""

    def __post_init__(self) -> None:
        super(StarVlaServerSection, self).__post_init__()
        require(1 <= self.num_ddim_steps <= 1000, "policy.num_ddim_steps", "1 to 1000", self.num_ddim_steps)


@dataclass(frozen=True, slots=True)
class GrootServerSection(RemoteSection):
    """GR00T's ZeroMQ server, `run_gr00t_server.py` as it stands."""

    SCHEMES: ClassVar[tuple[str, ...]] = ("tcp",)

    layout: Literal["flat", "nested", "n1_5"] | None = None
    """How observations are laid out: `flat` for a server with --use-sim-policy-wrapper, `nested` for one without,
    `n1_5` for GR00T N1.5's; null tries them."""
    rename: Names = field(default_factory=Names)
    """The server's names, by ours (cameras, `task`), where they are not those of GR00T's LIBERO configuration."""


@dataclass(frozen=True, slots=True)
class XvlaServerSection(RemoteSection):
    """X-VLA's HTTP server, `deploy.py` as it stands."""

    SCHEMES: ClassVar[tuple[str, ...]] = ("http", "https")

    domain_id: int = 3
    """Embodiment; 3 is LIBERO's."""
    denoising_steps: int = 10
    """Steps of the flow from noise to actions."""

    def __post_init__(self) -> None:
        super(XvlaServerSection, self).__post_init__()
        require(0 <= self.domain_id <= 1000, "policy.domain_id", "0 to 1000", self.domain_id)
        require(1 <= self.denoising_steps <= 1000, "policy.denoising_steps", "1 to 1000", self.denoising_steps)


@dataclass(frozen=True, slots=True)
class VlaEvalPolicySection(RemoteSection):
    """A model server of vla-eval, as it stands."""

    SCHEMES: ClassVar[tuple[str, ...]] = ("ws", "wss")

    connections: int = 256
    """Most episodes under way; each has a connection of its own."""
    keys: tuple[str, ...] = ()
    """Observation keys that are sent; empty sends what the server asks for in its greeting."""


@dataclass(frozen=True, slots=True)
class LeRobotServerPolicySection(RemoteSection):
    """LeRobot's `async_inference.policy_server`, unchanged; it unpickles what it is sent."""

    SCHEMES: ClassVar[tuple[str, ...]] = ("grpc",)

    trust: bool = False
    """Whether pickles may be exchanged with the servers: whoever reaches such a server can run code in it."""
    policy_type: str = "act"
    """LeRobot's name of the policy's type."""
    path: str = ""
    """The checkpoint's folder on the server's machine, or its id on the hub."""
    device: str = "cpu"
    """Device that the server is told to use."""
    keys: tuple[str, ...] = ("observation.images.image", "observation.images.image2", "observation.state")
    """Observation keys that are sent."""
    rename: Names = field(default_factory=Names)
    """The checkpoint's observation keys, by ours."""

    def __post_init__(self) -> None:
        super(LeRobotServerPolicySection, self).__post_init__()
        require(bool(self.path), "policy.path", "a checkpoint's folder on the server, or an id on the hub", self.path)


PolicySection = (
    OraclePolicy
    | ExpertPolicy
    | NoopPolicy
    | RandomPolicy
    | FakePolicySection
    | ReplayPolicy
    | LivePolicySection
    | TorchPolicySection
    | LeRobotPolicySection
    | KservePolicySection
    | OpenpiPolicySection
    | VlaEvalPolicySection
    | LeRobotServerPolicySection
    | StarVlaServerSection
    | GrootServerSection
    | XvlaServerSection
)
"""Every policy type's own settings."""

POLICY_TYPES: Mapping[str, type[PolicySection]] = MappingProxyType(
    {
        "oracle": OraclePolicy,
        "expert": ExpertPolicy,
        "noop": NoopPolicy,
        "random": RandomPolicy,
        "replay": ReplayPolicy,
        "fake": FakePolicySection,
        "live": LivePolicySection,
        "torch": TorchPolicySection,
        "lerobot": LeRobotPolicySection,
        "kserve": KservePolicySection,
        "openpi": OpenpiPolicySection,
        "vla_eval": VlaEvalPolicySection,
        "lerobot_server": LeRobotServerPolicySection,
        "starvla_server": StarVlaServerSection,
        "groot_server": GrootServerSection,
        "xvla_server": XvlaServerSection,
    }
)
"""Policy settings by `policy.type`."""


@dataclass(frozen=True, slots=True)
class BatchingSection:
    """How requests are gathered into forwards."""

    determinism: Determinism = "reproducible"
    """Whether answers are to be the same bytes whatever shares a forward, or as many as possible."""
    batch_size: int = 1
    """Rows of every forward in reproducible mode, unless the policy is `batch_invariant`."""
    threads: int = 1
    """Threads of the policy's linear algebra; their number changes bits."""
    max_batch_size: int = 64
    """Most requests in one forward, in throughput mode or of a `batch_invariant` policy."""
    max_queue: int = 4096
    """Requests waiting before new ones are refused with RESOURCE_EXHAUSTED."""
    slowdown_ms: tuple[float, float] | None = None
    """Shortest and longest of the random pauses before each forward; None makes none."""

    def __post_init__(self) -> None:
        require(1 <= self.batch_size <= 4096, "serving.batch_size", "1 to 4096", self.batch_size)
        require(1 <= self.threads <= 1024, "serving.threads", "1 to 1024", self.threads)
        require(1 <= self.max_batch_size <= 4096, "serving.max_batch_size", "1 to 4096", self.max_batch_size)
        if self.determinism == "throughput" and self.batch_size != 1:
            raise ConfigError(
                "serving.batch_size: expected nothing in throughput mode, where batches have the sizes that come; "
                "drop it, or limit them by serving.max_batch_size"
            )
        require(1 <= self.max_queue <= 1_000_000, "serving.max_queue", "1 to 1000000", self.max_queue)


@dataclass(frozen=True, slots=True)
class ListenSection:
    """Where a policy server listens, and who may ask."""

    address: str
    """`unix:/path`, `127.0.0.1:8000`, `0.0.0.0:8000`; port 0 takes a free one."""
    token: str | None = None
    """Bearer token that every call but health must carry; None asks for none (loopback and unix sockets only)."""
    certificate_pem: bytes | None = None
    """Server certificate; with the key, TLS is spoken."""
    private_key_pem: bytes | None = None
    """Key of the certificate."""


@dataclass(frozen=True, slots=True)
class ConnectSection:
    """How a client reaches a policy server."""

    address: str
    """`unix:/path` or `host:port`."""
    token: str | None = None
    """Bearer token, when the server asks for one."""
    certificate_pem: bytes | None = None
    """Certificate that the server must present; None speaks no TLS."""
    infer_timeout_s: float = 60.0
    """Longest that the server may answer nobody while a request waits, reconnects included."""

"""The values that travel between driver, workers and policy; immutable, and free of every other package but NumPy."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

IMAGE = "observation.images.image"
"""Key of the agentview camera: (H, W, 3) uint8 RGB."""
WRIST_IMAGE = "observation.images.image2"
"""Key of the wrist camera (robot0_eye_in_hand): (H, W, 3) uint8 RGB."""
STATE = "observation.state"
"""Key of the proprioceptive state: (D,) float32, D = 8 in LIBERO's usual format."""
ENVIRONMENT_STATE = "observation.environment_state"
"""Key of the privileged state: (K,) float32, see `Observation.environment_names`."""
ACTION = "action"
"""Key of the answer: (H, A) float32."""

IMAGE_PREFIX = "observation.images."
"""Begins the key of every camera: `observation.images.<camera>`, (H, W, 3) uint8 RGB."""
SINGLE_IMAGE = "observation.image"
"""Key of the camera of a simulator with one, as LeRobot's PushT and Meta-World have it."""
IMAGE_KEYS = (IMAGE, WRIST_IMAGE)
"""LIBERO's cameras."""
OBSERVATION_KEYS = (IMAGE, WRIST_IMAGE, STATE, ENVIRONMENT_STATE)
"""What LIBERO delivers."""
KEY_FORMS = "observation.images.<camera>, observation.image, observation.state, observation.environment_state"
"""Every key that an observation can have, in words."""

POSE_SIZE = 7
"""Numbers per body in the privileged state: x y z (m), qw qx qy qz, world frame."""
POLICY_STATE_LIMIT_BYTES = 64 * 1024
"""Largest `policy_state` that a policy may hand back with a chunk."""

Array = NDArray[Any]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EpisodeSpec:
    """One task from one init state, run once: the whole input of an episode's pure function."""

    suite: str
    """LIBERO's suite name, for instance `libero_object`."""
    task_id: int
    """Index of the task within its suite."""
    init_state_id: int
    """Index of the stored simulator state that the episode starts from."""
    env_seed: int
    """Seed of the environment's random numbers, applied before every reset."""
    max_steps: int
    """Budget in control steps; settle steps are not counted."""
    seed: int = 0
    """Root of the noise and latency seeds."""
    repeat: int = 0
    """Index of the repetition of the same task and init state."""

    @property
    def episode_id(self) -> str:
        """`suite/task_id/init_state_id`, with `/repeat` behind it from the first repetition on."""
        name = f"{self.suite}/{self.task_id}/{self.init_state_id}"
        return f"{name}/{self.repeat}" if self.repeat else name


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What a policy is asked about: the env's arrays and the request's own identity.

    With `n_obs_steps` > 1 every image and state array has a leading axis of that length, oldest first.
    """

    arrays: Mapping[str, Array]
    """Arrays by LeRobot key; exactly the keys that the policy's spec asks for."""
    task: str
    """The instruction in words."""
    suite: str = ""
    """Suite of the episode; empty when unknown to the client."""
    task_id: int = 0
    """Index of the task within its suite."""
    init_state_id: int = 0
    """Index of the init state."""
    repeat: int = 0
    """Repetition of the episode."""
    step: int = 0
    """Control step, counted from 0 after settling, before which this was captured."""
    noise_seed: int = 0
    """Seed of whatever the policy draws for this request, in [0, 2**63)."""
    environment_names: tuple[str, ...] = ()
    """Names beside `observation.environment_state`: one per body (7 numbers each), then one per joint."""
    policy_state: bytes = b""
    """What the policy handed back with the previous chunk of this episode; empty at its first request."""
    action_raw: Array | None = None
    """(L, R) float32: the rows of the previous chunk's `action_raw` that are for this step and later; None where the
    policy takes no prefix, at an episode's first request, and when no such row is left."""
    delay_steps: int = 0
    """Control steps until the answer will be usable: of the prefix, as many rows will be executed before it."""


@dataclass(frozen=True, slots=True, eq=False)
class ActionChunk:
    """A policy's answer to one observation."""

    actions: Array
    """(H, A) float32; row i is for step `Observation.step` + i."""
    policy_state: bytes = b""
    """The policy's memory, handed back with the next request; at most 64 KiB."""
    action_raw: Array | None = None
    """(H, R) float32: the actions before the policy's own post-processing, of which it wants the rest back with the
    next request; None where it takes no prefix."""


@dataclass(frozen=True, slots=True)
class TrainingRange:
    """What a checkpoint's statistics say of one of its inputs, or of its action."""

    key: str
    """Observation key, or `action`."""
    low: tuple[float, ...]
    """Smallest value of each component in the training data; of an image one per channel, in [0, 1]."""
    high: tuple[float, ...]
    """Largest value of each component."""
    source: str
    """What the two were taken from: `min, max`, `q01, q99` or `mean, std`."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrainingRange:
        """The range as `PolicySpec.to_json` wrote it."""
        return cls(**{**values, "low": tuple(values["low"]), "high": tuple(values["high"])})


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """What a policy needs and what it answers; travels as JSON in the server's metadata."""

    name: str
    """Short name, shown in logs and in the dashboard."""
    keys: tuple[str, ...]
    """Observation keys that the policy reads; nothing else is rendered or sent."""
    chunk_len: int
    """Rows of an answer."""
    action_dim: int = 7
    """Columns of an answer."""
    n_obs_steps: int = 1
    """Consecutive observations that one request carries."""
    image_size_px: int | None = None
    """Height and width of the images; None takes the protocol's."""
    replan_steps: int | None = None
    """What the checkpoint says it executes of a chunk; None where it says nothing."""
    takes_prefix: bool = False
    """Whether it goes on from the unexecuted rest of its previous chunk (real-time chunking)."""
    batch_invariant: bool = False
    """Whether a row's answer is bitwise the same whatever else is in its batch."""
    digest: str | None = None
    """SHA-256 of whatever the policy was loaded from; None where it was loaded from nothing."""
    state_dim: int | None = None
    """Components of `observation.state` that the policy reads; None takes whatever the protocol delivers."""
    runtime: Mapping[str, str] = field(default_factory=dict)
    """What computes the answers and may change them: versions, kind of device, number format; empty where it is
    ray-eval's own arithmetic."""
    ranges: tuple[TrainingRange, ...] = ()
    """Ranges of the training data, where the checkpoint carries statistics."""
    remarks: tuple[str, ...] = ()
    """What was noticed when the policy was loaded, and a reader of the result should know."""
    is_reproducible: bool = True
    """Whether the same observation, seed included, gets the same bytes again; not where a server draws its own noise
    or remembers requests, and not in throughput mode."""
    is_noop: bool = False
    """Whether the env's no-op is executed in the place of each of its actions."""
    control: str | None = None
    """How its actions are meant, as `ActionSpec.control` says it; None takes the env's word."""
    control_hz: float | None = None
    """Control steps per second that it was trained at; None takes the env's."""
    version: str = field(init=False, repr=False, compare=False)
    """Short name of all this but the remarks, 16 hexadecimal digits: requests and answers carry it, so that a server
    that has come to serve something else is found out."""

    def __post_init__(self) -> None:
        """Computes the version."""
        told = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.init}
        del told["remarks"]
        text = json.dumps(told, sort_keys=True, default=_jsonable)
        object.__setattr__(self, "version", hashlib.sha256(text.encode()).hexdigest()[:16])

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON values."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "version"}

    def described(self) -> str:
        """What it is a spec of, for a person: name, version, digest and runtime."""
        loaded = f", SHA-256 {self.digest[:12]}" if self.digest else ""
        runtime = "".join(f", {name} {value}" for name, value in sorted(self.runtime.items()))
        return f"{self.name!r} (version {self.version}{loaded}{runtime})"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PolicySpec:
        """The spec that `to_json` wrote.

        Raises:
            TypeError: a field is missing or unknown.
        """
        lists = {"keys": tuple(values["keys"]), "remarks": tuple(values.get("remarks", ()))}
        ranges = tuple(TrainingRange.from_json(each) for each in values.get("ranges", ()))
        return cls(**{**values, **lists, "ranges": ranges})


def _jsonable(value: object) -> object:
    """Stands in for what JSON does not know; a spec that is none is refused elsewhere, with a reason."""
    return dataclasses.asdict(value) if isinstance(value, TrainingRange) else repr(value)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What the simulator says after one control step."""

    reward: float
    """The env's own reward of this step."""
    is_success: bool
    """Whether the task's goal holds at the end of this step."""
    is_over: bool = False
    """Whether the simulator has ended the episode by itself: it is not stepped again, and without success it failed."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a package, or a folder of data, is in one process, and what it is."""

    place: str
    """Its folder, or its file where it is a single one; empty where there is none."""
    digest: str = ""
    """Digest of its Python files and compiled libraries by their names within it: equal for equal installations in
    different places. Empty where there is none, and for data."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What one process would make episodes of."""

    origins: Mapping[str, Origin]
    """By package or folder."""
    identity: Mapping[str, Any]
    """What else decides the numbers, by key: `Simulator.identity`."""


@dataclass(frozen=True, slots=True)
class Canary:
    """SHA-256 of what a machine makes of fixed inputs, by part; equal where results are interchangeable."""

    physics: str
    """[time, qpos, qvel] of a small scene after each of 20 control steps."""
    linear_algebra: str
    """The controller's matrices and torques, and NumPy's own functions."""
    pixels: str | None
    """One image; None where nothing is rendered."""

    @property
    def digest(self) -> str:
        """One short name for all parts, 16 hexadecimal digits."""
        return hashlib.sha256(repr(dataclasses.astuple(self)).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Perturbed:
    """What a task is a perturbation of."""

    base_suite: str
    """Suite of the unperturbed task, by whose name a protocol knows its budget."""
    axis: str = ""
    """What is perturbed; empty for a control."""
    level: int | None = None
    """By how much, as the benchmark counts it."""
    control: tuple[str, int] | None = None
    """Suite and id of the unperturbed task that is run beside; None for a control, and where none are wanted."""


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """One task as a plan sees it."""

    suite: str
    """Name of its suite."""
    task_id: int
    """Index within the suite."""
    name: str
    """The task's name."""
    instruction: str
    """The task in words."""
    perturbed: Perturbed | None = None
    """What it is a perturbation of; None where it is a task of its own."""


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """One camera of an env."""

    key: str
    """`observation.images.<camera>` or `observation.image`: the key that its image has in an observation."""
    name: str
    """The simulator's own name of it."""
    height_px: int
    """Height of the image that it delivers unless the protocol says another."""
    width_px: int
    """Width of that image."""
    orientation: str = "upright"
    """Which way up the delivered array is, in words: `upright`, `rotated by 180 degrees, as in the training data`."""
    is_resizable: bool = True
    """Whether it is rendered at whatever size is asked for; else images of another size are resized from its own."""
    is_usual: bool = True
    """Whether policies that look at nothing in particular ask for it; not for the further ones of many cameras."""


@dataclass(frozen=True, slots=True)
class VectorSpec:
    """A vector that an env delivers, by its components."""

    names: tuple[str, ...]
    """One name per component, in order; their number is the vector's length."""
    unit: str = ""
    """Unit of the components, or what they are; empty where each name says it."""


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """What an env executes in one control step."""

    names: tuple[str, ...]
    """What each component commands, in order; their number is the action's dimension."""
    low: tuple[float, ...]
    """Smallest value of each component that is meant to be sent; -inf where nothing says it."""
    high: tuple[float, ...]
    """Largest value of each component; inf where nothing says it."""
    control: str
    """How a command is meant: `delta_pose`, `absolute_pose`, `absolute_joints`, or the simulator's own word. In the
    two first, components 0 to 2 are a translation and 3 to 5 a rotation vector."""
    is_clipped: bool
    """Whether the simulator itself limits what exceeds the bounds."""
    noop: str
    """What the no-op is, in words; `Env.noop_action` gives its numbers."""

    @property
    def dim(self) -> int:
        """Components of an action."""
        return len(self.names)


@dataclass(frozen=True, slots=True)
class EnvSpec:
    """What one task's env delivers and executes: the twin of `PolicySpec`; in the header and in the run's identity."""

    simulator: str
    """Name of the simulator."""
    cameras: tuple[CameraSpec, ...]
    """Every camera that a policy may ask for; none is drawn unasked."""
    state: VectorSpec | None
    """`observation.state`; None where the env has none."""
    action: ActionSpec
    """What it executes."""
    control_hz: float
    """Control steps per second of simulated time."""
    success: str
    """What success is, and when it is looked at, in words."""
    seeds: str
    """What `env_seed` decides and what the start state decides, in words."""
    environment_state: bool = False
    """Whether `observation.environment_state` can be asked for; its names are the env's `environment_names`."""
    max_steps: int | None = None
    """Budget in control steps where the protocol names none; None where it must name one."""
    most_steps: int | None = None
    """Longest budget that the simulator can run; None for any."""
    is_reproducible: bool = True
    """Whether it repeats an episode to the bit; a run of one that does not is marked."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Every observation key that a policy may ask for, cameras first."""
        cameras = tuple(camera.key for camera in self.cameras)
        vectors = ((STATE, self.state is not None), (ENVIRONMENT_STATE, self.environment_state))
        return (*cameras, *(key for key, is_there in vectors if is_there))

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON values; infinite bounds are null."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)), parse_constant=lambda _: None)
        return plain

    def identity(self) -> dict[str, Any]:
        """What of it changes results: names, sizes, dimensions, bounds, rate and control, and no words about them."""
        action = self.action
        bounds = [[_finite(low), _finite(high)] for low, high in zip(action.low, action.high, strict=True)]
        return {
            "simulator": self.simulator,
            "cameras": {each.key: [each.name, each.height_px, each.width_px] for each in self.cameras},
            "state": list(self.state.names) if self.state is not None else None,
            "action": list(action.names),
            "bounds": bounds,
            "control": action.control,
            "control_hz": self.control_hz,
        }


def _finite(value: float) -> float | None:
    return value if abs(value) != float("inf") else None


def is_image(key: str) -> bool:
    """Whether an observation key is a camera's."""
    return key == SINGLE_IMAGE or (key.startswith(IMAGE_PREFIX) and len(key) > len(IMAGE_PREFIX))


def is_observation_key(key: str) -> bool:
    """Whether an env can deliver something under the key."""
    return key in (STATE, ENVIRONMENT_STATE) or is_image(key)


class Outcome(enum.StrEnum):
    """How an episode ended."""

    SUCCESS = "success"
    """The env said so."""
    FAILURE = "failure"
    """The step budget was spent."""
    ERROR = "error"
    """Something of ours, or the machine, broke; says nothing about the policy."""


@dataclass(frozen=True, slots=True, eq=False)
class StepRecord:
    """One control step as the queue saw it."""

    step: int
    """The control step."""
    queue_length: int
    """Actions queued when the step's action is taken."""
    action: FloatArray
    """(A,) float64: the native action that was executed."""
    source: int | None
    """Index of the request whose chunk the action is from; None on an underrun."""
    label: int | None
    """The step that the action was planned for; None on an underrun."""
    is_aggregated: bool
    """Whether chunks overlapped there."""
    is_captured: bool
    """Whether an observation was captured for a request before this step."""
    is_filtered: bool
    """Whether an observation was captured before this step and left out by the filter."""


@dataclass(frozen=True, slots=True)
class Inside:
    """What happened between the chunk queue and the simulator in one episode."""

    queue_lengths: tuple[int, ...] = ()
    """Actions queued when each step's action was taken; one number per step."""
    request_span_steps: int = 0
    """Control steps from the first captured observation to the last one."""
    filtered_observations: int = 0
    """Observations that were captured and not sent because they were too similar to the last one."""
    seams: int = 0
    """Steps at which another chunk's action took over."""
    seam_jump_m_sum: float = 0.0
    """Sum over the seams of the distance between the commanded translations before and after, m."""
    seam_jump_m_max: float = 0.0
    """The largest of them, m."""
    seam_jump_rad_sum: float = 0.0
    """Sum over the seams of the angle between the commanded rotations before and after, rad."""
    seam_jump_rad_max: float = 0.0
    """The largest of them, rad."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """How well a machine held a rate of wall-clock time in one episode."""

    achieved_fps: float
    """Control steps per second."""
    missed_ticks: int
    """Steps that began more than half a period late."""


@dataclass(frozen=True, slots=True)
class Disturbed:
    """An object that a start state did not hold, before the policy's first action."""

    name: str
    """The simulator's name of the object."""
    how: str
    """`fell` from what it stood on, `toppled`, `moved` along it, or is `moving` still; the gravest that applies."""
    moved_m: float
    """Horizontal way while settling, m."""
    dropped_m: float
    """How much lower it ended, m."""
    tilted_rad: float
    """Change of tilt, turns about the vertical apart, rad."""
    speed_m_s: float
    """Linear speed when settling ended, m/s."""


@dataclass(frozen=True, slots=True)
class RecordedActions:
    """The native actions that an episode executed, in order: with its spec, the whole episode."""

    steps: int
    """How many."""
    dim: int
    """Components of each."""
    sha256: str
    """SHA-256 of them, little-endian float64: the episode's `actions_sha256`."""
    packed: bytes
    """Those bytes, row by row, by zlib."""

    @classmethod
    def of(cls, rows: Sequence[bytes]) -> RecordedActions:
        """Those of actions that are given as little-endian float64, each of one length."""
        raw = b"".join(rows)
        dim = len(rows[0]) // 8 if rows else 0
        return cls(len(rows), dim, hashlib.sha256(raw).hexdigest(), zlib.compress(raw, 1))

    def array(self) -> FloatArray:
        """(steps, dim) float64.

        Raises:
            ValueError: the bytes are not those that were recorded.
        """
        size = 8 * self.steps * self.dim
        try:
            raw = zlib.decompressobj().decompress(self.packed, size + 1)
        except zlib.error as error:
            raise ValueError(str(error)) from error
        if len(raw) != size or hashlib.sha256(raw).hexdigest() != self.sha256:
            raise ValueError("bytes of another SHA-256")
        return np.frombuffer(raw, "<f8").astype(np.float64).reshape(self.steps, self.dim)


@dataclass(frozen=True, slots=True)
class Timing:
    """Where an episode's time went, by the clock; changes no result."""

    reset_s: float = 0.0
    """Reaching the start state, settling included, s."""
    step_s: float = 0.0
    """Control steps, s."""
    observe_s: float = 0.0
    """Observations: rendering, resizing, reading the state, s."""


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """One line of the ledger: what happened in an episode's last attempt."""

    spec: EpisodeSpec
    """The episode."""
    outcome: Outcome
    """How it ended."""
    task: str = ""
    """LIBERO's name of the task."""
    steps: int = 0
    """Control steps executed, settling excluded."""
    reward_sum: float = 0.0
    """Sum of the env's rewards."""
    requests: int = 0
    """Observations captured and sent."""
    renders: int = 0
    """Camera images rendered for those observations."""
    underrun_steps: int = 0
    """Steps at which no action was queued, hold and noop."""
    waited_steps: int = 0
    """Steps for which the simulator was frozen (underrun: wait); not in `steps`."""
    stale_actions: int = 0
    """Rows of chunks whose step had passed when they arrived."""
    aggregated_actions: int = 0
    """Rows that met an action already queued for their step."""
    actions_sha256: str = ""
    """SHA-256 of the executed actions, little-endian float64."""
    trajectory_sha256: str = ""
    """SHA-256 of [time, qpos, qvel] after each control step, little-endian float64."""
    final_state_sha256: str = ""
    """SHA-256 of the last [time, qpos, qvel] alone."""
    inside: Inside | None = None
    """What happened at the queue; None for an error, and in ledgers that do not tell."""
    disturbed: tuple[Disturbed, ...] | None = None
    """Objects that the start state did not hold; None where nobody looked, as in older ledgers."""
    pacing: Pacing | None = None
    """How the rate was held, in realtime; None in virtual time."""
    infer_ms: tuple[float, ...] = field(default=(), compare=False)
    """Round-trip time of each request, in milliseconds."""
    wall_s: float = field(default=0.0, compare=False)
    """Wall-clock time of the attempt."""
    timing: Timing | None = field(default=None, compare=False)
    """Where it went; None for an error, and in ledgers that do not tell."""
    error: str | None = None
    """One line: what broke, and where; None unless the outcome is an error."""
    traceback: str | None = field(default=None, compare=False)
    """The traceback behind `error`."""
    canary: str = field(default="", compare=False)
    """Digest of the canary of the machine it ran on; empty where none was run."""
    is_retryable: bool = True
    """Whether another attempt may cure the error."""
    is_excused: bool = False
    """Whether it broke of what is no fault of the episode's: its policy did not answer, its network broke."""
    resident_bytes: int = field(default=0, compare=False)
    """Memory of the process that simulated, afterwards; 0 where nobody looked."""
    actions: RecordedActions | None = field(default=None, compare=False, repr=False)
    """What was executed, on its way to the run's folder; None where nobody keeps it, and once it is there."""

"""The frozen settings that each component receives: narrow, validated, free of every configuration library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ray_eval.errors import ConfigError

Resize = Literal["none", "pad_bilinear", "bilinear", "lanczos"]
StateFormat = Literal["libero_8d", "libero_8d_canonical", "controller_pose", "joints_gripper"]
GripperTransform = Literal["raw", "sign", "openvla", "starvla", "above_half"]
Control = Literal["delta", "absolute"]
InitStates = Literal["stored", "sampled"]
SettleAction = Literal["gripper_open", "zeros"]
GlBackend = Literal["auto", "egl", "osmesa"]
ExecutionMode = Literal["sync", "async"]
Underrun = Literal["hold", "noop", "wait"]
QueueKind = Literal["virtual"]


def shown(value: object, most_characters: int = 200) -> str:
    """A value as an error message shows it: its `repr`, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:
        # Python writes out no integer of more than 4300 digits.
        return "a number of thousands of digits"
    return text if len(text) <= most_characters else f"{text[:most_characters]}... ({len(text)} characters)"


def require(condition: bool, where: str, expected: str, got: object) -> None:
    """Raises ConfigError `where: expected ..., got ...` unless the condition holds."""
    if not condition:
        raise ConfigError(f"{where}: expected {expected}, got {shown(got)}")


@dataclass(frozen=True, slots=True)
class ImageRecipe:
    """How a camera image becomes what a policy sees; applied in the order of the fields."""

    render_size_px: int = 256
    """Height and width at which the cameras are rendered."""
    is_agentview_rotated: bool = True
    """Whether robosuite's agentview array is rotated by 180 degrees, as in the training data."""
    is_wrist_rotated: bool = True
    """Whether robosuite's wrist array is rotated by 180 degrees."""
    jpeg_quality: int | None = None
    """Quality of a JPEG round trip at the rendered size; None leaves it out."""
    resize: Resize = "none"
    """How the image is brought to `image_size_px`."""
    image_size_px: int = 256
    """Height and width delivered."""
    centre_crop_area: float | None = None
    """Share of the area kept by a centre crop that is then resized back; None leaves it out."""

    def __post_init__(self) -> None:
        require(16 <= self.render_size_px <= 2048, "images.render_size_px", "16 to 2048", self.render_size_px)
        require(16 <= self.image_size_px <= 2048, "images.image_size_px", "16 to 2048", self.image_size_px)
        if self.jpeg_quality is not None:
            require(1 <= self.jpeg_quality <= 100, "images.jpeg_quality", "1 to 100", self.jpeg_quality)
        if self.centre_crop_area is not None:
            require(0 < self.centre_crop_area <= 1, "images.centre_crop_area", "in (0, 1]", self.centre_crop_area)
        require(
            self.resize != "none" or self.image_size_px == self.render_size_px,
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
    """Treatment of both cameras."""
    state_format: StateFormat = "libero_8d"
    """Layout of `observation.state`."""


@dataclass(frozen=True, slots=True)
class EnvSettings:
    """Everything an env must know besides its task and the episode."""

    recipe: ObservationRecipe
    """What it delivers."""
    settle_steps: int = 10
    """Control steps of `settle_action` before step 0."""
    settle_action: SettleAction = "gripper_open"
    """`[0]*6 + [-1]`, or zeros."""
    gripper: GripperTransform = "raw"
    """What is done to the last component of a policy's action when it is executed."""
    control: Control = "delta"
    """OSC pose deltas, or absolute poses from the end of settling on."""
    init_states: InitStates = "stored"
    """LIBERO's stored init states, or whatever the seeded reset draws."""
    task_text: str | None = None
    """Instruction given to the policy instead of the task's own."""
    model_cache_bytes: int = 8_000_000_000
    """Most bytes that compiled models take on this machine's disk; 0 keeps none. A LIBERO task takes up to 250 MB."""


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
    latency_steps: int = 0
    """Control steps from capturing an observation to its chunk being usable."""


@dataclass(frozen=True, slots=True)
class ScriptedPolicy:
    """What every policy that ships with ray-eval can be told."""

    chunk_len: int = 10
    """Rows of an answer, 1 to 1000."""
    images: bool = True
    """Whether it asks for both camera images, unseen, so that a run costs what a vision policy's would."""

    def __post_init__(self) -> None:
        require(1 <= self.chunk_len <= 1000, "policy.chunk_len", "1 to 1000", self.chunk_len)


@dataclass(frozen=True, slots=True)
class OraclePolicy(ScriptedPolicy):
    """A scripted expert that reads the privileged state."""


@dataclass(frozen=True, slots=True)
class NoopPolicy(ScriptedPolicy):
    """Zero motion with the gripper open."""


@dataclass(frozen=True, slots=True)
class RandomPolicy(ScriptedPolicy):
    """Uniform actions in [-1, 1], drawn from the request's noise seed."""


@dataclass(frozen=True, slots=True)
class FakePolicySection(ScriptedPolicy):
    """The solver of the fake suite, for tests."""


@dataclass(frozen=True, slots=True)
class ReplayPolicy(ScriptedPolicy):
    """Recorded actions, (T, 7) per episode, the last one repeating."""

    path: str = ""
    """Folder of `<suite>/<task_id>/<init_state_id>.npy`."""

    def __post_init__(self) -> None:
        # The two-argument form: a class with slots is made anew, and the short one would name the old one.
        super(ReplayPolicy, self).__post_init__()
        require(bool(self.path), "policy.path", "a folder of recorded actions", self.path)


PolicySection = OraclePolicy | NoopPolicy | RandomPolicy | FakePolicySection | ReplayPolicy
"""Every policy type's own settings."""


@dataclass(frozen=True, slots=True)
class BatchingSection:
    """How requests are gathered into forwards."""

    max_batch_size: int = 64
    """Most requests in one forward."""
    max_queue: int = 4096
    """Requests waiting before new ones are refused with RESOURCE_EXHAUSTED."""

    def __post_init__(self) -> None:
        require(1 <= self.max_batch_size <= 4096, "serving.max_batch_size", "1 to 4096", self.max_batch_size)
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
    """Longest wait for one answer, reconnects included."""

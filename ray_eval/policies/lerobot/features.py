"""Which of a simulator's observations go to which inputs of a checkpoint; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray_eval.errors import ConfigError, did_you_mean
from ray_eval.types import IMAGE, IMAGE_KEYS, OBSERVATION_KEYS, STATE, WRIST_IMAGE

_CAMERAS = "observation.images."
_EMPTY_CAMERA = f"{_CAMERAS}empty_camera"


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of a checkpoint."""

    name: str
    """Its key in the checkpoint."""
    is_image: bool
    """Whether it is a camera."""
    shape: tuple[int, ...]
    """(channels, height, width) of an image, else (components,)."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """Every input of a checkpoint that is fed, with the key that feeds it."""

    sources: Mapping[str, str]
    """Key of the observation by name of the input, in the checkpoint's order."""
    features: tuple[Feature, ...]
    """The inputs that are fed."""
    remarks: tuple[str, ...] = ()
    """What a reader of the result should know."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Observation keys: LIBERO's in their order, then others in the checkpoint's."""
        wanted = tuple(self.sources.values())
        known = tuple(key for key in OBSERVATION_KEYS if key in wanted)
        return (*known, *(key for key in wanted if key not in known))

    @property
    def image_size_px(self) -> int | None:
        """Height and width of the images where all are square and of one size."""
        sizes = {feature.shape[1:] for feature in self.features if feature.is_image}
        height, width = sizes.pop() if len(sizes) == 1 else (0, -1)
        return height if height == width else None

    @property
    def state_dim(self) -> int | None:
        """Components of the state; None where none is read."""
        dims = [f.shape[0] for f in self.features if self.sources[f.name] == STATE and len(f.shape) == 1]
        return dims[0] if dims else None


@dataclass(frozen=True, slots=True)
class OwnNames:
    """Names that a checkpoint's own pipeline takes its inputs by, where it renames them itself."""

    map: Mapping[str, str]
    """The policy's name of an input by the name that the pipeline takes it by."""

    def before(self, name: str) -> str:
        """What the pipeline takes an input by that the policy has under this name."""
        return next((before for before, behind in self.map.items() if behind == name), name)

    def given(self, features: Sequence[Feature], known: Sequence[str] = OBSERVATION_KEYS) -> dict[str, str]:
        """The policy's name by observation key, for the inputs that the pipeline makes of a key that is known."""
        named = {self.before(feature.name): feature.name for feature in features}
        return {key: name for key, name in named.items() if key in known and key != name}


def own_names(steps: Sequence[Any]) -> OwnNames:
    """The names by which a pipeline of these steps takes its inputs: those of LeRobot's step that renames."""
    maps = (getattr(step, "rename_map", None) for step in steps)
    return OwnNames(next((dict(found) for found in maps if found), {}))


def full_name(name: str) -> str:
    """The key of an input that a user may write short: `camera1` is `observation.images.camera1`."""
    return name if name.startswith("observation.") else f"{_CAMERAS}{name}"


def wire(
    features: Sequence[Feature],
    rename: Mapping[str, str],
    absent: Sequence[str],
    known: Sequence[str] = OBSERVATION_KEYS,
) -> Wiring:
    """The wiring of a checkpoint's inputs.

    Args:
        features: The checkpoint's inputs.
        rename: Input's name by observation key, where it is not that key itself.
        absent: Cameras that are left out, for policies that fill in what is absent.
        known: Observation keys that the simulator has; LIBERO's unless said.

    Raises:
        ConfigError: an input has nothing that feeds it, or a name is none of the checkpoint's.
    """
    names = [feature.name for feature in features]
    for name in (*rename.values(), *absent):
        if name not in names:
            hint = did_you_mean(name, names)
            raise ConfigError(
                f"policy.rename: expected an input of the checkpoint ({', '.join(names)}), got {name}.{hint}"
            )
    sources = {name: key for key, name in rename.items()}
    sources |= {name: name for name in names if name in known and name not in rename.values()}
    left_out = [name for name in names if name in absent or name.startswith(_EMPTY_CAMERA)]
    for feature in features:
        if feature.name not in sources and feature.name not in left_out:
            raise _unfed(feature, sources, known)
    fed = tuple(feature for feature in features if feature.name in sources and feature.name not in left_out)
    wired = {feature.name: sources[feature.name] for feature in fed}
    return Wiring(wired, fed, tuple(_remarks(fed, wired, absent, known)))


def _unfed(feature: Feature, sources: Mapping[str, str], known: Sequence[str]) -> ConfigError:
    free = [key for key in IMAGE_KEYS if key not in sources.values()]
    if IMAGE not in known:
        remedy = "it was trained on another robot, or on a simulator that names its cameras otherwise"
    elif feature.is_image:
        word = {IMAGE: "image", WRIST_IMAGE: "image2"}
        short = feature.name.removeprefix(_CAMERAS)
        ways = [f"policy.rename.{word[key]}={short}" for key in free]
        remedy = f"write {' or '.join([*ways, f'policy.absent=[{short}]'])} (image: agentview, image2: wrist)"
    else:
        remedy = "LIBERO has nothing of the kind"
    return ConfigError(
        f"policy.path: expected inputs among {', '.join(known)}, got {feature.name} of shape "
        f"{list(feature.shape)}; {remedy}"
    )


def _remarks(
    fed: Sequence[Feature], sources: Mapping[str, str], absent: Sequence[str], known: Sequence[str]
) -> list[str]:
    remarks = [f"{name} is left out, as policy.absent says" for name in absent]
    if IMAGE not in known:
        return remarks
    images = [feature for feature in fed if feature.is_image]
    if len({feature.shape for feature in images}) > 1:
        remarks.append("the checkpoint's cameras differ in size; all get the protocol's size")
    elif images and images[0].shape[1] != images[0].shape[2]:
        _, height, width = images[0].shape
        remarks.append(f"trained on images of {width} x {height} px; LIBERO's are square, of the protocol's size")
    if images and IMAGE not in sources.values():
        remarks.append("the agentview camera goes to none of the checkpoint's inputs")
    return remarks

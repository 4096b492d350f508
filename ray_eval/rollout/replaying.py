"""A recorded episode run again from its actions, without a policy; runs in each worker, or in a process without Ray."""

from __future__ import annotations

import dataclasses
import hashlib
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ray_eval.envs.actions import checked_action
from ray_eval.foreign import text_of
from ray_eval.interfaces import Env, TellsScene
from ray_eval.messages import one_line
from ray_eval.rollout.episode import little_endian
from ray_eval.scene import SceneReading
from ray_eval.sections import WORKER_MEMORY_BYTES, EnvSettings
from ray_eval.types import Array, CameraSpec, EpisodeSpec, FloatArray, RecordedActions


@dataclass(frozen=True, slots=True)
class Looks:
    """What is looked at while an episode is run again; what nobody needs is not made."""

    picture_every: int | None = None
    """Steps between two pictures, the last step's being one of them; 0 for the first, middle and last step alone, None
    for no pictures."""
    has_observations: bool = False
    """Whether the recipe's arrays are made at each step."""
    has_scene: bool = False
    """Whether the env's exact reading of the scene is taken at each step, where it has one."""

    def __or__(self, other: Looks) -> Looks:
        """All that either needs."""
        every = [each for each in (self.picture_every, other.picture_every) if each is not None]
        return Looks(
            picture_every=min((each for each in every if each), default=0) if every else None,
            has_observations=self.has_observations or other.has_observations,
            has_scene=self.has_scene or other.has_scene,
        )

    def takes_picture(self, step: int, steps: int) -> bool:
        """Whether a step of so many is one with pictures."""
        if self.picture_every is None:
            return False
        is_regular = self.picture_every > 0 and step % self.picture_every == 0
        return is_regular or step in (0, steps // 2, steps)


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What is seen of one step: step 0 is the start, step t what the first t actions led to."""

    step: int
    """Control steps executed so far."""
    action: FloatArray | None = None
    """(A,) float64: the native action that led here; None at the start."""
    reward: float = 0.0
    """The env's own reward of it."""
    is_success: bool = False
    """Whether the goal holds."""
    pictures: Mapping[str, Array] = field(default_factory=dict)
    """(H, W, 3) uint8 RGB for people, by camera, the main one first; empty at a step without."""
    observation: Mapping[str, Array] = field(default_factory=dict)
    """The recipe's arrays; empty where nobody asked."""
    scene: SceneReading | None = None
    """The env's exact reading of the scene; None where it has none, or nobody asked."""


Seer = Callable[[Sight], None]
"""Takes the sights of an episode in order."""


@dataclass(frozen=True, slots=True)
class Retraced:
    """What came out of the actions this time."""

    trajectory_sha256: str
    """As `EpisodeResult.trajectory_sha256`."""
    is_success: bool
    """Whether the goal held after the last step."""
    task: str
    """The env's name of the task."""
    instruction: str
    """The task in words."""


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """What a worker is given with each episode that is run again."""

    env: EnvSettings
    """What an env must know."""
    looks: Looks
    """What is looked at."""
    memory_bytes: int = WORKER_MEMORY_BYTES
    """Resident memory within which the worker keeps the simulators of tasks that it may come back to."""


class Maker(Protocol):
    """Makes something of an episode that is run again; sent to the worker before its first sight."""

    @property
    def looks(self) -> Looks:
        """What it needs to see."""
        ...

    def see(self, sight: Sight) -> None:
        """Takes the next step."""
        ...

    def made(self, retraced: Retraced) -> Any:
        """What it made, once the episode is over: a value that can be sent."""
        ...


@dataclass(frozen=True, slots=True)
class Replay:
    """What a worker says of an episode that it ran again."""

    retraced: Retraced | None
    """What came out; None where something broke."""
    made: Mapping[str, Any]
    """What each maker made, by its name; empty where something broke."""
    wall_s: float
    """Wall-clock time."""
    error: str | None = None
    """One line: what broke."""
    traceback: str | None = None
    """The traceback behind it."""


def replayed(
    env: Env, spec: EpisodeSpec, actions: FloatArray, see: Seer, look: Callable[[Env, Sight], Sight]
) -> Retraced:
    """The episode that the actions make, shown step by step.

    Args:
        env: one of the episode's task.
        spec: the episode.
        actions: (T, A) float64 native actions.
        see: takes every step, the start included.
        look: adds what is looked at to the bare figures of a step.

    Raises:
        EpisodeError: the simulator broke.
        ContractError: the actions are not this env's.
    """
    env.reset(spec)
    digest, is_success, dim = hashlib.sha256(), False, len(env.noop_action())
    see(look(env, Sight(0)))
    for step, action in enumerate(actions, 1):
        result = env.step(checked_action(action, dim))
        digest.update(little_endian(env.simulator_state()))
        is_success = result.is_success
        see(look(env, Sight(step, action, result.reward, is_success)))
    return Retraced(digest.hexdigest(), is_success, env.task, env.instruction)


def looking(looks: Looks, cameras: Sequence[CameraSpec], steps: int) -> Callable[[Env, Sight], Sight]:
    """What adds to a step of so many all that is looked at."""

    def look(env: Env, bare: Sight) -> Sight:
        return dataclasses.replace(
            bare,
            pictures=pictures(env, cameras) if looks.takes_picture(bare.step, steps) else {},
            observation=env.observe() if looks.has_observations else {},
            scene=env.scene() if looks.has_scene and isinstance(env, TellsScene) else None,
        )

    return look


def pictures(env: Env, cameras: Sequence[CameraSpec]) -> dict[str, Array]:
    """What a person should see of the present step, by camera: the usual ones, where there are several."""
    usual = [camera for camera in cameras if camera.is_usual]
    if len(usual) < 2:
        return {usual[0].name if usual else "": env.picture()}
    by_key: Any = env.picture
    return {camera.name: by_key(camera.key) for camera in usual}


ReplayCall = Callable[[EpisodeSpec, FloatArray, ReplaySettings, Seer], Retraced]
"""`Rollout.replay`, here or in another interpreter."""


def replay_and_make(
    replay: ReplayCall,
    spec: EpisodeSpec,
    actions: RecordedActions,
    settings: ReplaySettings,
    makers: Mapping[str, Maker],
) -> Replay:
    """A recorded episode again, and what the makers make of it; what breaks is told of."""

    def see(sight: Sight) -> None:
        for maker in makers.values():
            maker.see(sight)

    started = time.perf_counter()
    try:
        retraced = replay(spec, actions.array(), settings, see)
        made = {name: maker.made(retraced) for name, maker in makers.items()}
    except Exception as error:  # noqa: BLE001 -- one episode that cannot be shown keeps no other from it
        return _broken(error, started)
    return Replay(retraced, made, time.perf_counter() - started)


def _broken(error: Exception, started: float) -> Replay:
    said = one_line(f"{type(error).__name__}: {text_of(error)}")
    return Replay(None, {}, time.perf_counter() - started, said, "".join(traceback.format_exception(error)))

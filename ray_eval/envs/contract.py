"""What every Env keeps, as one reusable check, for our adapters and for users' own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from ray_eval.errors import ContractError
from ray_eval.interfaces import Env
from ray_eval.types import (
    ENVIRONMENT_STATE,
    IMAGE_KEYS,
    OBSERVATION_KEYS,
    POSE_SIZE,
    Array,
    EpisodeSpec,
    FloatArray,
    StepResult,
)

STEPS = 3
"""Control steps of each trial episode."""


def check_env_contract(env: Env, episode: EpisodeSpec) -> None:
    """Runs the episode's first steps several times and compares; the env is left after a reset.

    Raises:
        ContractError: the env broke its contract; the message says how.
    """
    env.reset(episode)
    _check_texts(env)
    _check_observation(env)
    _check_laziness(env)
    _check_actions(env)
    _check_state_is_a_copy(env)
    _check_repeatability(env, episode)


def _expect(condition: bool, where: str, expected: str, got: object) -> None:
    if not condition:
        raise ContractError(f"{where}: expected {expected}, got {got!r}")


def _check_texts(env: Env) -> None:
    _expect(bool(env.task) and isinstance(env.task, str), "task", "a name", env.task)
    _expect(bool(env.instruction) and isinstance(env.instruction, str), "instruction", "a sentence", env.instruction)


def _check_observation(env: Env) -> None:
    observation = env.observe()
    unknown = set(observation) - set(OBSERVATION_KEYS)
    _expect(not unknown, "observe", f"keys among {OBSERVATION_KEYS}", sorted(unknown))
    for key, array in observation.items():
        _check_array(key, array)
    if ENVIRONMENT_STATE in observation:
        _check_names(env.environment_names, observation[ENVIRONMENT_STATE])
    else:
        _expect(env.environment_names == (), "environment_names", "none without the state", env.environment_names)


def _check_array(key: str, array: Array) -> None:
    is_image = key in IMAGE_KEYS
    dtype = np.uint8 if is_image else np.float32
    _expect(array.dtype == dtype, key, f"dtype {np.dtype(dtype).name}", array.dtype.name)
    ranks = (3, 4) if is_image else (1, 2)
    _expect(array.ndim in ranks, key, f"{ranks[0]} dimensions, one more with a history", array.shape)
    _expect(not is_image or array.shape[-1] == 3, key, "RGB in the last axis", array.shape)
    _expect(is_image or bool(np.isfinite(array).all()), key, "finite numbers", array)


def _check_names(names: tuple[str, ...], state: Array) -> None:
    joints = sum(name.startswith("joint:") for name in names)
    size = POSE_SIZE * (len(names) - joints) + joints
    _expect(len(set(names)) == len(names), "environment_names", "distinct names", names)
    _expect(state.shape[-1] == size, ENVIRONMENT_STATE, f"{size} numbers for {len(names)} names", state.shape)


def _check_laziness(env: Env) -> None:
    first, count = env.observe(), env.render_count
    _expect_same(first, env.observe(), "observe asked twice at one step")
    _expect(env.render_count == count, "render_count", f"{count} after asking twice", env.render_count)


def _check_actions(env: Env) -> None:
    noop = env.noop_action()
    _expect(noop.dtype == np.float64 and noop.ndim == 1, "noop_action", "(A,) float64", (noop.dtype, noop.shape))
    native = env.native_action(np.zeros(len(noop), np.float32))
    _expect(native.dtype == np.float64 and native.shape == noop.shape, "native_action", "(A,) float64", native)
    for broken in (np.zeros(len(noop) + 1), np.full(len(noop), np.nan)):
        _expect_refused(env, broken)
    result = env.step(noop)
    _expect(isinstance(result, StepResult), "step", "a StepResult", result)
    _expect(isinstance(result.is_success, bool), "step", "a plain bool", result.is_success)
    _expect(isinstance(result.reward, float), "step", "a plain float", result.reward)


def _expect_refused(env: Env, action: FloatArray) -> None:
    try:
        native = env.native_action(action)
    except ContractError:
        return
    _expect(False, "native_action", f"ContractError for {action}", native)


def _check_state_is_a_copy(env: Env) -> None:
    state = env.simulator_state()
    _expect(state.dtype == np.float64 and state.ndim == 1, "simulator_state", "1-D float64", (state.dtype, state.shape))
    kept = state.copy()
    state += 1.0
    _expect(np.array_equal(env.simulator_state(), kept), "simulator_state", "a copy", "the simulator's own memory")


def _check_repeatability(env: Env, episode: EpisodeSpec) -> None:
    """The same episode gives the same bits after another one, and whether it is looked at or not."""
    watched, seen = _trial(env, episode, is_watched=True)
    env.reset(dataclasses.replace(episode, env_seed=episode.env_seed + 1))
    env.step(env.noop_action())
    unwatched, last = _trial(env, episode, is_watched=False)
    _expect(np.array_equal(watched, unwatched), "reset", "the same trajectory again", "another one")
    _expect_same(seen, last, "the last observation of a repeated episode")
    env.reset(episode)
    _expect(env.render_count == 0, "render_count", "0 after reset", env.render_count)


def _trial(env: Env, episode: EpisodeSpec, *, is_watched: bool) -> tuple[FloatArray, Mapping[str, Array]]:
    """The states of a few steps of fixed motion, and the observation after them."""
    env.reset(episode)
    action = env.noop_action()
    states = [env.simulator_state()]
    for _ in range(STEPS):
        if is_watched:
            env.observe()
        env.step(action)
        states.append(env.simulator_state())
    return np.stack(states), env.observe()


def _expect_same(first: Mapping[str, Array], second: Mapping[str, Array], where: str) -> None:
    _expect(first.keys() == second.keys(), where, f"keys {sorted(first)}", sorted(second))
    for key, array in first.items():
        _expect(np.array_equal(array, second[key]), where, f"the same {key}", "another one")

"""What every Env and every Simulator keeps, as reusable checks, for our adapters and for users' own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from ray_eval.errors import ContractError
from ray_eval.interfaces import Env, Simulator
from ray_eval.sections import EnvSettings, ImageRecipe, ObservationRecipe
from ray_eval.types import (
    ENVIRONMENT_STATE,
    KEY_FORMS,
    POSE_SIZE,
    STATE,
    Array,
    EnvSpec,
    EpisodeSpec,
    FloatArray,
    StepResult,
    is_image,
    is_observation_key,
)

STEPS = 3
"""Control steps of each trial episode."""
_SEEDED = "draw from a generator of the env's own, seeded in reset from the episode alone"


def check_simulator_contract(simulator: Simulator, env_seed: int = 0) -> None:
    """Looks at everything that a simulator says of itself, and runs the first task's env through its own contract.

    Args:
        simulator: With the settings that are to be tried.
        env_seed: Of the episode that is run.

    Raises:
        ContractError: it broke its contract; the message says how, and what to do about it.
    """
    _expect(isinstance(simulator, Simulator), "simulator", "every member of interfaces.Simulator", _lacking(simulator))
    suites = simulator.suites()
    _expect(len(suites) >= 1, "suites", "at least one", suites)
    for suite in suites:
        _expect(type(simulator).has_suite(suite), "has_suite", f"true for its own suite {suite!r}", False)
        _check_tasks(simulator, suite)
    first, spec = suites[0], simulator.spec(suites[0], 0)
    check_spec(spec)
    _expect(spec.simulator == simulator.name, "spec.simulator", repr(simulator.name), spec.simulator)
    keys = spec.keys
    recipe = ObservationRecipe(keys, images=ImageRecipe(None, image_size_px=None))
    env = simulator.make_env(first, 0, EnvSettings(recipe))
    try:
        check_env_contract(env, EpisodeSpec(first, 0, 0, env_seed, max_steps=STEPS), spec)
    finally:
        env.close()


def check_spec(spec: EnvSpec) -> None:
    """Passes when a spec is one that a policy can be held against.

    Raises:
        ContractError: a key, a size or a bound is none.
    """
    for key in spec.keys:
        _expect(is_observation_key(key), "spec.cameras", f"keys like {KEY_FORMS}", key)
    _expect(len(set(spec.keys)) == len(spec.keys), "spec.cameras", "each key once", spec.keys)
    action = spec.action
    sizes = {len(action.names), len(action.low), len(action.high)}
    _expect(len(sizes) == 1 and action.dim >= 1, "spec.action", "as many names as bounds", sorted(sizes))
    ordered = all(low < high for low, high in zip(action.low, action.high, strict=True))
    _expect(ordered, "spec.action.low", "below spec.action.high everywhere", (action.low, action.high))
    _expect(spec.control_hz > 0, "spec.control_hz", "above 0", spec.control_hz)
    is_within = None in (spec.max_steps, spec.most_steps) or int(spec.max_steps or 0) <= int(spec.most_steps or 0)
    _expect(is_within, "spec.max_steps", f"at most spec.most_steps ({spec.most_steps})", spec.max_steps)


def check_env_contract(env: Env, episode: EpisodeSpec, spec: EnvSpec | None = None) -> None:
    """Runs the episode's first steps several times and compares; the env is left after a reset.

    Args:
        env: The env.
        episode: One that it has.
        spec: What its simulator says of it; None leaves that out.

    Raises:
        ContractError: the env broke its contract; the message says how, and what to do about it.
    """
    env.reset(episode)
    _check_texts(env)
    _check_observation(env, spec)
    _check_laziness(env)
    _check_actions(env, spec)
    _check_observation(env, spec)
    _check_state(env)
    _check_memory(env)
    _check_repeatability(env, episode)


def _expect(condition: bool, where: str, expected: str, got: object, remedy: str = "") -> None:
    if not condition:
        raise ContractError(f"{where}: expected {expected}, got {got!r}{'; ' if remedy else ''}{remedy}")


def _lacking(simulator: object) -> str:
    members = [name for name in dir(Simulator) if not name.startswith("_")]
    members += list(Simulator.__annotations__)
    return f"{type(simulator).__name__} without {', '.join(sorted(n for n in members if not hasattr(simulator, n)))}"


def _check_tasks(simulator: Simulator, suite: str) -> None:
    tasks = simulator.tasks(suite)
    ids = [task.task_id for task in tasks]
    _expect(ids == list(range(len(ids))) and bool(ids), f"tasks({suite!r})", "ids 0, 1, 2 ... in order", ids)
    for task in tasks:
        _expect(task.suite == suite and bool(task.name), f"tasks({suite!r})", "its own suite, and a name", task)
    count = simulator.start_state_count(suite, 0)
    _expect(isinstance(count, int) and count >= 1, f"start_state_count({suite!r}, 0)", "at least 1", count)


def _check_texts(env: Env) -> None:
    _expect(bool(env.task) and isinstance(env.task, str), "task", "a name", env.task)
    _expect(bool(env.instruction) and isinstance(env.instruction, str), "instruction", "a sentence", env.instruction)


def _check_observation(env: Env, spec: EnvSpec | None) -> None:
    observation = env.observe()
    unknown = sorted(key for key in observation if not is_observation_key(key))
    _expect(not unknown, "observe", f"keys like {KEY_FORMS}", unknown)
    for key, array in observation.items():
        _check_array(key, array)
    if ENVIRONMENT_STATE in observation:
        _check_names(env.environment_names, observation[ENVIRONMENT_STATE])
    else:
        _expect(env.environment_names == (), "environment_names", "none without the state", env.environment_names)
    if spec is not None:
        _check_against_spec(observation, spec)


def _check_array(key: str, array: Array) -> None:
    if is_image(key):
        _expect(array.dtype == np.uint8, key, "dtype uint8, 0 to 255", array.dtype.name, "images are no floats here")
        is_rgb = array.ndim in (3, 4) and array.shape[-1] == 3
        _expect(is_rgb, key, "(height, width, 3), RGB in the last axis", array.shape, "move channels to the end")
        return
    dtypes = ("float32", "float64") if key == ENVIRONMENT_STATE else ("float32",)
    _expect(array.dtype.name in dtypes, key, f"dtype {' or '.join(dtypes)}", array.dtype.name, ".astype(np.float32)")
    _expect(array.ndim in (1, 2), key, "one dimension, one more with a history", array.shape)
    _expect(bool(np.isfinite(array).all()), key, "finite numbers", array)


def _check_against_spec(observation: Mapping[str, Array], spec: EnvSpec) -> None:
    unsaid = sorted(set(observation) - set(spec.keys))
    _expect(not unsaid, "observe", f"keys of the spec ({', '.join(spec.keys)})", unsaid)
    if STATE in observation and spec.state is not None:
        size = len(spec.state.names)
        shape = observation[STATE].shape
        _expect(shape[-1] == size, STATE, f"{size} numbers, one for each name of the spec", shape)


def _check_names(names: tuple[str, ...], state: Array) -> None:
    joints = sum(name.startswith("joint:") for name in names)
    as_poses = POSE_SIZE * (len(names) - joints) + joints
    _expect(len(set(names)) == len(names), "environment_names", "distinct names", names)
    fits = state.shape[-1] in (as_poses, len(names))
    _expect(fits, ENVIRONMENT_STATE, f"{as_poses} numbers (poses) or {len(names)} for {len(names)} names", state.shape)


def _check_laziness(env: Env) -> None:
    first, count = env.observe(), env.render_count
    _expect_same(first, env.observe(), "observe asked twice at one step")
    _expect(
        env.render_count == count,
        "render_count",
        f"{count} after asking twice",
        env.render_count,
        "keep what was drawn until the next step",
    )


def _check_actions(env: Env, spec: EnvSpec | None) -> None:
    noop = env.noop_action()
    _expect(noop.dtype == np.float64 and noop.ndim == 1, "noop_action", "(A,) float64", (noop.dtype, noop.shape))
    dim = len(noop) if spec is None else spec.action.dim
    _expect(len(noop) == dim, "noop_action", f"{dim} numbers, as the spec's action has", len(noop))
    native = env.native_action(np.zeros(dim, np.float32))
    _expect(native.dtype == np.float64 and native.shape == noop.shape, "native_action", "(A,) float64", native)
    for broken in (np.zeros(dim + 1), np.full(dim, np.nan)):
        _expect_refused(env, broken)
    result = env.step(noop)
    _expect(isinstance(result, StepResult), "step", "a StepResult", result)
    _expect(isinstance(result.is_success, bool), "step: is_success", "a plain bool", result.is_success, "bool(...)")
    is_number = isinstance(result.reward, float) and bool(np.isfinite(result.reward))
    _expect(is_number, "step: reward", "a plain finite float", result.reward, "float(...)")


def _expect_refused(env: Env, action: FloatArray) -> None:
    try:
        native = env.native_action(action)
    except ContractError:
        return
    _expect(False, "native_action", f"ContractError for {action}", native, "envs.actions.checked_action raises it")


def _check_state(env: Env) -> None:
    state = env.simulator_state()
    _expect(state.dtype == np.float64 and state.ndim == 1, "simulator_state", "1-D float64", (state.dtype, state.shape))
    _expect(bool(np.isfinite(state).all()), "simulator_state", "finite numbers", state)
    kept = state.copy()
    state += 1.0
    _expect(
        np.array_equal(env.simulator_state(), kept),
        "simulator_state",
        "a copy",
        "the simulator's own memory",
        ".copy()",
    )
    env.step(env.noop_action())
    later = env.simulator_state()
    _expect(later.shape == kept.shape, "simulator_state", f"{len(kept)} numbers at every step", len(later))
    _expect(
        not np.array_equal(later, kept),
        "simulator_state",
        "another one after a step (put the simulator's time into it)",
        "the same",
    )


def _check_memory(env: Env) -> None:
    """An observation that was handed out does not change when the simulation goes on."""
    seen = env.observe()
    kept = {key: np.array(array) for key, array in seen.items()}
    env.step(env.noop_action())
    env.observe()
    _expect_same(kept, seen, "an observation kept over a step", "hand out copies")


def _check_repeatability(env: Env, episode: EpisodeSpec) -> None:
    """The same episode gives the same bits after another one, whatever the global generator, and looked at or not."""
    watched, seen = _trial(env, episode, is_watched=True)
    again, _ = _trial(env, episode, is_watched=True)
    _expect(np.array_equal(watched, again), "reset", "the same trajectory again", "another one", _SEEDED)
    state = np.random.get_state()  # noqa: NPY002 -- what simulators draw from without being told
    np.random.seed(12345)  # noqa: NPY002
    env.reset(dataclasses.replace(episode, env_seed=episode.env_seed + 1))
    env.step(env.noop_action())
    after, _ = _trial(env, episode, is_watched=True)
    np.random.set_state(state)  # noqa: NPY002
    how = "the same trajectory after another episode and another state of np.random"
    _expect(np.array_equal(watched, after), "reset", how, "another one", f"{_SEEDED}, and put everything back")
    unwatched, last = _trial(env, episode, is_watched=False)
    is_same = np.array_equal(watched, unwatched)
    how = "the same trajectory whether it is looked at or not"
    _expect(is_same, "observe", how, "another one", "compute what it shows in a copy, and draw no number there")
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


def _expect_same(first: Mapping[str, Array], second: Mapping[str, Array], where: str, remedy: str = "") -> None:
    _expect(first.keys() == second.keys(), where, f"keys {sorted(first)}", sorted(second))
    for key, array in first.items():
        _expect(np.array_equal(array, second[key]), where, f"the same {key}", "another one", remedy)

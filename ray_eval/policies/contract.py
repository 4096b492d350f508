"""What every Policy keeps, as one reusable check, for our adapters and for users' own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ray_eval.errors import ContractError
from ray_eval.interfaces import Policy
from ray_eval.types import (
    ENVIRONMENT_STATE,
    KEY_FORMS,
    POLICY_STATE_LIMIT_BYTES,
    POSE_SIZE,
    STATE,
    ActionChunk,
    Array,
    FloatArray,
    Observation,
    PolicySpec,
    is_image,
    is_observation_key,
)

BATCH_SIZE = 3
"""Observations in each trial batch."""
TRIAL_TASK = "pick up the black bowl on the stove and place it on the plate"
"""Instruction of the trial observations."""
TRIAL_NAMES = ("akita_black_bowl_1", "plate_1", "flat_stove_1", "joint:flat_stove_1_button")
"""Names beside the trial observations' privileged state."""
DEFAULT_IMAGE_SIZE_PX = 256
"""Height and width of the trial images where the policy does not say."""

_POSE_AND_FINGERS = (-0.2, 0.0, 1.17, 3.14, 0.0, -0.09, 0.04, -0.04)
_JOINTS_AND_FINGERS = (0.0, -0.16, 0.0, -2.44, 0.0, 2.23, 0.79, 0.04, -0.04)


def check_policy(policy: Policy, observations: Sequence[Observation] | None = None) -> None:
    """Asks a policy about a few observations in several ways and compares its answers.

    Without `observations`, made-up ones are used: a table scene in LIBERO's format, noise as images. Two answers to
    the same question are compared bit by bit; across batch compositions only where the policy declares
    `batch_invariant`. A policy that says it is not `is_reproducible` is asked once.

    Raises:
        ContractError: the policy broke its contract; the message says how.
    """
    spec = getattr(policy, "spec", None)
    _expect(isinstance(spec, PolicySpec), "spec", "the policy to have a PolicySpec as its spec", type(spec).__name__)
    _expect(callable(getattr(policy, "infer_batch", None)), "infer_batch", "a method", type(policy).__name__)
    check_spec(policy.spec)
    asked = list(observations) if observations else [trial_observation(policy.spec, i) for i in range(BATCH_SIZE)]
    answers = policy.infer_batch(asked)
    check_answers(policy.spec, answers, len(asked))
    if not policy.spec.is_reproducible:
        return
    _expect_same("asked twice", answers, policy.infer_batch(asked))
    if policy.spec.batch_invariant:
        _expect_same("asked in reverse order", answers, policy.infer_batch(asked[::-1])[::-1])
        _expect_same("asked one by one", answers, [c for o in asked for c in policy.infer_batch([o])])
    _check_memory(policy, asked, answers)


def check_spec(spec: PolicySpec) -> None:
    """Checks that a spec is one that an env can serve.

    Raises:
        ContractError: a field is out of range, or a key is unknown.
    """
    _expect(bool(spec.name), "spec.name", "a name", spec.name)
    unknown = [k for k in spec.keys if not is_observation_key(k)]
    _expect(not unknown, "spec.keys", f"keys among {KEY_FORMS}", unknown)
    _expect(len(set(spec.keys)) == len(spec.keys), "spec.keys", "each key once", spec.keys)
    for field in ("chunk_len", "action_dim", "n_obs_steps"):
        _expect(getattr(spec, field) >= 1, f"spec.{field}", "at least 1", getattr(spec, field))
    is_size = spec.image_size_px is None or spec.image_size_px >= 1
    _expect(is_size, "spec.image_size_px", "null or at least 1", spec.image_size_px)
    is_replan = spec.replan_steps is None or 1 <= spec.replan_steps <= spec.chunk_len
    _expect(is_replan, "spec.replan_steps", f"null or 1 to chunk_len ({spec.chunk_len})", spec.replan_steps)
    try:
        echoed = PolicySpec.from_json(spec.to_json())
    except (TypeError, ValueError) as e:
        raise ContractError(f"spec: expected one that survives its own JSON, got {e}") from e
    _expect(echoed == spec, "spec", "one that survives its own JSON", echoed)


def check_answers(spec: PolicySpec, answers: Sequence[ActionChunk], count: int) -> None:
    """Checks the number of chunks, and each chunk's shape, dtype, numbers and memory.

    Raises:
        ContractError: anything is not as the spec says.
    """
    _expect(isinstance(answers, Sequence), "infer_batch", "a list of ActionChunk", type(answers).__name__)
    _expect(len(answers) == count, "infer_batch", f"{count} chunks for {count} observations", len(answers))
    for i, chunk in enumerate(answers):
        where, shape = f"infer_batch: chunk {i}", (spec.chunk_len, spec.action_dim)
        _expect(isinstance(chunk, ActionChunk), where, "an ActionChunk", type(chunk).__name__)
        _expect(
            isinstance(chunk.actions, np.ndarray),
            f"{where}: actions",
            "a NumPy array (a tensor's .numpy())",
            type(chunk.actions).__name__,
        )
        _expect(chunk.actions.shape == shape, f"{where}: actions.shape", str(shape), chunk.actions.shape)
        _expect(
            chunk.actions.dtype == np.float32,
            f"{where}: actions.dtype",
            "float32 (.astype(np.float32))",
            str(chunk.actions.dtype),
        )
        _expect(bool(np.isfinite(chunk.actions).all()), f"{where}: actions", "finite numbers", "NaN or infinity")
        _expect(isinstance(chunk.policy_state, bytes), f"{where}: policy_state", "bytes", type(chunk.policy_state))
        limit = POLICY_STATE_LIMIT_BYTES
        _expect(
            len(chunk.policy_state) <= limit,
            f"{where}: policy_state",
            f"at most {limit} bytes",
            len(chunk.policy_state),
        )
        _check_raw(chunk.action_raw, spec, f"{where}: action_raw")


def _check_raw(raw: Array | None, spec: PolicySpec, where: str) -> None:
    if raw is None:
        return
    _expect(spec.takes_prefix, where, "none where spec.takes_prefix is false", type(raw).__name__)
    is_right = isinstance(raw, np.ndarray) and raw.ndim == 2 and raw.dtype == np.float32 and len(raw) == spec.chunk_len
    got = (str(raw.dtype), raw.shape) if isinstance(raw, np.ndarray) else type(raw).__name__
    _expect(is_right, where, f"float32 ({spec.chunk_len}, any)", got)
    _expect(bool(np.isfinite(raw).all()), where, "finite numbers", "NaN or infinity")


def continued(observation: Observation, chunk: ActionChunk, steps: int = 1, delay_steps: int = 0) -> Observation:
    """The observation some steps later in its episode, with what the policy wants handed back of its last chunk."""
    rest = None if chunk.action_raw is None else chunk.action_raw[steps:]
    return dataclasses.replace(
        observation,
        step=observation.step + steps,
        policy_state=chunk.policy_state,
        action_raw=rest if rest is not None and len(rest) else None,
        delay_steps=delay_steps,
    )


def trial_observation(spec: PolicySpec, index: int) -> Observation:
    """A made-up observation in LIBERO's format with exactly the keys of a spec; equal for equal arguments."""
    generator = np.random.Generator(np.random.Philox(index))
    arrays = {key: _trial_array(key, spec, generator) for key in spec.keys}
    names = TRIAL_NAMES if ENVIRONMENT_STATE in spec.keys else ()
    return Observation(arrays, TRIAL_TASK, "libero_spatial", 7, index, noise_seed=index, environment_names=names)


def _trial_array(key: str, spec: PolicySpec, generator: np.random.Generator) -> Array:
    history = () if spec.n_obs_steps == 1 else (spec.n_obs_steps,)
    if is_image(key):
        size_px = spec.image_size_px or DEFAULT_IMAGE_SIZE_PX
        return generator.integers(0, 256, (*history, size_px, size_px, 3), dtype=np.uint8)
    if key == STATE:
        state = _trial_state(spec.state_dim or len(_POSE_AND_FINGERS))
        state = state + generator.normal(0.0, 0.003, len(state))
        return np.broadcast_to(state, (*history, len(state))).astype(np.float32)
    poses = np.zeros((3, POSE_SIZE))
    poses[:, :3] = np.array([(-0.1, 0.0, 0.9), (0.05, 0.2, 0.9), (-0.4, -0.14, 0.9)])
    poses[:, :3] += generator.normal(0.0, 0.01, (3, 3))
    poses[:, 3] = 1.0
    return np.broadcast_to(np.append(poses, 0.0), (*history, poses.size + 1)).astype(np.float32)


def _trial_state(dim: int) -> FloatArray:
    """The robot at an episode's beginning in LIBERO's format of so many numbers; of no such format, any numbers."""
    known = {len(state): state for state in (_POSE_AND_FINGERS, _JOINTS_AND_FINGERS)}
    return np.resize(np.array(known.get(dim, _POSE_AND_FINGERS)), dim)


def _check_memory(policy: Policy, asked: Sequence[Observation], answers: Sequence[ActionChunk]) -> None:
    """The next request, with what was handed back, is answered as well, and twice in the same way."""
    later = [continued(o, c, delay_steps=1) for o, c in zip(asked, answers, strict=True)]
    following = policy.infer_batch(later)
    check_answers(policy.spec, following, len(later))
    _expect_same("asked twice with its own policy_state", following, policy.infer_batch(later))


def _expect_same(how: str, first: Sequence[ActionChunk], second: Sequence[ActionChunk]) -> None:
    _expect(len(first) == len(second), f"infer_batch, {how}", f"{len(first)} chunks", len(second))
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        if not np.array_equal(a.actions, b.actions):
            largest = float(np.abs(np.subtract(a.actions, b.actions, dtype=np.float64)).max())
            raise ContractError(f"infer_batch, {how}: expected the same actions for row {i}, got {largest:g} apart")
        _expect(a.policy_state == b.policy_state, f"infer_batch, {how}: row {i}", "the same policy_state", "another")


def _expect(condition: bool, where: str, expected: str, got: object) -> None:
    if not condition:
        raise ContractError(f"{where}: expected {expected}, got {got!r}")

"""Policies that look at nothing: no motion, random motion, recorded motion; for checks and baselines."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ray_eval.errors import ContractError, SetupError
from ray_eval.sections import NoopPolicy, RandomPolicy, ReplayPolicy
from ray_eval.types import IMAGE_KEYS, ActionChunk, Array, Observation, PolicySpec

ACTION_DIM = 7
"""OSC pose delta (3 + 3) and gripper."""
GRIPPER_OPEN = -1.0
"""The gripper's command that opens it."""


def _spec(name: str, section: NoopPolicy | RandomPolicy | ReplayPolicy) -> PolicySpec:
    keys = IMAGE_KEYS if section.images else ()
    return PolicySpec(name, keys, section.chunk_len, ACTION_DIM, replan_steps=section.chunk_len, batch_invariant=True)


class Noop:
    """Zero motion with the gripper open."""

    def __init__(self, section: NoopPolicy) -> None:
        self._spec = _spec("noop", section)
        row = np.array([0.0] * (ACTION_DIM - 1) + [GRIPPER_OPEN], dtype=np.float32)
        self._actions = np.tile(row, (section.chunk_len, 1))

    @property
    def spec(self) -> PolicySpec:
        """Both images unless `images` is off; `batch_invariant`."""
        return self._spec

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """The same chunk for every observation."""
        return [ActionChunk(self._actions.copy()) for _ in observations]


class Random:
    """Uniform actions in [-1, 1), drawn from each request's noise seed."""

    def __init__(self, section: RandomPolicy) -> None:
        self._spec = _spec("random", section)

    @property
    def spec(self) -> PolicySpec:
        """Both images unless `images` is off; `batch_invariant`."""
        return self._spec

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation; equal seeds give equal chunks."""
        return [ActionChunk(self._draw(o.noise_seed)) for o in observations]

    def _draw(self, noise_seed: int) -> Array:
        generator = np.random.Generator(np.random.Philox(noise_seed))
        return generator.uniform(-1.0, 1.0, (self._spec.chunk_len, ACTION_DIM)).astype(np.float32)


class Replay:
    """Recorded actions: row `step` of the episode's file and those behind it, the last one repeating."""

    def __init__(self, section: ReplayPolicy) -> None:
        self._folder = Path(section.path)
        if not _is_folder(self._folder):
            raise SetupError(
                f"policy.path: expected a folder of <suite>/<task_id>/<init_state_id>.npy, got {section.path!r}, "
                "which is not there; record actions into it or name another folder"
            )
        self._spec = dataclasses.replace(_spec("replay", section), digest=_digest(self._folder))

    @property
    def spec(self) -> PolicySpec:
        """Both images unless `images` is off; `batch_invariant`."""
        return self._spec

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation.

        Raises:
            ContractError: an episode's file is missing, cannot be read or does not hold (T, 7) finite numbers.
        """
        return [ActionChunk(self._rows(o)) for o in observations]

    def _rows(self, observation: Observation) -> Array:
        o = observation
        recorded = _recorded(self._folder / o.suite / str(o.task_id) / f"{o.init_state_id}.npy")
        rows = np.arange(o.step, o.step + self._spec.chunk_len)
        return np.ascontiguousarray(recorded[np.minimum(rows, len(recorded) - 1)], dtype=np.float32)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        # A path that no folder can have, for instance a too long one.
        return False


def _digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the folder's recordings."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.npy")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _recorded(path: Path) -> Array:
    """The (T, 7) actions of a file."""
    expected = f"{path}: expected an .npy file of finite numbers, shape (T, {ACTION_DIM}) with T >= 1"
    try:
        actions = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ContractError(f"{expected}, got no file; record this episode or leave it out of the run") from None
    except (OSError, ValueError, EOFError) as e:
        raise ContractError(f"{expected}, got a file that NumPy cannot read ({e}); record it again") from e
    if not isinstance(actions, np.ndarray) or actions.dtype.kind not in "fiu":
        raise ContractError(f"{expected}, got {getattr(actions, 'dtype', type(actions).__name__)}; record it again")
    if actions.ndim != 2 or actions.shape[0] < 1 or actions.shape[1] != ACTION_DIM:
        raise ContractError(f"{expected}, got shape {actions.shape}; record it again")
    if not np.isfinite(actions).all():
        raise ContractError(f"{expected}, got NaN or infinity; record it again")
    return np.asarray(actions)

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

UNBOUNDED = 1.0
"""Where a component has no bounds, random actions are drawn within plus and minus this."""


def _spec(name: str, section: NoopPolicy | RandomPolicy | ReplayPolicy) -> PolicySpec:
    cameras = IMAGE_KEYS if section.cameras is None else section.cameras
    return PolicySpec(
        name,
        cameras if section.images else (),
        section.chunk_len,
        section.action_dim,
        replan_steps=section.chunk_len,
        batch_invariant=True,
        is_noop=isinstance(section, NoopPolicy),
    )


class Noop:
    """Zeros, in whose place the env's no-op is executed, as the spec says."""

    def __init__(self, section: NoopPolicy) -> None:
        self._spec = _spec("noop", section)
        self._actions = np.zeros((section.chunk_len, section.action_dim), np.float32)

    @property
    def spec(self) -> PolicySpec:
        """Every camera image unless `images` is off; `batch_invariant`."""
        return self._spec

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """The same chunk for every observation."""
        return [ActionChunk(self._actions.copy()) for _ in observations]


class Random:
    """Uniform actions within the bounds, drawn from each request's noise seed."""

    def __init__(self, section: RandomPolicy) -> None:
        self._spec = _spec("random", section)
        limit = np.full(section.action_dim, UNBOUNDED)
        low, high = (np.array(given) for given in (section.action_low or -limit, section.action_high or limit))
        is_bounded = np.isfinite(low) & np.isfinite(high)
        self._low, self._high = np.where(is_bounded, low, -limit), np.where(is_bounded, high, limit)

    @property
    def spec(self) -> PolicySpec:
        """Every camera image unless `images` is off; `batch_invariant`."""
        return self._spec

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation; equal seeds give equal chunks."""
        return [ActionChunk(self._draw(o.noise_seed)) for o in observations]

    def _draw(self, noise_seed: int) -> Array:
        generator = np.random.Generator(np.random.Philox(noise_seed))
        size = (self._spec.chunk_len, self._spec.action_dim)
        return generator.uniform(self._low, self._high, size).astype(np.float32)


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
        """Every camera image unless `images` is off; `batch_invariant`."""
        return self._spec

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation.

        Raises:
            ContractError: an episode's file is missing, cannot be read or does not hold (T, A) finite numbers.
        """
        return [ActionChunk(self._rows(o)) for o in observations]

    def _rows(self, observation: Observation) -> Array:
        o = observation
        path = self._folder / o.suite / str(o.task_id) / f"{o.init_state_id}.npy"
        recorded = _recorded(path, self._spec.action_dim)
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


def _recorded(path: Path, action_dim: int) -> Array:
    """The (T, A) actions of a file."""
    expected = f"{path}: expected an .npy file of finite numbers, shape (T, {action_dim}) with T >= 1"
    try:
        actions = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ContractError(f"{expected}, got no file; record this episode or leave it out of the run") from None
    except (OSError, ValueError, EOFError) as e:
        raise ContractError(f"{expected}, got a file that NumPy cannot read ({e}); record it again") from e
    if not isinstance(actions, np.ndarray) or actions.dtype.kind not in "fiu":
        raise ContractError(f"{expected}, got {getattr(actions, 'dtype', type(actions).__name__)}; record it again")
    if actions.ndim != 2 or actions.shape[0] < 1 or actions.shape[1] != action_dim:
        raise ContractError(f"{expected}, got shape {actions.shape}; record it again")
    if not np.isfinite(actions).all():
        raise ContractError(f"{expected}, got NaN or infinity; record it again")
    return np.asarray(actions)

"""The action-chunk queue in virtual time: pure, and the same whatever the machine's load; runs in each worker.

Steps are counted from 0 after settling. Row i of a chunk whose observation was captured before step s is for
step s + i. A latency is a number of control steps drawn at capture, never a measured second, so the physical
arrival of an answer changes how long a run takes and nothing else.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np

from ray_eval.errors import ConfigError, ContractError, did_you_mean
from ray_eval.sections import QueueRules
from ray_eval.types import ActionChunk, Array

Aggregation = Callable[[Array, Array], Array]
"""`aggregate(old, new)` of two (A,) float32 actions for one step; old may be aggregated already."""


class Pending(Protocol):
    """An answer that is under way."""

    def result(self) -> ActionChunk:
        """The answer, waited for if need be; raises what the request raised."""
        ...

    def cancel(self) -> None:
        """Gives the request up."""
        ...


def latest_only(old: Array, new: Array) -> Array:  # noqa: ARG001 - the signature of every aggregation
    """The new action."""
    return new


def weighted_average(old: Array, new: Array) -> Array:
    """0.3 old + 0.7 new."""
    return np.float32(0.3) * old + np.float32(0.7) * new


def average(old: Array, new: Array) -> Array:
    """0.5 old + 0.5 new."""
    return np.float32(0.5) * old + np.float32(0.5) * new


def conservative(old: Array, new: Array) -> Array:
    """0.7 old + 0.3 new."""
    return np.float32(0.7) * old + np.float32(0.3) * new


AGGREGATIONS: Mapping[str, Aggregation] = MappingProxyType(
    {
        "latest_only": latest_only,
        "weighted_average": weighted_average,
        "average": average,
        "conservative": conservative,
    }
)
"""Aggregations by name. Source: huggingface/lerobot src/lerobot/async_inference/configs.py."""


def load_aggregation(name: str) -> Aggregation:
    """The aggregation of that name, or the function behind an import string `package.module:function`.

    Raises:
        ConfigError: no such name, or nothing callable behind the import string.
    """
    if ":" not in name:
        if name in AGGREGATIONS:
            return AGGREGATIONS[name]
        expected = f"one of {', '.join(AGGREGATIONS)} or an import string package.module:function"
        raise ConfigError(f"execution.aggregate: expected {expected}, got {name!r}.{did_you_mean(name, AGGREGATIONS)}")
    module_name, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"execution.aggregate: expected something importable, got {name!r} ({error})") from error
    if not callable(found):
        raise ConfigError(f"execution.aggregate: expected a function (old, new) -> action, got {found!r}")
    return found  # type: ignore[no-any-return]


@dataclass(slots=True)
class QueueCounts:
    """What happened in one episode's queue."""

    requests: int = 0
    """Observations captured."""
    underrun_steps: int = 0
    """Steps at which no action was queued (hold, noop)."""
    waited_steps: int = 0
    """Steps for which the simulator was frozen (wait)."""
    stale_actions: int = 0
    """Rows whose step had passed at their arrival."""
    aggregated_actions: int = 0
    """Rows that met an action already queued."""


@dataclass(frozen=True, slots=True)
class _Expected:
    """The one outstanding request."""

    pending: Pending
    captured_step: int
    arrival_step: int


class ChunkQueue:
    """The actions planned for the steps from now on, without a gap, and at most one chunk under way."""

    def __init__(self, rules: QueueRules) -> None:
        self._rules = rules
        self._aggregate = load_aggregation(rules.aggregate)
        self._actions: deque[Array] = deque()
        self._expected: _Expected | None = None
        self.counts = QueueCounts()
        self.policy_state = b""
        """The policy's memory as of the last chunk that arrived; sent with the next request."""

    def __len__(self) -> int:
        """Actions queued."""
        return len(self._actions)

    @property
    def is_waiting_mode(self) -> bool:
        """Whether an underrun freezes the simulator."""
        return self._rules.underrun == "wait"

    def arrive(self, step: int) -> None:
        """Merges the outstanding chunk if its arrival step has come, waiting for its answer if need be.

        Raises:
            Exception: whatever the request raised, at its arrival step and not before.
        """
        if self._expected is not None and step >= self._expected.arrival_step:
            self._merge_expected(step)

    def wants_chunk(self) -> bool:
        """Whether an observation is to be captured at this step."""
        # Divide, do not multiply: in floating point 29 <= 0.58 * 50 is false.
        return self._expected is None and len(self._actions) / self._rules.horizon <= self._rules.chunk_size_threshold

    def expect(self, pending: Pending, step: int, latency_steps: int) -> None:
        """Takes the request captured before `step`; merges at once when its latency is 0."""
        self._expected = _Expected(pending, step, step + latency_steps)
        self.counts.requests += 1
        self.arrive(step)

    def pop(self, step: int) -> Array | None:
        """The (A,) float32 action for `step`; None on an underrun that is not to be waited out."""
        if not self._actions and self.is_waiting_mode and self._expected is not None:
            self.counts.waited_steps += self._expected.arrival_step - step
            self._merge_expected(step)
        if self._actions:
            return self._actions.popleft()
        self.counts.underrun_steps += 1
        return None

    def cancel(self) -> None:
        """Gives up the outstanding request; it cannot change an episode that has ended."""
        if self._expected is not None:
            self._expected.pending.cancel()
            self._expected = None

    def _merge_expected(self, step: int) -> None:
        expected, self._expected = self._expected, None
        if expected is None:
            return
        chunk = expected.pending.result()
        self.policy_state = chunk.policy_state
        self._merge(self._checked_rows(chunk), expected.captured_step, step)

    def _checked_rows(self, chunk: ActionChunk) -> Array:
        rows = np.asarray(chunk.actions, dtype=np.float32)
        rules = self._rules
        if rows.ndim != 2 or rows.shape[1] != rules.action_dim or rows.shape[0] < rules.chunk_len:
            expected = f"at least {rules.chunk_len} x {rules.action_dim} actions, the policy's own spec"
            raise ContractError(f"policy answer: expected {expected}, got shape {rows.shape}; mend the policy")
        if not np.isfinite(rows).all():
            bad_row = int(np.argwhere(~np.isfinite(rows))[0][0])
            raise ContractError(f"policy answer: expected finite actions, got NaN or inf in row {bad_row}")
        return rows[: rules.horizon]

    def _merge(self, rows: Array, captured_step: int, step: int) -> None:
        stale = min(step - captured_step, len(rows))
        fresh = rows[stale:]
        overlap = min(len(self._actions), len(fresh))
        self.counts.stale_actions += stale
        self.counts.aggregated_actions += overlap
        for index in range(overlap):
            self._actions[index] = np.asarray(self._aggregate(self._actions[index], fresh[index]), dtype=np.float32)
        self._actions.extend(fresh[overlap:])

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
from typing import NamedTuple, Protocol

import numpy as np

from ray_eval.errors import ConfigError, ContractError, did_you_mean
from ray_eval.foreign import look_in_working_folder, told, told_with_traceback
from ray_eval.sections import QueueRules
from ray_eval.types import ActionChunk, Array

Aggregation = Callable[[Array, Array], Array]
"""`aggregate(old, new)` of two (A,) float32 actions for one step; old may be aggregated already."""


class Pending(Protocol):
    """An answer that is under way."""

    def result(self) -> ActionChunk:
        """The answer, waited for if need be; raises what the request raised."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether `result` need not wait."""
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
    where = f"execution.aggregate: expected something importable, got {name!r}"
    look_in_working_folder()
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ConfigError(f"{where}: {told(error)}") from error
    except (Exception, SystemExit) as error:  # a user's module may raise anything while it is imported
        raise ConfigError(f"{where}: {told_with_traceback(error)}") from error
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


class Planned(NamedTuple):
    """A queued action and where it comes from."""

    action: Array
    """(A,) float32."""
    step: int
    """The step that it is for; in LeRobot's queue the label that stands for it."""
    source: int
    """Index of the request whose chunk it is from; of the newest one where chunks overlapped."""
    is_aggregated: bool
    """Whether chunks overlapped there."""


@dataclass(frozen=True, slots=True)
class _Expected:
    """The one outstanding request."""

    pending: Pending
    label: int
    captured_step: int
    arrival_step: int
    source: int


class ChunkQueue:
    """The actions planned for the steps from now on, without a gap, and at most one chunk under way."""

    def __init__(self, rules: QueueRules) -> None:
        self._rules = rules
        self._aggregate = load_aggregation(rules.aggregate)
        self._actions: deque[Planned] = deque()
        self._expected: _Expected | None = None
        self.counts = QueueCounts()
        self.last_delay_steps = 0
        """Steps between the capture and the arrival of the last chunk; 0 before there is one."""
        self._last_raw: tuple[int, Array] | None = None
        self.policy_state = b""
        """The policy's memory as of the last chunk that arrived; sent with the next request."""

    def __len__(self) -> int:
        """Actions queued."""
        return len(self._actions)

    @property
    def actions(self) -> tuple[Planned, ...]:
        """What is queued, next first."""
        return tuple(self._actions)

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

    def arrive_by_itself(self, step: int) -> None:
        """Merges the outstanding chunk if it is physically here, in realtime.

        Raises:
            Exception: whatever the request raised.
        """
        if self._expected is not None and self._expected.pending.is_done:
            self._merge_expected(step)

    def wants_chunk(self) -> bool:
        """Whether an observation is to be captured at this step."""
        # Divide, do not multiply: in floating point 29 <= 0.58 * 50 is false.
        return self._expected is None and len(self._actions) / self._rules.horizon <= self._rules.chunk_size_threshold

    def expect(self, pending: Pending, step: int, latency_steps: int) -> None:
        """Takes the request captured before `step`; merges at once when its latency is 0."""
        self._expected = _Expected(pending, self.label(step), step, step + latency_steps, self.counts.requests)
        self.counts.requests += 1
        self.arrive(step)

    def label(self, step: int) -> int:
        """The step that row 0 of a chunk is for whose observation is captured before `step`."""
        return step

    def prefix(self, step: int) -> Array | None:
        """The last chunk's raw actions from the one for `step` on, (L, R); None where there are none."""
        if self._last_raw is None:
            return None
        label, rows = self._last_raw
        rest = rows[: self._rules.horizon][max(self.label(step) - label, 0) :]
        return rest if len(rest) else None

    def pop(self, step: int) -> Planned | None:
        """The action for `step`; None on an underrun that is not to be waited out."""
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
        self.last_delay_steps = step - expected.captured_step
        self._last_raw = None if chunk.action_raw is None else (expected.label, chunk.action_raw)
        self._merge(self._checked_rows(chunk), expected, step)

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

    def _merge(self, rows: Array, expected: _Expected, step: int) -> None:
        stale = min(step - expected.label, len(rows))
        overlap = min(len(self._actions), len(rows) - stale)
        self.counts.stale_actions += stale
        self.counts.aggregated_actions += overlap
        fresh = [
            Planned(rows[i], expected.label + i, expected.source, is_aggregated=False) for i in range(stale, len(rows))
        ]
        for index in range(overlap):
            self._actions[index] = self._overlapped(self._actions[index], fresh[index])
        self._actions.extend(fresh[overlap:])

    def _overlapped(self, old: Planned, new: Planned) -> Planned:
        action = np.asarray(self._aggregate(old.action, new.action), dtype=np.float32)
        return new._replace(action=action, is_aggregated=True)


class LerobotQueue(ChunkQueue):
    """The queue of LeRobot's client, operation for operation.

    An observation is labelled with the last step whose queued action was executed, the first one with 0, so every
    chunk but the first loses its first action; an underrun makes no action stale; and queued steps that a new chunk
    does not cover are forgotten. Source: huggingface/lerobot@v0.4.4 src/lerobot/async_inference/robot_client.py.
    """

    def __init__(self, rules: QueueRules) -> None:
        super().__init__(rules)
        self._latest = -1

    def label(self, step: int) -> int:  # noqa: ARG002 - this queue counts executed actions, not steps
        """The label of the last action that was executed, 0 before the first."""
        return max(self._latest, 0)

    def pop(self, step: int) -> Planned | None:
        """The next action, whatever the step."""
        planned = super().pop(step)
        if planned is not None:
            self._latest = planned.step
        return planned

    def _merge(self, rows: Array, expected: _Expected, step: int) -> None:  # noqa: ARG002 - as in `label`
        queued = {planned.step: planned for planned in self._actions}
        merged: deque[Planned] = deque()
        for index, row in enumerate(rows):
            new = Planned(row, expected.label + index, expected.source, is_aggregated=False)
            if new.step <= self._latest:
                self.counts.stale_actions += 1
            elif new.step in queued:
                self.counts.aggregated_actions += 1
                merged.append(self._overlapped(queued[new.step], new))
            else:
                merged.append(new)
        self._actions = merged


def make_queue(rules: QueueRules) -> ChunkQueue:
    """The queue of the kind that the rules name."""
    return LerobotQueue(rules) if rules.kind == "lerobot" else ChunkQueue(rules)


class ObservationFilter:
    """LeRobot's server's choice of the observations that it answers, made before one is sent.

    One that finds the queue empty must go. Another is left out if its step was answered before, or if its state is
    nearer than `atol` (L2, in the units of `observation.state`) to the last one sent.
    Source: huggingface/lerobot@v0.4.4 src/lerobot/async_inference/policy_server.py and helpers.py, where atol is 1.
    """

    def __init__(self, atol: float) -> None:
        self._atol = atol
        self._sent_labels: set[int] = set()
        self._last_state: Array | None = None

    def takes(self, label: int, state: Array, *, must_go: bool) -> bool:
        """Whether the observation is to be sent; if so it is what the next one is compared with."""
        if not must_go and self._last_state is not None and self._is_known(label, state, self._last_state):
            return False
        self._sent_labels.add(label)
        self._last_state = np.array(state, dtype=np.float32)
        return True

    def _is_known(self, label: int, state: Array, last: Array) -> bool:
        distance = np.linalg.norm(np.asarray(state, dtype=np.float32) - last)
        return label in self._sent_labels or bool(distance < self._atol)

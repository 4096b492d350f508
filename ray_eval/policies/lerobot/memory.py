"""What LeRobot's pipelines remember of one call for a later one: found, carried with its row, or refused by name.

A pipeline is called for another observation while the first one's forward still runs, so that what a step keeps in
itself is soon another observation's. Where a step behind the policy reads what one before it has kept (the state that
relative actions are relative to), that travels with the row. Any other memory would make wrong actions in silence.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray_eval.policies.lerobot.checkpoint import Checkpoint

_RELATIVE = ("_last_state",)
CARRIED: Mapping[str, tuple[str, ...]] = {
    "RelativeActionsProcessorStep": _RELATIVE,
    "GrootN17PackInputsStep": ("_last_raw_state",),
}
"""Attributes that a step before the policy sets at each call for one behind it, by the step's class.

Source: huggingface/lerobot@v0.6.1, src/lerobot/processor/relative_action_processor.py and
src/lerobot/policies/groot/processor_groot.py.
"""
RELATIVE_REMARK = (
    "its actions are relative to the state: a chunk is relative to the state of its own observation, as it was in "
    "training; lerobot-eval adds the state of each later step, and may give another number"
)
"""What LeRobot's own evaluation does otherwise."""
_SET_BEFORE_READ = ("_current_transition", "_warned_image_keys")
"""Attributes that change and carry nothing over: the transition of the present call; whether a warning was given."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """A step before the policy, and the stand-in that the steps behind it read in its place."""

    source: Any
    stand_in: Any
    names: tuple[str, ...]
    readers: tuple[Any, ...]

    def is_enabled(self) -> bool:
        """Whether a step behind the policy does what it was made for."""
        return any(getattr(reader, "enabled", getattr(reader, "use_relative_action", True)) for reader in self.readers)


class CarriedMemory:
    """What the steps before the policy keep for those behind it, taken off after one call and put down for another.

    Args:
        preprocess: LeRobot's pipeline before the policy; called by one thread.
        postprocess: The one behind it, called by another; its references to steps of the first become references to
            copies that only `put_down` changes.
    """

    def __init__(self, preprocess: Any, postprocess: Any) -> None:
        self._pairs = list(_separated(preprocess.steps, postprocess.steps))

    def remarks(self) -> list[str]:
        """What a reader of the result should know where the actions are relative to the state."""
        enabled = [pair for pair in self._pairs if pair.is_enabled()]
        return [RELATIVE_REMARK] if enabled else []

    def relative_step(self) -> Any:
        """LeRobot's step that makes actions relative to the state, where one is in use; None elsewhere."""
        steps = (pair.stand_in for pair in self._pairs if pair.is_enabled() and pair.names == _RELATIVE)
        return next(steps, None)

    @staticmethod
    def state_of(kept: Sequence[Mapping[str, Any]]) -> Any:
        """The (1, D) state that relative actions are relative to."""
        return next(values[_RELATIVE[0]] for values in kept if _RELATIVE[0] in values)

    def take_off(self) -> tuple[Mapping[str, Any], ...]:
        """What the last call of the pipeline before the policy has kept."""
        return tuple({name: getattr(pair.source, name) for name in pair.names} for pair in self._pairs)

    def put_down(self, kept: Sequence[Mapping[str, Any]]) -> None:
        """Has the pipeline behind the policy read what was kept at another call."""
        for pair, values in zip(self._pairs, kept, strict=True):
            for name, value in values.items():
                setattr(pair.stand_in, name, value)


def _separated(before: Sequence[Any], behind: Sequence[Any]) -> Iterator[_Pair]:
    """Pairs of the steps before the policy that those behind it refer to, the references bent to the stand-ins."""
    for source in before:
        names = CARRIED.get(type(source).__name__, ())
        readers = [(step, name) for step in behind for name, value in vars(step).items() if value is source]
        if names and readers:
            stand_in = copy.copy(source)
            for step, name in readers:
                setattr(step, name, stand_in)
            yield _Pair(source, stand_in, names, tuple(step for step, _ in readers))


class Watch:
    """Looks at all steps of two pipelines before, between and after calls, for what a call leaves behind.

    A part that a first call loads (a tokenizer in place of None) is none of that.
    """

    def __init__(self, preprocess: Any, postprocess: Any) -> None:
        self._steps = [*preprocess.steps, *postprocess.steps]
        self._seen = self._looked_at()
        self._found: set[str] = set()

    def look(self) -> None:
        """To be called after each observation that went through both."""
        seen = self._looked_at()
        for (index, name), value in seen.items():
            before = self._seen.get((index, name), _NOTHING)
            is_first_loading = before in (_NOTHING, _NONE) and value[0] == "object"
            if value != before and not is_first_loading:
                self._found.add(f"{type(self._steps[index]).__name__}.{name}")
        self._seen = seen

    def refuse(self, checkpoint: Checkpoint) -> None:
        """Passes where no step was found to remember.

        Raises:
            SetupError: one does, by name.
        """
        if self._found:
            raise checkpoint.fail(
                "processor steps that keep nothing from one observation to the next",
                f"{', '.join(sorted(self._found))}, which changed when the step was called",
                "an answer would depend on what was asked before it, so that the checkpoint cannot be evaluated here",
            )

    def _looked_at(self) -> dict[tuple[int, str], tuple[Any, ...]]:
        return {
            (index, name): _frozen(value, _package(step), ())
            for index, step in enumerate(self._steps)
            for name, value in _own_parts(step)
        }


_NOTHING = ("nothing",)
_NONE = ("value", "None")


def _own_parts(owner: Any) -> Iterator[tuple[str, Any]]:
    known = (*_SET_BEFORE_READ, *CARRIED.get(type(owner).__name__, ()))
    return ((name, part) for name, part in getattr(owner, "__dict__", {}).items() if name not in known)


def _package(owner: Any) -> str:
    return type(owner).__module__.partition(".")[0]


def _frozen(value: Any, package: str, owners: tuple[int, ...]) -> tuple[Any, ...]:
    """What is equal for two looks at a value exactly where it says the same at both.

    Tensors and arrays count by their bytes, containers and objects of the step's own package by what is in them, all
    other objects by which they are.
    """
    leaf = _frozen_leaf(value)
    if leaf is not None:
        return leaf
    if id(value) in owners:
        return ("owner", owners.index(id(value)))
    owners = (*owners, id(value))
    if isinstance(value, Mapping):
        return ("mapping", *((repr(key), _frozen(item, package, owners)) for key, item in value.items()))
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return ("items", *(_frozen(item, package, owners) for item in value))
    if hasattr(value, "transform_features") or (_package(value) == package and not callable(value)):
        return ("parts", *((name, _frozen(part, package, owners)) for name, part in _own_parts(value)))
    return ("object", id(value))


def _frozen_leaf(value: Any) -> tuple[Any, ...] | None:
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return ("value", repr(value))
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        return ("tensor", str(value.dtype), _frozen_leaf(value.detach().float().cpu().numpy()))
    if hasattr(value, "tobytes") and hasattr(value, "dtype"):
        return ("array", str(value.dtype), tuple(value.shape), value.tobytes())
    return None

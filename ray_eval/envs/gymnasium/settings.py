"""What a user says of a Gymnasium environment: nothing of it is guessed that could be guessed wrongly."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np

from ray_eval.errors import ContractError
from ray_eval.sections import Kwargs, Names, require

_REWARD: Final = re.compile(r"reward\s*(>=|>)\s*(-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)")
_INFO: Final = re.compile(r"info\.(\w+(?:\.\w+)*)")
_RULES: Final = "info.<key>, terminated, or reward>=<number>"


@dataclass(frozen=True, slots=True)
class GymnasiumSettings:
    """Which environment, and how it is read."""

    id: str = ""
    """Its id in Gymnasium's registry, for instance `gym_pusht/PushT-v0`."""
    module: str | None = None
    """Module that is imported first, because it registers the id; null where `module:id` or Gymnasium itself does."""
    kwargs: Kwargs = field(default_factory=Kwargs)
    """Arguments of `gymnasium.make`; a text that is JSON (`3`, `true`, `[1,2]`) is read as that."""
    success: str = ""
    """When an episode is a success: `info.is_success`, `terminated`, or `reward>=4`. Looked at after every step."""
    keys: Names = field(default_factory=Names)
    """Where each observation key is found: `agent_pos`, `pixels.top`, `.` for the whole observation, or `render` for
    what `render()` draws. Empty takes LeRobot's own names where the environment has them."""
    instruction: str = ""
    """The task in words; empty takes the id."""
    start_states: int = 50
    """How many start states there are; each is the seed `env_seed` + its index, given to `reset`."""
    control_hz: float | None = None
    """Steps per second of the environment's time; null takes `metadata["render_fps"]`."""
    noop: tuple[float, ...] = ()
    """The action that does nothing; empty is zeros."""
    reward: Literal["recorded", "ignored"] = "recorded"
    """Whether rewards are summed up and have to be reproducible, or are left out."""
    reproducible: bool = True
    """Whether the environment has to repeat an episode to the bit, which is proved at every start; a run of one that
    need not is marked, and nothing is proved."""

    def __post_init__(self) -> None:
        require(1 <= self.start_states <= 10**6, "simulator.start_states", "1 to 1000000", self.start_states)
        hz = self.control_hz
        require(hz is None or 0 < hz <= 10_000, "simulator.control_hz", "null or above 0, to 10000", hz)


def success_rule(text: str) -> Callable[[float, bool, Mapping[str, Any]], bool]:
    """Whether a step's reward, `terminated` and info are a success, by the user's rule.

    Raises:
        ConfigError: there is no rule, or none of that form.
    """
    if text == "terminated":
        return lambda _reward, terminated, _info: terminated
    if found := _REWARD.fullmatch(text):
        bound, is_strict = float(found[2]), found[1] == ">"
        return lambda reward, _terminated, _info: reward > bound or (reward == bound and not is_strict)
    found = _INFO.fullmatch(text)
    require(found is not None, "simulator.success", f"the rule by which an episode is a success: {_RULES}", text)
    path = found[1] if found is not None else ""
    return lambda _reward, _terminated, info: _told(info, path)


def _told(info: Mapping[str, Any], path: str) -> bool:
    value: Any = info
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            known = ", ".join(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
            raise ContractError(
                f"simulator.success=info.{path}: expected it in the info of every step, got {known or 'nothing'}; "
                f"write one of those, or {_RULES}"
            )
        value = value[name]
    told = np.asarray(value)
    if told.size != 1 or told.dtype.kind not in "biuf":
        raise ContractError(f"simulator.success=info.{path}: expected one truth or number, got {value!r}")
    return bool(told.reshape(()) > 0)

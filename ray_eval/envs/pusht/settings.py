"""What a user may choose of PushT; read from the configuration's section `simulator`."""

from __future__ import annotations

from dataclasses import dataclass

from ray_eval.sections import require


@dataclass(frozen=True, slots=True)
class PushtSettings:
    """PushT's own choices."""

    start_states: int = 50
    """How many seeds are start states: start state k is the reset with seed `env_seed` + k."""

    def __post_init__(self) -> None:
        require(1 <= self.start_states <= 10**6, "simulator.start_states", "1 to 1000000", self.start_states)

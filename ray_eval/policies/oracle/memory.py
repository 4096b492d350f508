"""The oracle's `policy_state`: what it has begun, and what it expected to happen."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from ray_eval.errors import ContractError
from ray_eval.messages import parsed_json
from ray_eval.policies.oracle.arm import Hand
from ray_eval.policies.oracle.stages import Stage
from ray_eval.types import FloatArray

REMEMBERED_STEPS = 60
"""Steps of the imagined motion that are kept; a chunk may be longer."""


MOTION_COLUMNS = 15
"""Position 3 (m), motion of the last step 6 (m, rad), command 3 (m), closing steps, opening steps, stage."""
EXPECTED_M = 0.02
"""Distance up to which the hand is taken to be where the imagined motion was to be at this step."""
FAR_M = 0.03
"""Distance from the whole imagined motion from which on the hand is taken to be at rest."""
BELIEVED_M = 0.012
"""Distance from the imagined motion within which the stage imagined there is taken to be reached."""


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Facts from earlier requests of the same episode."""

    goal: int = 0
    """Index of the goal that is being attempted."""
    attempt: int = 0
    """How often it was begun anew."""
    stage: int = 0
    """Index into `stages`."""
    since: int = 0
    """Control step at which the stage began."""
    stages: tuple[Stage, ...] = ()
    """The goal's stages; empty before it is begun."""
    step: int = 0
    """Control step of the observation that was answered."""
    motion: FloatArray | None = None
    """(T, 15) what was imagined to follow, one row per control step from `step` on."""

    def to_bytes(self) -> bytes:
        """Compact JSON."""
        values = {
            "goal": self.goal,
            "attempt": self.attempt,
            "stage": self.stage,
            "since": self.since,
            "step": self.step,
            "stages": [s.to_json() for s in self.stages],
            "motion": None if self.motion is None else np.round(self.motion[:REMEMBERED_STEPS], 4).tolist(),
        }
        return json.dumps(values, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Memory:
        """The memory that `to_bytes` wrote; a fresh one for no bytes.

        Raises:
            ContractError: the bytes are not the oracle's.
        """
        if not data:
            return cls()
        try:
            values: dict[str, Any] = parsed_json(data)
            stages = tuple(Stage.from_json(s) for s in values.pop("stages"))
            motion = values.pop("motion")
            return cls(stages=stages, motion=None if motion is None else np.array(motion), **values)
        except (ValueError, TypeError, KeyError, AttributeError) as e:
            raise ContractError(f"oracle: policy_state: expected what it handed back before, got {data[:40]!r}") from e

    def recalled(self, hand: Hand, step: int) -> tuple[Hand, Memory]:
        """The observed hand with the motion imagined for where it now is, and the memory in the stage imagined there.

        A stage that was imagined is believed only where the hand is where it was imagined to be.
        """
        if self.motion is None:
            return hand, self
        distances = np.linalg.norm(self.motion[:, :3] - hand.position, axis=1)
        expected = min(max(step - self.step, 0), len(self.motion) - 1)
        row = expected if distances[expected] < EXPECTED_M else int(np.argmin(distances))
        values = self.motion[row]
        counts = (int(values[12]), int(values[13]))
        hand = dataclasses.replace(hand, closing_steps=counts[0], opening_steps=counts[1])
        if distances[row] < FAR_M:
            hand = dataclasses.replace(hand, motion=values[3:9], command=values[9:12])
        if distances[row] < BELIEVED_M and values[14] > self.stage:
            return hand, dataclasses.replace(self, stage=int(values[14]), since=step)
        return hand, self

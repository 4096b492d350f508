"""What happens inside an episode between the chunk queue and the simulator, step by step; pure, runs in each worker."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ray_eval.envs.actions import DELTA_SCALE_M, DELTA_SCALE_RAD
from ray_eval.types import FloatArray, Inside, StepRecord

TraceListener = Callable[[StepRecord], None]
"""Called after every step."""


class InsideRecorder:
    """Gathers an episode's step records into its figures."""

    def __init__(self, control: str) -> None:
        """Takes `ActionSpec.control`: jumps are measured where an action is a pose or a pose delta, and 0 elsewhere."""
        self._is_delta, self._is_pose = control == "delta_pose", control in ("delta_pose", "absolute_pose")
        self._scale_m, self._scale_rad = (DELTA_SCALE_M, DELTA_SCALE_RAD) if self._is_delta else (1.0, 1.0)
        self._lengths: list[int] = []
        self._captured: list[int] = []
        self._filtered = 0
        self._jumps: list[tuple[float, float]] = []
        self._source: int | None = None
        self._last_action: FloatArray | None = None

    def note(self, record: StepRecord) -> None:
        """Takes the next step's record."""
        self._lengths.append(record.queue_length)
        self._filtered += record.is_filtered
        if record.is_captured:
            self._captured.append(record.step)
        if record.source is not None:
            # Underruns in between hold the arm; the seam is where the next chunk takes over.
            if self._last_action is not None and self._source not in (None, record.source):
                self._jumps.append(self._jump(self._last_action, record.action))
            self._source = record.source
        self._last_action = record.action

    def figures(self) -> Inside:
        """What the records amount to."""
        metres, radians = [jump[0] for jump in self._jumps], [jump[1] for jump in self._jumps]
        return Inside(
            queue_lengths=tuple(self._lengths),
            request_span_steps=self._captured[-1] - self._captured[0] if self._captured else 0,
            filtered_observations=self._filtered,
            seams=len(self._jumps),
            seam_jump_m_sum=round(math.fsum(metres), 6),
            seam_jump_m_max=round(max(metres, default=0.0), 6),
            seam_jump_rad_sum=round(math.fsum(radians), 6),
            seam_jump_rad_max=round(max(radians, default=0.0), 6),
        )

    def _jump(self, before: FloatArray, after: FloatArray) -> tuple[float, float]:
        """Distance (m) and angle (rad) between two commanded poses, or between two commanded pose deltas."""
        if not self._is_pose:
            return 0.0, 0.0
        old, new = (self._commanded(action) for action in (before, after))
        return float(np.linalg.norm(new[:3] - old[:3])), rotation_between(old[3:], new[3:])

    def _commanded(self, action: FloatArray) -> FloatArray:
        pose = np.clip(action[:6], -1.0, 1.0) if self._is_delta else action[:6]
        return np.concatenate([pose[:3] * self._scale_m, pose[3:] * self._scale_rad])


def rotation_between(first: FloatArray, second: FloatArray) -> float:
    """Angle in rad, 0 to pi, of the rotation that leads from one axis-angle vector's rotation to another's."""
    (w1, v1), (w2, v2) = _quaternion(first), _quaternion(second)
    vector = w1 * v2 - w2 * v1 - np.cross(v1, v2)
    return 2.0 * math.atan2(float(np.linalg.norm(vector)), abs(w1 * w2 + float(v1 @ v2)))


def _quaternion(axis_angle: FloatArray) -> tuple[float, FloatArray]:
    angle = float(np.linalg.norm(axis_angle))
    if angle == 0.0:
        return 1.0, np.zeros(3)
    return math.cos(angle / 2), axis_angle / angle * math.sin(angle / 2)

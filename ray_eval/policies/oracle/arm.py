"""What the oracle believes about the arm: how the hand answers OSC pose deltas, and a servo that inverts it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from ray_eval.policies.oracle.geometry import rotation_from_vector, vector_from_rotation
from ray_eval.types import FloatArray

POSITION_SCALE_M = 0.05
"""Goal displacement of action 1. Source: robosuite 1.4.0 controllers/config/osc_pose.json."""
ROTATION_SCALE_RAD = 0.5
"""Goal rotation of action 1, same source."""
OPEN, CLOSE = -1.0, 1.0
"""The gripper's two commands."""

# The last control step's motion and this one's command give this step's motion, linearly. Rows: motion of the grip
# site (x y z, m), rotation (x y z, rad); columns: last motion 3, goal displacement 3 (m), the last one 3,
# last rotation 3, goal rotation 3 (rad). Least squares over 700 steps of random actions on libero_object task 1;
# residuals 0.4 mm and 2 mrad a step. The OSC's position and orientation do affect each other.
# fmt: off
_RESPONSE = np.array([
    [0.494, -0.026, 0.064, 0.085, 0.0, 0.006, 0.051, 0.006, -0.019, 0.004, 0.078, -0.002, 0.0, -0.020, 0.001],
    [0.002, 0.334, -0.011, 0.002, 0.108, -0.001, -0.002, 0.068, 0.001, -0.079, -0.005, -0.036, 0.020, 0.001, 0.008],
    [0.122, -0.028, 0.303, -0.007, 0.002, 0.104, -0.028, 0.006, 0.084, 0.001, 0.074, 0.0, -0.001, -0.017, 0.001],
    [0.084, 0.009, -0.011, 0.013, 0.077, -0.002, -0.036, -0.059, 0.002, 0.519, 0.006, 0.041, 0.119, 0.0, -0.008],
    [0.594, 0.052, -0.075, -0.151, 0.010, -0.064, -0.007, -0.021, 0.068, 0.004, 0.673, 0.003, -0.001, 0.077, -0.003],
    [-0.111, 0.071, 0.033, -0.001, 0.085, -0.002, 0.026, -0.098, -0.003, 0.049, 0.005, 0.541, -0.011, -0.002, 0.104],
])
# fmt: on

MOST_TRANSLATION, MOST_ROTATION = 1.0, 0.8
"""Largest components of an action; the full rotation disturbs the position."""

# With motion = 0.6 last + 0.1 command both closed-loop poles are at 0.5.
_GAIN = 2.5
_BRAKE = 3.5


@dataclass(frozen=True, slots=True, eq=False)
class Hand:
    """The hand's state, observed or imagined."""

    position: FloatArray
    """(3,) grip site, world frame, m."""
    rotation: FloatArray
    """(3, 3) hand frame: z out of the palm, fingers along y."""
    motion: FloatArray = dataclasses.field(default_factory=lambda: np.zeros(6))
    """(6,) of the last control step: translation (m), rotation (rad, world frame)."""
    command: FloatArray = dataclasses.field(default_factory=lambda: np.zeros(3))
    """(3,) goal displacement that was commanded in it, m."""
    closing_steps: int = 0
    """Control steps for which closing has been commanded without a break."""
    opening_steps: int = 100
    """Control steps for which opening has been commanded without a break."""


def hand_from_state(state: FloatArray) -> Hand:
    """The hand that LIBERO's (8,) state vector describes, at rest."""
    return Hand(state[:3], rotation_from_vector(state[3:6]))


def servo(hand: Hand, position: FloatArray, rotation: FloatArray, gripper: float) -> FloatArray:
    """The (7,) action that brings the hand towards a pose."""
    move = _GAIN * (position - hand.position) - _BRAKE * hand.motion[:3]
    turn = _GAIN * vector_from_rotation(rotation @ hand.rotation.T) - _BRAKE * hand.motion[3:]
    return np.concatenate(
        [
            _limited_move(move / POSITION_SCALE_M, MOST_TRANSLATION),
            _limited(turn / ROTATION_SCALE_RAD, MOST_ROTATION),
            [gripper],
        ]
    )


def _limited_move(action: FloatArray, limit: float) -> FloatArray:
    """Straight where the way is mostly level; where it is mostly up or down, x and y are corrected at full strength."""
    if np.linalg.norm(action[:2]) > abs(action[2]) and action[2] < 0:
        return _limited(action, limit)
    return np.concatenate([_limited(action[:2], limit), np.clip(action[2:], -limit, limit)])


def _limited(action: FloatArray, limit: float) -> FloatArray:
    largest = float(np.max(np.abs(action)))
    return action if largest <= limit else np.asarray(action * (limit / largest))


def imagine(hand: Hand, action: FloatArray) -> Hand:
    """The hand one control step later, in free space."""
    move, turn = action[:3] * POSITION_SCALE_M, action[3:6] * ROTATION_SCALE_RAD
    motion = _RESPONSE @ np.concatenate([hand.motion[:3], move, hand.command, hand.motion[3:], turn])
    closing = action[6] > 0
    return Hand(
        position=hand.position + motion[:3],
        rotation=rotation_from_vector(motion[3:]) @ hand.rotation,
        motion=motion,
        command=move,
        closing_steps=hand.closing_steps + 1 if closing else 0,
        opening_steps=0 if closing else hand.opening_steps + 1,
    )

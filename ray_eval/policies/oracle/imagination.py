"""A chunk of actions, planned open-loop: the oracle runs its stages against its own model of the arm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ray_eval.policies.oracle.arm import Hand, imagine, servo
from ray_eval.policies.oracle.memory import MOTION_COLUMNS, Memory
from ray_eval.policies.oracle.progress import Moment, hand_goal
from ray_eval.types import FloatArray

ACTION_DIM = 7
"""OSC pose delta (3 + 3) and gripper."""


@dataclass(slots=True, eq=False)
class _Imagined:
    """The course of events as it is believed to go on from an observation."""

    hand: Hand
    stage: int
    since: int
    step: int


def imagine_chunk(now: Moment, memory: Memory, rows: int) -> tuple[FloatArray, FloatArray]:
    """The (rows, 7) actions, and the (rows + 1, 15) motion they are believed to cause, the observed hand first.

    Whatever part of the chunk is executed, the next observation is compared with the motion row by row.
    """
    course = _Imagined(now.hand, memory.stage, memory.since, now.step)
    actions, motion = np.zeros((rows, ACTION_DIM)), np.zeros((rows + 1, MOTION_COLUMNS))
    for row in range(rows):
        _advance(course, now, memory)
        motion[row] = _as_row(course)
        actions[row] = _next_action(course, now, memory)
        course.hand = imagine(course.hand, actions[row])
        course.step += 1
    _advance(course, now, memory)
    motion[rows] = _as_row(course)
    return actions, motion


def _advance(course: _Imagined, now: Moment, memory: Memory) -> None:
    while course.stage < len(memory.stages):
        stage = memory.stages[course.stage]
        if not stage.is_done(course.hand, hand_goal(stage, now), course.step - course.since):
            return
        course.stage, course.since = course.stage + 1, course.step


def _next_action(course: _Imagined, now: Moment, memory: Memory) -> FloatArray:
    """The servo's action in the present stage; behind the last one the hand stays at its pose."""
    stage = memory.stages[min(course.stage, len(memory.stages) - 1)]
    return servo(course.hand, hand_goal(stage, now), stage.rotation, stage.gripper)


def _as_row(course: _Imagined) -> FloatArray:
    hand = course.hand
    counts = [float(hand.closing_steps), float(hand.opening_steps), float(course.stage)]
    return np.concatenate([hand.position, hand.motion, hand.command, counts])

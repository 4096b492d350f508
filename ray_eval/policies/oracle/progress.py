"""What the oracle is about at an observation: it leaves stages that are done, and begins anew what failed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from ray_eval.errors import ContractError
from ray_eval.policies.oracle.arm import Hand
from ray_eval.policies.oracle.memory import Memory
from ray_eval.policies.oracle.plan import Goal
from ray_eval.policies.oracle.scene import Scene
from ray_eval.policies.oracle.skills import is_met, stages_of
from ray_eval.policies.oracle.stages import Stage
from ray_eval.types import FloatArray

SLIPPED_M = 0.04
"""Difference from the planned hold up to which the observed one is believed."""
LOST_M = 0.05
"""Difference from the planned hold at which the object counts as lost."""


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """One observation, read."""

    scene: Scene
    """Where everything is."""
    hand: Hand
    """The hand, with the motion that memory adds."""
    step: int
    """Control step of the observation."""


def brought_up_to(now: Moment, memory: Memory, goals: tuple[Goal, ...]) -> Memory:
    """The memory with the goal and the stage that an observation calls for.

    Raises:
        ContractError: the memory is of another task.
    """
    if not 0 <= memory.goal < len(goals):
        raise ContractError(f"oracle: policy_state: expected one of {len(goals)} goals, got number {memory.goal}")
    if not memory.stages:
        return _begun(now, memory, goals)
    memory = _advanced(now, memory)
    if memory.stage >= len(memory.stages):
        return _begun(now, _after_attempt(now, memory, goals), goals)
    if is_lost(memory.stages[memory.stage], now):
        return _begun(now, dataclasses.replace(memory, attempt=memory.attempt + 1), goals)
    return memory


def hand_goal(stage: Stage, now: Moment) -> FloatArray:
    """Where the hand goes: with a carried object its hold as observed, or as planned while it is not held yet."""
    if not stage.carried:
        return stage.position
    offset = _held_at(stage, now)
    if np.linalg.norm(offset - stage.offset) > SLIPPED_M:
        offset = stage.offset
    return np.asarray(stage.position + stage.rotation @ offset)


def is_lost(stage: Stage, now: Moment) -> bool:
    """Whether a stage that carries an object has lost it."""
    return bool(stage.carried) and float(np.linalg.norm(_held_at(stage, now) - stage.offset)) > LOST_M


def _held_at(stage: Stage, now: Moment) -> FloatArray:
    """(3,) the hand relative to the carried object, in the hand's frame, m."""
    return np.asarray(now.hand.rotation.T @ (now.hand.position - now.scene.pose(stage.carried).position))


def _advanced(now: Moment, memory: Memory) -> Memory:
    while memory.stage < len(memory.stages):
        stage = memory.stages[memory.stage]
        if not stage.is_done(now.hand, hand_goal(stage, now), now.step - memory.since):
            break
        memory = dataclasses.replace(memory, stage=memory.stage + 1, since=now.step)
    return memory


def _after_attempt(now: Moment, memory: Memory, goals: tuple[Goal, ...]) -> Memory:
    """The same goal once more if it is not met, else the next that is not; the next one if all seem to be."""
    if not is_met(goals[memory.goal], now.scene):
        return dataclasses.replace(memory, attempt=memory.attempt + 1)
    following = [(memory.goal + 1 + i) % len(goals) for i in range(len(goals))]
    unmet = [i for i in following if not is_met(goals[i], now.scene)]
    return dataclasses.replace(memory, goal=(unmet or following)[0], attempt=0)


def _begun(now: Moment, memory: Memory, goals: tuple[Goal, ...]) -> Memory:
    stages = stages_of(goals[memory.goal], now.scene, now.hand, memory.attempt)
    return dataclasses.replace(memory, stages=tuple(stages), stage=0, since=now.step)

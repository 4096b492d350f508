"""The scripted expert, served like any other policy: it plans a chunk by imagining the arm's answer to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ray_eval.policies.oracle.arm import Hand, hand_from_state, imagine, servo
from ray_eval.policies.oracle.memory import Memory
from ray_eval.policies.oracle.plan import Goal, goals_of
from ray_eval.policies.oracle.scene import Scene, scene_of
from ray_eval.policies.oracle.skills import is_met, stages_of
from ray_eval.policies.oracle.stages import Stage
from ray_eval.sections import OraclePolicy
from ray_eval.types import (
    ENVIRONMENT_STATE,
    IMAGE_KEYS,
    STATE,
    ActionChunk,
    FloatArray,
    Observation,
    PolicySpec,
)

SLIPPED_M = 0.04
"""Difference from the planned hold up to which the observed one is believed."""
LOST_M = 0.05
"""Difference from the planned hold at which the object counts as lost."""


class Oracle:
    """A scripted expert for LIBERO's four suites that reads the privileged state; stateless, `batch_invariant`."""

    def __init__(self, section: OraclePolicy) -> None:
        keys = (*IMAGE_KEYS, STATE, ENVIRONMENT_STATE) if section.images else (STATE, ENVIRONMENT_STATE)
        self._spec = PolicySpec("oracle", keys, section.chunk_len, batch_invariant=True)

    @property
    def spec(self) -> PolicySpec:
        """State and privileged state, and by default both images, which it does not look at."""
        return self._spec

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation, each computed by itself.

        Raises:
            ContractError: an array is missing, or the instruction follows no pattern of LIBERO's.
        """
        return [self._infer(o) for o in observations]

    def _infer(self, observation: Observation) -> ActionChunk:
        scene = scene_of(observation)
        goals = goals_of(observation.task, observation.environment_names)
        memory = Memory.from_bytes(observation.policy_state)
        hand = hand_from_state(np.asarray(observation.arrays[STATE], dtype=np.float64))
        hand, stage = memory.recalled(hand, observation.step)
        if stage > memory.stage:
            memory = dataclasses.replace(memory, stage=stage, since=observation.step)
        memory = _present(memory, goals, scene, hand, observation.step)
        actions, motion = _imagine_chunk(memory, scene, hand, observation.step, self._spec.chunk_len)
        memory = dataclasses.replace(memory, step=observation.step, motion=motion)
        return ActionChunk(actions.astype(np.float32), memory.to_bytes())


def _present(memory: Memory, goals: tuple[Goal, ...], scene: Scene, hand: Hand, step: int) -> Memory:
    """The memory brought up to an observation: stages that are done are left, lost objects are begun anew."""
    if not memory.stages:
        return _begun(memory, goals, scene, hand, step)
    memory = _advanced(memory, scene, hand, step)
    if memory.stage >= len(memory.stages):
        if is_met(goals[memory.goal], scene):
            memory = dataclasses.replace(memory, goal=(memory.goal + 1) % len(goals), attempt=-1)
        return _begun(dataclasses.replace(memory, attempt=memory.attempt + 1), goals, scene, hand, step)
    if _is_lost(memory.stages[memory.stage], scene, hand):
        return _begun(dataclasses.replace(memory, attempt=memory.attempt + 1), goals, scene, hand, step)
    return memory


def _begun(memory: Memory, goals: tuple[Goal, ...], scene: Scene, hand: Hand, step: int) -> Memory:
    stages = stages_of(goals[memory.goal], scene, hand, memory.attempt)
    return dataclasses.replace(memory, stages=tuple(stages), stage=0, since=step)


def _advanced(memory: Memory, scene: Scene, hand: Hand, step: int) -> Memory:
    while memory.stage < len(memory.stages):
        stage = memory.stages[memory.stage]
        if not stage.is_done(hand, _hand_goal(stage, scene, hand), step - memory.since):
            break
        memory = dataclasses.replace(memory, stage=memory.stage + 1, since=step)
    return memory


def _held_at(stage: Stage, scene: Scene, hand: Hand) -> FloatArray:
    """(3,) the hand relative to the carried object, in the hand's frame, m."""
    return hand.rotation.T @ (hand.position - scene.poses[stage.carried].position)


def _hand_goal(stage: Stage, scene: Scene, hand: Hand) -> FloatArray:
    """Where the hand goes: with a carried object its offset as observed, or as planned while it is not held yet."""
    if not stage.carried:
        return stage.position
    offset = _held_at(stage, scene, hand)
    if np.linalg.norm(offset - stage.offset) > SLIPPED_M:
        offset = stage.offset
    return np.asarray(stage.position + stage.rotation @ offset)


def _is_lost(stage: Stage, scene: Scene, hand: Hand) -> bool:
    return bool(stage.carried) and float(np.linalg.norm(_held_at(stage, scene, hand) - stage.offset)) > LOST_M


def _imagine_chunk(memory: Memory, scene: Scene, hand: Hand, step: int, rows: int) -> tuple[FloatArray, FloatArray]:
    """The (rows, 7) actions, and the (rows, 15) motion that they are believed to cause, the observed hand first."""
    observed, actions, motion = hand, np.zeros((rows, 7)), np.zeros((rows + 1, 15))
    index, since, width = memory.stage, memory.since, 0.0
    for row in range(rows + 1):
        index, since = _imagined_stage(memory.stages, index, since, scene, observed, hand, step + row)
        motion[row] = _as_row(hand, index)
        if row == rows:
            break
        stage = memory.stages[min(index, len(memory.stages) - 1)]
        actions[row] = servo(hand, _hand_goal(stage, scene, observed), stage.rotation, stage.gripper, stage.speed)
        hand = imagine(hand, actions[row], width)
    return actions, motion


def _imagined_stage(
    stages: tuple[Stage, ...], index: int, since: int, scene: Scene, observed: Hand, hand: Hand, step: int
) -> tuple[int, int]:
    while index < len(stages) and stages[index].is_done(hand, _hand_goal(stages[index], scene, observed), step - since):
        index, since = index + 1, step
    return index, since


def _as_row(hand: Hand, stage: int) -> FloatArray:
    counts = [float(hand.closing_steps), float(hand.opening_steps), float(stage)]
    return np.concatenate([hand.position, hand.motion, hand.command, counts])

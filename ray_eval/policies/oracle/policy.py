"""The scripted expert, served like any other policy: it plans a chunk by imagining the arm's answer to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ray_eval.errors import ContractError
from ray_eval.policies.oracle.arm import hand_from_state
from ray_eval.policies.oracle.imagination import imagine_chunk
from ray_eval.policies.oracle.memory import Memory
from ray_eval.policies.oracle.plan import goals_of
from ray_eval.policies.oracle.progress import Moment, brought_up_to
from ray_eval.policies.oracle.scene import scene_of
from ray_eval.sections import OraclePolicy
from ray_eval.types import ENVIRONMENT_STATE, IMAGE_KEYS, STATE, ActionChunk, FloatArray, Observation, PolicySpec

STATE_SIZE = 8
"""Numbers in LIBERO's state vector: eef position, axis-angle, two finger positions."""


class Oracle:
    """A scripted expert for LIBERO's four suites that reads the privileged state; stateless, `batch_invariant`."""

    def __init__(self, section: OraclePolicy) -> None:
        keys = (*IMAGE_KEYS, STATE, ENVIRONMENT_STATE) if section.images else (STATE, ENVIRONMENT_STATE)
        chunk_len = section.chunk_len
        self._spec = PolicySpec("oracle", keys, chunk_len, replan_steps=chunk_len, batch_invariant=True)

    @property
    def spec(self) -> PolicySpec:
        """State and privileged state, and by default both images, which it does not look at."""
        return self._spec

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation, each computed by itself.

        Raises:
            ContractError: an array is missing or has another shape, the instruction follows no pattern of LIBERO's,
                or `policy_state` is not the oracle's.
        """
        return [self._infer(o) for o in observations]

    def _infer(self, observation: Observation) -> ActionChunk:
        scene, step = scene_of(observation), observation.step
        goals = goals_of(observation.task, observation.environment_names)
        hand, memory = Memory.from_bytes(observation.policy_state).recalled(hand_from_state(_state(observation)), step)
        memory = brought_up_to(Moment(scene, hand, step), memory, goals)
        actions, motion = imagine_chunk(Moment(scene, hand, step), memory, self._spec.chunk_len)
        memory = dataclasses.replace(memory, step=step, motion=motion)
        return ActionChunk(actions.astype(np.float32), memory.to_bytes())


def _state(observation: Observation) -> FloatArray:
    """The (8,) state vector."""
    state = observation.arrays.get(STATE)
    if state is None or state.shape != (STATE_SIZE,):
        raise ContractError(
            f"oracle: {STATE}: expected shape ({STATE_SIZE},), got {None if state is None else state.shape}; "
            "the oracle needs state_format libero_8d and n_obs_steps 1"
        )
    return np.asarray(state, dtype=np.float64)

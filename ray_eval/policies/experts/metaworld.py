"""Meta-World's packaged experts, one per task, behind the Policy seam: pure functions of the env's 39 numbers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Final

import metaworld.env_dict as catalogue
import numpy as np
from metaworld.policies import ENV_POLICY_MAP

from ray_eval.errors import ContractError
from ray_eval.sections import ExpertPolicy
from ray_eval.types import ENVIRONMENT_STATE, ActionChunk, FloatArray, Observation, PolicySpec

OBSERVATION_DIM: Final = 39
"""Numbers of Meta-World's observation, the last three of them the goal."""
ACTION_DIM: Final = 4
"""Displacement of the hand and the gripper's effort."""
_SUITES: Final[dict[str, tuple[str, ...]]] = {
    "metaworld_mt10": tuple(catalogue.MT10_V3),
    "metaworld_mt50": tuple(catalogue.MT50_V3),
    "metaworld_ml10": tuple(catalogue.ML10_V3["test"]),
    "metaworld_ml45": tuple(catalogue.ML45_V3["test"]),
}


class Experts:
    """The expert of each request's task. One action an answer: they look at every step."""

    def __init__(self, section: ExpertPolicy) -> None:
        # They are written with gains for which Meta-World limits the answer, and say so at each.
        warnings.filterwarnings("ignore", message="Constant", module=r"metaworld\.policies")
        self._experts: dict[str, Any] = {}
        self._spec = PolicySpec(
            name="expert",
            keys=(*(section.cameras or ()), ENVIRONMENT_STATE) if section.images else (ENVIRONMENT_STATE,),
            chunk_len=1,
            action_dim=ACTION_DIM,
            replan_steps=1,
            batch_invariant=True,
            runtime={"metaworld": metadata.version("metaworld")},
        )

    @property
    def spec(self) -> PolicySpec:
        """The privileged state, and with `images` the usual cameras, unseen; `batch_invariant`."""
        return self._spec

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk of one action per observation.

        Raises:
            ContractError: the suite is unknown, or the observation is another or hides the goal.
        """
        return [ActionChunk(self._action(observation)[None]) for observation in observations]

    def _action(self, observation: Observation) -> Any:
        task = _task(observation.suite, observation.task_id)
        if task not in self._experts:
            self._experts[task] = ENV_POLICY_MAP[task]()
        answer = self._experts[task].get_action(_numbers(observation))
        return np.asarray(answer, dtype=np.float32)


def _task(suite: str, task_id: int) -> str:
    """The name of a suite's task; a task is a suite of its own as well."""
    tasks = _SUITES.get(suite, (suite.removeprefix("metaworld_"),))
    if not 0 <= task_id < len(tasks) or tasks[task_id] not in ENV_POLICY_MAP:
        raise ContractError(f"expert: expected a suite and task of Meta-World, got {suite}/{task_id}")
    return tasks[task_id]


def _numbers(observation: Observation) -> FloatArray:
    numbers: FloatArray = np.array(observation.arrays[ENVIRONMENT_STATE], dtype=np.float64)
    if numbers.shape != (OBSERVATION_DIM,):
        raise ContractError(f"expert: expected {OBSERVATION_DIM} numbers of Meta-World, got shape {numbers.shape}")
    if not numbers[-3:].any():
        raise ContractError(
            f"expert: expected the goal in the last 3 numbers, got zeros; {observation.suite} hides it: write "
            "simulator.goal=observable"
        )
    return numbers

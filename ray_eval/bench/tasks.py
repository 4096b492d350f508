"""The tasks that benches run, and the environments of both sides for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ray_eval.bench.exactness import Case, random_actions
from ray_eval.envs import make_env
from ray_eval.envs.libero import suites
from ray_eval.envs.libero.reference import PlainLibero
from ray_eval.envs.libero.settings import libero
from ray_eval.errors import ConfigError
from ray_eval.interfaces import Env
from ray_eval.sections import EnvSettings, ObservationRecipe
from ray_eval.types import STATE, Array, EpisodeSpec, FloatArray

ENV_SEED = 7
"""Seed of every reset."""


@dataclass(frozen=True, slots=True)
class BenchTask:
    """One task, at its first init state."""

    suite: str
    """Name of the suite."""
    task_id: int
    """Index of the task."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The task that `suite/task_id` names.

        Raises:
            ConfigError: it is written otherwise.
        """
        suite, _, task_id = text.rpartition("/")
        if not suite or not task_id.isdecimal():
            raise ConfigError(f"task: expected suite/task_id, for instance libero_object/0, got {text!r}")
        return cls(suite, int(task_id))

    def __str__(self) -> str:
        """As tables name it."""
        return f"{self.suite} {self.task_id}"

    def spec(self, init_state_id: int = 0, max_steps: int = 1000) -> EpisodeSpec:
        """An episode of it."""
        return EpisodeSpec(self.suite, self.task_id, init_state_id, ENV_SEED, max_steps)

    def init_state(self, init_state_id: int = 0) -> FloatArray:
        """[time, qpos, qvel] of a stored init state."""
        state: FloatArray = suites.init_states(self.suite, self.task_id)[init_state_id]
        return state

    def actions(self, count: int, init_state_id: int = 0) -> Array:
        """(count, 7) random actions, the same in every run."""
        return random_actions(Case(self.suite, self.task_id, init_state_id), count)

    def settings(self, keys: tuple[str, ...] = (STATE,)) -> EnvSettings:
        """Those of our env; it settles nothing."""
        return EnvSettings(ObservationRecipe(keys), libero(settle_steps=0))

    def env(self) -> Env:
        """Ours, without cameras."""
        return make_env(self.suite, self.task_id, self.settings())

    def plain(self, *, has_cameras: bool = True) -> PlainLibero:
        """LIBERO's own."""
        return PlainLibero(self.suite, self.task_id, has_cameras=has_cameras)

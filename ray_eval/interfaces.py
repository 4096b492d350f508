"""The two seams of ray-eval: a policy answers observations, an env turns actions into observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from ray_eval.types import ActionChunk, Array, EpisodeSpec, FloatArray, Observation, PolicySpec, StepResult


@runtime_checkable
class Policy(Protocol):
    """Something that answers observations with action chunks and remembers nothing in between."""

    @property
    def spec(self) -> PolicySpec:
        """What the policy needs and what it answers; constant."""
        ...

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation, in order.

        A pure function of each observation (its `noise_seed` and `policy_state` included): the same
        observation gives the same chunk in any order and on any replica.

        Raises:
            ContractError: an observation lacks what the spec asks for.
        """
        ...


@runtime_checkable
class StagedPolicy(Policy, Protocol):
    """A policy whose rows are brought to its device while an earlier forward runs there."""

    def stage(self, observation: Observation) -> Any:
        """The observation as `infer_staged` takes it; called from another thread than the forwards."""
        ...

    def infer_staged(self, rows: Sequence[Any]) -> list[ActionChunk]:
        """As `infer_batch`, bit for bit; a row may come several times."""
        ...


@runtime_checkable
class RowwisePolicy(Policy, Protocol):
    """A policy whose rows are computed by themselves, several at a time, and fail one by one."""

    @property
    def lanes(self) -> int:
        """Most rows that are computed at a time; each is asked for alone, in a thread of its own."""
        ...

    def infer_rows(self, observations: Sequence[Observation]) -> list[ActionChunk | Exception]:
        """As `infer_batch`, with what was raised in the place of a chunk; an EpisodeError or a ContractError."""
        ...


@runtime_checkable
class Env(Protocol):
    """One simulated task, owned by one thread; observations are made only when asked for."""

    @property
    def task(self) -> str:
        """The task's name."""
        ...

    @property
    def instruction(self) -> str:
        """The task in words, as a policy is given it."""
        ...

    @property
    def environment_names(self) -> tuple[str, ...]:
        """Names beside `observation.environment_state`; empty where that is not in the recipe."""
        ...

    @property
    def render_count(self) -> int:
        """Camera images rendered for observations since the last `reset`."""
        ...

    def reset(self, episode: EpisodeSpec) -> None:
        """Brings the env to step 0 of the episode: seeded, reset, at its init state, settled.

        Raises:
            EpisodeError: the simulator could not be brought there.
        """
        ...

    def observe(self) -> Mapping[str, Array]:
        """The arrays of the recipe at the present step; asking twice renders once."""
        ...

    def native_action(self, action: Array) -> FloatArray:
        """The (A,) action that the simulator executes for a policy's (A,) action."""
        ...

    def noop_action(self) -> FloatArray:
        """The (A,) native action that keeps the robot where it is."""
        ...

    def step(self, action: FloatArray) -> StepResult:
        """Executes one native action for one control step.

        Raises:
            EpisodeError: the simulator diverged.
        """
        ...

    def simulator_state(self) -> FloatArray:
        """[time, qpos, qvel] as float64, a copy."""
        ...

    def picture(self) -> Array:
        """What a person should see of the present step: (H, W, 3) uint8 RGB, upright."""
        ...

    def close(self) -> None:
        """Frees the simulator and its GL context; the env is not used again."""
        ...

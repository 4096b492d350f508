"""The proof that an environment repeats its episodes, which nothing in Gymnasium promises; runs at a worker's start."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from ray_eval.envs.canary import fixed_actions
from ray_eval.envs.gymnasium.env import GymnasiumEnv
from ray_eval.errors import SetupError
from ray_eval.types import ActionSpec, EpisodeSpec, FloatArray, StepResult

STEPS = 50
"""Steps of the proof's episodes at most."""


def prove(env: GymnasiumEnv, episode: EpisodeSpec, action: ActionSpec) -> str:
    """SHA-256 of the episode's states, once it has been run twice in one env, the second time after another one.

    Raises:
        SetupError: the two differ; the message says in what, and where first.
    """
    first = list(_run(env, episode, action))
    other = EpisodeSpec(episode.suite, episode.task_id, episode.init_state_id, episode.env_seed + 1, episode.max_steps)
    for _ in _run(env, other, action):
        pass
    second = list(_run(env, episode, action))
    for step, (before, after) in enumerate(zip(first, second, strict=False)):
        what = _difference(before, after)
        if what:
            raise SetupError(
                f"{env.task}: expected the same episode twice, got another {what} at step {step} after another "
                f"episode; {_REMEDIES.get(what, '')}simulator.reproducible=false runs it all the same, marked as not "
                "reproducible"
            )
    return hashlib.sha256(b"".join(state.tobytes() for state, _ in first)).hexdigest()


_REMEDIES = {"reward": "simulator.reward=ignored leaves rewards out; "}


def _run(env: GymnasiumEnv, episode: EpisodeSpec, action: ActionSpec) -> Iterator[tuple[FloatArray, StepResult]]:
    env.reset(episode)
    yield env.simulator_state(), StepResult(0.0, is_success=False)
    for row in fixed_actions(action, STEPS):
        result = env.step(row)
        yield env.simulator_state(), result
        if result.is_over:
            return


def _difference(before: tuple[FloatArray, StepResult], after: tuple[FloatArray, StepResult]) -> str:
    """`observation`, `reward`, `success` or `end`; empty where the two are equal."""
    (state, result), (other, later) = before, after
    if state.tobytes() != other.tobytes():
        return "observation"
    if result.reward != later.reward:
        return "reward"
    if result.is_success != later.is_success:
        return "success"
    return "end" if result.is_over != later.is_over else ""

"""The oracle in real LIBERO, under protocol `openpi` and without Ray, and what it does repeated in plain LIBERO."""

from dataclasses import dataclass

import numpy as np
import pytest

from ray_eval.envs.libero import suites
from ray_eval.envs.libero.reference import PlainEpisode, PlainLibero, play
from ray_eval.policies import make_policy
from ray_eval.sections import EnvSettings, ObservationRecipe, OraclePolicy
from ray_eval.types import EpisodeSpec, Observation

MAX_STEPS = {"libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520}
SEED = 7


@dataclass
class Played:
    """An episode of ours, up to the step on which the goal held."""

    actions: list
    states: list
    is_success: list


def solve(suite, task_id, init_state_id=0, replan_steps=5):
    from ray_eval.envs.libero.env import LiberoEnv

    policy = make_policy(OraclePolicy(images=False))
    env = LiberoEnv(suite, task_id, EnvSettings(ObservationRecipe(policy.spec.keys)))
    try:
        env.reset(EpisodeSpec(suite, task_id, init_state_id, env_seed=SEED, max_steps=MAX_STEPS[suite]))
        memory, played = b"", Played([], [env.simulator_state()], [False])
        while len(played.actions) < MAX_STEPS[suite]:
            step, names = len(played.actions), env.environment_names
            observation = Observation(
                env.observe(), env.instruction, step=step, environment_names=names, policy_state=memory
            )
            (chunk,) = policy.infer_batch([observation])
            memory = chunk.policy_state
            for action in chunk.actions[:replan_steps]:
                played.actions.append(env.native_action(action))
                played.is_success.append(env.step(played.actions[-1]).is_success)
                played.states.append(env.simulator_state())
                if played.is_success[-1]:
                    return played
        return played
    finally:
        env.close()


def check_in_plain_libero(suite, task_id):
    """Solves the task; in a fresh `OffScreenRenderEnv` the same actions must have the same ends, step by step."""
    played = solve(suite, task_id)
    assert played.is_success.index(True) == len(played.actions)
    init_state = suites.init_states(suite, task_id)[0]
    plain = PlainLibero(suite, task_id)  # with cameras: their context makes one more forward
    try:
        seen = list(play(plain, PlainEpisode(SEED, init_state, np.array(played.actions), images_every=1000)))
    finally:
        plain.close()
    assert [step.is_success for step in seen] == played.is_success
    assert np.array([step.state for step in seen]).tobytes() == np.array(played.states).tobytes()


def test_the_oracle_puts_an_object_into_the_basket_in_plain_libero_as_well():
    check_in_plain_libero("libero_object", 0)


@pytest.mark.nightly
@pytest.mark.parametrize("task_id", range(10))
@pytest.mark.parametrize("suite", MAX_STEPS)
def test_every_task_that_the_oracle_solves_is_solved_in_plain_libero_on_the_same_step(suite, task_id):
    check_in_plain_libero(suite, task_id)

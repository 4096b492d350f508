"""The oracle in real LIBERO, under protocol `openpi` and without Ray."""

import pytest

from ray_eval.policies import make_policy
from ray_eval.sections import EnvSettings, ObservationRecipe, OraclePolicy
from ray_eval.types import EpisodeSpec, Observation

MAX_STEPS = {"libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520}


def is_solved(suite, task_id, init_state_id=0, replan_steps=5):
    from ray_eval.envs.libero.env import LiberoEnv

    policy = make_policy(OraclePolicy(images=False))
    env = LiberoEnv(suite, task_id, EnvSettings(ObservationRecipe(policy.spec.keys)))
    try:
        env.reset(EpisodeSpec(suite, task_id, init_state_id, env_seed=7, max_steps=MAX_STEPS[suite]))
        memory, step = b"", 0
        while step < MAX_STEPS[suite]:
            names = env.environment_names
            observation = Observation(
                env.observe(), env.instruction, step=step, environment_names=names, policy_state=memory
            )
            (chunk,) = policy.infer_batch([observation])
            memory = chunk.policy_state
            for action in chunk.actions[:replan_steps]:
                step += 1
                if env.step(env.native_action(action)).is_success:
                    return True
        return False
    finally:
        env.close()


def test_the_oracle_puts_an_object_into_the_basket():
    assert is_solved("libero_object", 0)


@pytest.mark.nightly
@pytest.mark.parametrize("task_id", range(10))
@pytest.mark.parametrize("suite", MAX_STEPS)
def test_the_oracle_solves_every_task_from_its_first_init_state(suite, task_id):
    assert is_solved(suite, task_id)

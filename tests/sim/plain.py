"""Episodes as plain LIBERO plays them, in a fresh environment: the reference for ours."""

from dataclasses import dataclass

import numpy as np

from ray_eval.envs.libero import suites

SEED = 7
INIT_STATE_ID = 3


@dataclass(frozen=True)
class Recording:
    """What plain LIBERO showed after settling and after each action."""

    suite: str
    task_id: int
    actions: np.ndarray
    states: list
    observations: list


def random_actions(count):
    return np.random.default_rng(0).uniform(-0.8, 0.8, (count, 7))


def turn_on_stove(env, step):
    """Turns the knob, where there is one, before step 3, so that the burner's flame appears in mid-episode."""
    if step == 3 and "flat_stove_1_button" in env.sim.model.joint_names:
        env.sim.data.set_joint_qpos("flat_stove_1_button", 1.0)


def record(env_class, suite, task_id, *, steps=6, settle_steps=3, init_states="stored"):
    """A fresh environment's episode, cameras at 256 px."""
    bddl = str(suites.task(suite, task_id).bddl_path)
    env = env_class(bddl_file_name=bddl, camera_heights=256, camera_widths=256)
    env.seed(SEED)
    observation = env.reset()
    if init_states == "stored":
        observation = env.set_init_state(suites.init_states(suite, task_id)[INIT_STATE_ID])
    for _ in range(settle_steps):
        observation = env.step([0] * 6 + [-1])[0]
    states, observations = [env.get_sim_state()], [observation]
    actions = random_actions(steps)
    for step, action in enumerate(actions):
        turn_on_stove(env.env, step)
        observations.append(env.step(action)[0])
        states.append(env.get_sim_state())
    env.env.sim._render_context_offscreen.gl_ctx.make_current()
    env.close()
    return Recording(suite, task_id, actions, states, observations)

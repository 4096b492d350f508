"""Episodes as plain LIBERO plays them, in a fresh environment: the reference for ours."""

from dataclasses import dataclass

import numpy as np

from ray_eval.envs.libero import suites
from ray_eval.envs.libero.reference import PlainEpisode, PlainLibero, play

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


def record(suite, task_id, *, steps=6, settle_steps=3, init_states="stored"):
    """A fresh environment's episode, cameras at 256 px."""
    init_state = suites.init_states(suite, task_id)[INIT_STATE_ID] if init_states == "stored" else None
    episode = PlainEpisode(SEED, init_state, random_actions(steps), settle_steps)
    plain = PlainLibero(suite, task_id)
    seen = list(play(plain, episode, turn_on_stove))
    plain.close()
    return Recording(
        suite, task_id, episode.actions, [step.state for step in seen], [step.observation for step in seen]
    )

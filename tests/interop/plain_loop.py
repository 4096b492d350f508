"""LeRobot alone: `select_action` at every step on recorded observations, as its own evaluation script calls it.

Runs in LeRobot's environment and knows nothing of ray-eval: `python plain_loop.py JOBS.json`, where each job names a
checkpoint, a recording and where the actions go. Random numbers begin anew from a given seed before each step at which
the policy is due to think, because only so does a stochastic policy have one right answer.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.envs.utils import preprocess_observation
from lerobot.policies.factory import get_policy_class, make_pre_post_processors


def load(folder: str):
    config = PreTrainedConfig.from_pretrained(folder)
    config.pretrained_backbone_weights = None
    policy = get_policy_class(config.type).from_pretrained(folder, config=config)
    return policy, *make_pre_post_processors(config, pretrained_path=folder)


def actions_of(job: dict) -> np.ndarray:
    policy, preprocess, postprocess = load(job["checkpoint"])
    recording = np.load(job["recording"])
    cameras = job["cameras"]  # name in the checkpoint by name in the recording
    due_steps = getattr(policy.config, "n_action_steps", None) or policy.config.action_chunk_size
    policy.reset()
    actions = []
    for step in range(len(recording["state"])):
        if step % due_steps == 0:
            torch.manual_seed(job["seeds"][step // due_steps])
        observation = preprocess_observation(
            {
                "pixels": {name: recording[key][step][None] for key, name in cameras.items()},
                "agent_pos": recording["state"][step][None],
            }
        )
        observation["task"] = [job["task"]]
        observation = preprocess(observation)
        with torch.inference_mode():
            action = policy.select_action(observation)
        actions.append(postprocess(action).to("cpu").numpy()[0])
    return np.stack(actions)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True
    for each in json.loads(Path(sys.argv[1]).read_text()):
        np.save(each["actions"], actions_of(each))

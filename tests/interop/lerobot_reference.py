"""Runs in LeRobot's environment: chunks of a checkpoint for observations in an .npz, by LeRobot's own code alone."""

import sys

import numpy as np
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors

folder, source, target = sys.argv[1:]
config = PreTrainedConfig.from_pretrained(folder)
policy = get_policy_class(config.type).from_pretrained(folder).eval()
before, after = make_pre_post_processors(policy.config, pretrained_path=folder)
rows, chunks = np.load(source), []
for index in range(len(rows["observation.state"])):
    observation = {
        "task": "pick up the bowl",
        "observation.state": torch.from_numpy(rows["observation.state"][index])[None],
    }
    for name in ("observation.images.image", "observation.images.image2"):
        observation[name] = torch.from_numpy(rows[name][index]).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        chunk = policy.predict_action_chunk(before(observation))
    chunks.append(torch.stack([after(chunk[:, i]) for i in range(chunk.shape[1])], 1)[0].numpy())
np.save(target, np.stack(chunks))

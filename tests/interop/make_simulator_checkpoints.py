"""Runs in LeRobot's environment: `python make_simulator_checkpoints.py FOLDER` writes small checkpoints with random
weights as LeRobot trains them on gym-aloha and gym-pusht, under LeRobot's own names."""

import sys
from pathlib import Path

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors
from make_checkpoints import SMALL_ACT, SMALL_UNET

POSE = torch.tensor([0.0, -0.96, 1.16, 0.0, -0.3, 0.0, 0.0] * 2)
"""gym-aloha's starting pose."""


def save(
    folder: Path, kind: str, image: str, shape: tuple[int, ...], low: torch.Tensor, high: torch.Tensor, **settings
):
    torch.manual_seed(0)
    size = (len(low),)
    inputs = {
        image: PolicyFeature(FeatureType.VISUAL, shape),
        "observation.state": PolicyFeature(FeatureType.STATE, size),
    }
    outputs = {"action": PolicyFeature(FeatureType.ACTION, size)}
    config = make_policy_config(kind, input_features=inputs, output_features=outputs, device="cpu", **settings)
    vector = {"min": low, "max": high, "mean": (low + high) / 2, "std": (high - low) / 4}
    colour = {"mean": torch.full((3, 1, 1), 0.45), "std": torch.full((3, 1, 1), 0.25)}
    colour |= {"min": torch.zeros(3, 1, 1), "max": torch.ones(3, 1, 1)}
    statistics = {image: colour, "observation.state": vector, "action": vector}
    get_policy_class(kind)(config).save_pretrained(folder)
    for pipeline in make_pre_post_processors(config, dataset_stats=statistics):
        pipeline.save_pretrained(folder)


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1]).resolve()
    settings = {"chunk_size": 50, "n_action_steps": 25, **SMALL_ACT}
    save(folder / "aloha", "act", "observation.images.top", (3, 480, 640), POSE - 0.4, POSE + 0.4, **settings)
    settings = {"n_obs_steps": 2, "horizon": 16, "n_action_steps": 8, **SMALL_UNET}
    low, high = torch.full((2,), 50.0), torch.full((2,), 450.0)
    save(folder / "pusht", "diffusion", "observation.image", (3, 96, 96), low, high, **settings)

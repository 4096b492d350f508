"""A small ACT checkpoint with random weights, to try everything with before the real one; LeRobot writes it itself.

~/lerobot/bin/python examples/tiny_act.py outputs/act
"""

import sys

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors

CAMERAS = ("observation.images.image", "observation.images.image2")  # as LeRobot's data sets of LIBERO call them
STATE, ACTION = "observation.state", "action"

folder = sys.argv[1]
config = make_policy_config(
    "act",
    input_features={name: PolicyFeature(FeatureType.VISUAL, (3, 256, 256)) for name in CAMERAS}
    | {STATE: PolicyFeature(FeatureType.STATE, (8,))},
    output_features={ACTION: PolicyFeature(FeatureType.ACTION, (7,))},
    device="cpu",
    chunk_size=50,
    n_action_steps=50,
    dim_model=64,
    dim_feedforward=64,
    n_heads=2,
    n_encoder_layers=1,
    n_vae_encoder_layers=1,
    pretrained_backbone_weights=None,
)
torch.manual_seed(0)
get_policy_class("act")(config).save_pretrained(folder)

# What a data set would say of itself. Without its statistics nothing is normalised, and the evaluator refuses it.
colour = {"mean": torch.full((3, 1, 1), 0.5), "std": torch.full((3, 1, 1), 0.25)}
state = {"mean": torch.tensor([-0.05, 0.03, 0.76, 2.97, -0.22, -0.13, 0.03, -0.03]), "std": torch.full((8,), 0.5)}
action = {"mean": torch.zeros(7), "std": torch.full((7,), 0.3)}
statistics = {**dict.fromkeys(CAMERAS, colour), STATE: state, ACTION: action}
for pipeline in make_pre_post_processors(config, dataset_stats=statistics):
    pipeline.save_pretrained(folder)
print(f"{folder}: an ACT with random weights; it succeeds in no episode")

"""Aloha's tasks, cameras and joints; known without gym-aloha."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SUITE: Final = "aloha"
"""Name of the one suite."""
INSTRUCTIONS: Final[Mapping[str, str]] = {
    "transfer_cube": "Pick up the cube with the right arm and transfer it to the left arm.",
    "insertion": "Insert the peg into the socket.",
}
"""gym-aloha's tasks, each in the words of LeRobot's data sets aloha_sim_transfer_cube and aloha_sim_insertion."""
CAMERAS: Final = ("top", "angle", "front_close", "left_pillar", "right_pillar", "left_wrist", "right_wrist")
"""Cameras of the scene; gym-aloha delivers the first. Source: gym-aloha@0.1.5 assets."""
_ARM: Final = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
JOINTS: Final = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in _ARM)
"""Components of the state and of an action: joint angles, rad, and the grippers, 0 closed to 1 open."""
OBJECT_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "transfer_cube": ("cube",),
    "insertion": ("peg", "socket"),
}
"""Bodies beside `observation.environment_state` of each task, seven numbers each."""
MAX_STEPS: Final = 400
"""Budget of lerobot-eval. Source: lerobot@7427f31 src/lerobot/envs/configs.py (AlohaEnv.episode_length)."""
HEIGHT_PX: Final = 480
"""Height of gym-aloha's images, whatever size it is asked for."""
WIDTH_PX: Final = 640
"""Width of them."""

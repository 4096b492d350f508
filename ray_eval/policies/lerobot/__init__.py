"""Checkpoints of LeRobot, run by LeRobot's own code; from the folder (`checkpoint`) to the chunk (`policy`)."""

from ray_eval.policies.lerobot.policy import LeRobotPolicy

__all__ = ["LeRobotPolicy"]

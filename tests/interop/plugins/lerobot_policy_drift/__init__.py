"""A third party's policy for LeRobot, which finds it by its distribution's name."""

from lerobot_policy_drift.configuration_drift import DriftConfig as DriftConfig

"""A third party's policies for LeRobot, which finds them by their distribution's name."""

from lerobot_policy_drift.configuration_drift import DriftConfig as DriftConfig
from lerobot_policy_drift.configuration_script import ScriptConfig as ScriptConfig

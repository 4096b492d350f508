"""Brings a checkpoint of LeRobot's older format to today's, by LeRobot's own script: `python migrate.py OLD NEW`."""

import contextlib
import sys

from huggingface_hub.errors import OfflineModeIsEnabled
from lerobot.processor import migrate_policy_normalization

old, new = sys.argv[1:]
sys.argv = ["migrate", "--pretrained-path", old, "--output-dir", new]
with contextlib.suppress(OfflineModeIsEnabled):  # its last step asks the hub about the model card
    migrate_policy_normalization.main()

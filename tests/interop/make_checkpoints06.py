"""What is new in LeRobot 0.6, saved by it as tiny checkpoints with random weights; runs in its environment, by hand as
`python make_checkpoints06.py FOLDER [NAME ...]`. The makers of make_checkpoints.py are here as well."""

import json
import sys
from pathlib import Path

import make_checkpoints as both
import torch
from make_checkpoints import IMAGE, SMALL_ACT, SMALL_PX, WRIST, save

AXES = ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]
"""Names of the action's numbers; the gripper's stays absolute where the others are relative to the state."""


def with_step(folder: Path, name: str, at: int, step: str, **settings) -> None:
    """Puts one more step into a saved pipeline."""
    path = folder / f"{name}.json"
    pipeline = json.loads(path.read_text())
    pipeline["steps"].insert(at, {"registry_name": step, "config": settings})
    path.write_text(json.dumps(pipeline))


def act_relative(folder: Path) -> None:
    """An ACT whose actions are relative to the state: the two steps of pi0's pipelines around the smallest policy."""
    save(folder, "act", IMAGE, WRIST, size_px=SMALL_PX, chunk_size=20, n_action_steps=7, **SMALL_ACT)
    relative = {"enabled": True, "exclude_joints": ["gripper"], "action_names": AXES}
    with_step(folder, "policy_preprocessor", 2, "relative_actions_processor", **relative)
    with_step(folder, "policy_postprocessor", 1, "absolute_actions_processor", enabled=True)


MAKERS = {**both.MAKERS, **{maker.__name__: maker for maker in (act_relative,)}}

if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[1]).resolve()
    for each in sys.argv[2:] or MAKERS:
        MAKERS[each](target / each)

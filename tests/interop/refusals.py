"""Runs in LeRobot's environment with ray-eval's sources: loads damaged copies of a checkpoint, one after the other, and
prints what each is refused with, as JSON: `python refusals.py CHECKPOINT FOLDER`."""

import json
import shutil
import sys
from pathlib import Path

from ray_eval.config import load_policy
from ray_eval.errors import ConfigError, SetupError
from ray_eval.policies import make_policy

WEIGHTS, PREPROCESSOR = "model.safetensors", "policy_preprocessor.json"


def edit(folder, change):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def without_weight(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / WEIGHTS)
    del weights["model.action_head.weight"]
    save_file(weights, folder / WEIGHTS)


def another_action_head(folder):
    edit(folder, lambda config: config["output_features"]["action"].update(shape=[6]))


DAMAGES = {
    "unknown type": lambda folder: edit(folder, lambda config: config.update(type="actt")),
    "newer format": lambda folder: edit(folder, lambda config: config.update(a_field_of_tomorrow=1)),
    "cut weights": lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000]),
    "missing weight": without_weight,
    "another action dimension": another_action_head,
    "another state": lambda folder: edit(
        folder, lambda config: config["input_features"]["observation.state"].update(shape=[9])
    ),
    "no pipelines": lambda folder: (folder / PREPROCESSOR).unlink(),
    "broken pipeline": lambda folder: (folder / PREPROCESSOR).write_text("{}"),
    "foreign camera": lambda folder: edit(
        folder,
        lambda config: config["input_features"].update(
            {"observation.images.top": {"type": "VISUAL", "shape": [3, 8, 8]}}
        ),
    ),
}

if __name__ == "__main__":
    checkpoint, scratch = map(Path, sys.argv[1:])
    refusals = {}
    for name, damage in DAMAGES.items():
        folder = scratch / name.replace(" ", "_")
        shutil.copytree(checkpoint, folder)
        damage(folder)
        try:
            make_policy(load_policy("lerobot", [f"policy.path={folder}", "policy.device=cpu"])[0])
            refusals[name] = "loaded"
        except (ConfigError, SetupError) as error:
            refusals[name] = str(error)
        shutil.rmtree(folder)
    (scratch / "refusals.json").write_text(json.dumps(refusals))

"""Runs in LeRobot's environment with ray-eval's sources: loads a checkpoint of each policy type that LeRobot knows.

`python kinds.py CHECKPOINTS FOLDER [TYPE ...]` writes what came of each, and of the named ones, to FOLDER/kinds.json.
Where CHECKPOINTS has one of that type it is taken; else one is made of LeRobot's own default configuration, with no
weights that would fit.
"""

import json
import sys
import traceback
from pathlib import Path

import small_gemma
import torch
from safetensors.torch import save_file

from ray_eval.config import load_policy
from ray_eval.errors import ConfigError, SetupError
from ray_eval.policies import make_policy
from ray_eval.policies.lerobot.plugins import known_types

FEATURES = {
    "input_features": {
        "observation.images.image": {"type": "VISUAL", "shape": [3, 96, 96]},
        "observation.state": {"type": "STATE", "shape": [8]},
    },
    "output_features": {"action": {"type": "ACTION", "shape": [7]}},
}
OWN = {
    "fastwam": {
        "input_features": {
            "observation.images.image": {"type": "VISUAL", "shape": [3, 224, 448]},
            "observation.state": {"type": "STATE", "shape": [8]},
        },
        "text_encoder_model_id": "Wan-AI/Wan2.2-TI2V-5B-Diffusers",
    },
}
"""What a type wants otherwise, or what a saved configuration of it names."""


def default(kind: str, folder: Path) -> Path:
    """A checkpoint's folder as far as it can be had without the type's own dependencies."""
    folder.mkdir()
    # By hand, because making a configuration fetches a base model's for some.
    said = {"type": kind, **FEATURES, **OWN.get(kind, {}), "device": "cpu"}
    (folder / "config.json").write_text(json.dumps(said))
    save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    for name in ("policy_preprocessor", "policy_postprocessor"):
        (folder / f"{name}.json").write_text(json.dumps({"name": name, "steps": []}))
    return folder


def outcome(folder: Path) -> str:
    """What loading it and asking it for a chunk says."""
    small_gemma.shrink_for(folder)
    try:
        policy = make_policy(load_policy("lerobot", [f"policy.path={folder}", "policy.device=cpu"])[0])
    except (ConfigError, SetupError) as error:
        return str(error)
    except Exception:  # noqa: BLE001 - what must not come is what is looked for
        return traceback.format_exc()
    return f"loaded: chunks of {policy.spec.chunk_len} x {policy.spec.action_dim}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    checkpoints, scratch = map(Path, sys.argv[1:3])
    found = {}
    for kind in (*known_types(), *sys.argv[3:]):
        made = checkpoints / kind
        found[kind] = outcome(made if made.is_dir() else default(kind, scratch / kind))
    (scratch / "kinds.json").write_text(json.dumps(found))

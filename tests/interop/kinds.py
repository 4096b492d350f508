"""Runs in LeRobot's environment with ray-eval's sources: loads a checkpoint of each policy type that LeRobot knows.

`python kinds.py CHECKPOINTS FOLDER` writes what came of each to FOLDER/kinds.json. Where CHECKPOINTS has one of that
type it is taken; else one is made of LeRobot's own default configuration, with no weights that would fit.
"""

import json
import sys
import traceback
from pathlib import Path

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import make_policy_config
from safetensors.torch import save_file

from ray_eval.config import load_policy
from ray_eval.errors import ConfigError, SetupError
from ray_eval.policies import make_policy
from ray_eval.policies.lerobot.loading import known_types

INPUTS = {
    "observation.images.image": PolicyFeature(FeatureType.VISUAL, (3, 96, 96)),
    "observation.state": PolicyFeature(FeatureType.STATE, (8,)),
}
OUTPUTS = {"action": PolicyFeature(FeatureType.ACTION, (7,))}


def default(kind: str, folder: Path) -> Path:
    """A checkpoint's folder as far as it can be had without the type's own dependencies."""
    folder.mkdir()
    make_policy_config(kind, input_features=INPUTS, output_features=OUTPUTS, device="cpu")._save_pretrained(folder)
    save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    for name in ("policy_preprocessor", "policy_postprocessor"):
        (folder / f"{name}.json").write_text(json.dumps({"name": name, "steps": []}))
    return folder


def outcome(folder: Path) -> str:
    """What loading it and asking it for a chunk says."""
    try:
        policy = make_policy(load_policy("lerobot", [f"policy.path={folder}", "policy.device=cpu"])[0])
    except (ConfigError, SetupError) as error:
        return str(error)
    except Exception:  # noqa: BLE001 - what must not come is what is looked for
        return traceback.format_exc()
    return f"loaded: chunks of {policy.spec.chunk_len} x {policy.spec.action_dim}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    checkpoints, scratch = map(Path, sys.argv[1:])
    found = {}
    for kind in known_types():
        made = checkpoints / kind
        found[kind] = outcome(made if made.is_dir() else default(kind, scratch / kind))
    (scratch / "kinds.json").write_text(json.dumps(found))

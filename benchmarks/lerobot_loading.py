"""How long a LeRobot checkpoint takes to load and how much memory, through ray-eval and by LeRobot alone.

Runs in an environment of LeRobot, ray-eval's sources on the path, each measurement in a process of its own, in turn:

    PYTHONPATH=. LEROBOT_ENV/bin/python benchmarks/lerobot_loading.py FOLDER [--layers 6] [--repeats 3]

FOLDER is made if it is not there: an ACT of random weights, 0.2 GB a layer. Memory is the process's peak beyond what it
had when everything was imported; the file's own pages count, as long as they are mapped. CPU seconds are those of all
threads: ray-eval's digest is made in one of its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

WIDTH = 2048


def make(folder: Path, layers: int) -> None:
    """An ACT whose weights are nearly all in its encoder."""
    import torch
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors

    image = PolicyFeature(FeatureType.VISUAL, (3, 64, 64))
    config = make_policy_config(
        "act",
        input_features={"observation.images.image": image, "observation.state": PolicyFeature(FeatureType.STATE, (8,))},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (7,))},
        device="cpu",
        use_vae=False,
        dim_model=WIDTH,
        dim_feedforward=4 * WIDTH,
        n_encoder_layers=layers,
        chunk_size=4,
        n_action_steps=4,
        pretrained_backbone_weights=None,
    )
    get_policy_class("act")(config).save_pretrained(folder)
    action = {"mean": torch.zeros(7), "std": torch.ones(7)}
    colour = {"mean": torch.zeros(3, 1, 1), "std": torch.ones(3, 1, 1)}
    state = {"mean": torch.zeros(8), "std": torch.ones(8)}
    known = {"action": action, "observation.images.image": colour, "observation.state": state}
    for pipeline in make_pre_post_processors(config, dataset_stats=known):
        pipeline.save_pretrained(folder)


def peak_bytes() -> int:
    """The most memory that this process has had."""
    return _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def by_lerobot(folder: str) -> None:
    """As LeRobot's own programs load it."""
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    config = PreTrainedConfig.from_pretrained(folder)
    config.pretrained_backbone_weights = None
    policy = get_policy_class(config.type).from_pretrained(folder, config=config)
    make_pre_post_processors(policy.config, pretrained_path=folder)


def by_ray_eval(folder: str) -> None:
    """As ray-eval loads it: checked, digested, and tried with two observations."""
    from ray_eval.config import load_policy
    from ray_eval.policies import make_policy

    make_policy(load_policy("lerobot", [f"policy.path={folder}", "policy.device=cpu"])[0])


def measure(side: str, folder: str) -> None:
    """One load, as JSON on standard output."""
    import lerobot.policies.act.modeling_act
    import lerobot.policies.factory  # noqa: F401
    import torch

    import ray_eval.policies  # noqa: F401

    torch.set_num_threads(1)
    before, started, cpu = _status("VmRSS"), time.perf_counter(), time.process_time()
    {"lerobot": by_lerobot, "ray-eval": by_ray_eval}[side](folder)
    spent = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}
    print(json.dumps({**spent, "bytes": peak_bytes() - before}))


def main() -> None:
    """Measures both sides in turn and prints medians, and memory by the size of the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side")
    wanted = parser.parse_args()
    if wanted.side:
        measure(wanted.side, str(wanted.folder))
        return
    if not wanted.folder.exists():
        make(wanted.folder, wanted.layers)
    size = (wanted.folder / "model.safetensors").stat().st_size
    found: dict[str, list[dict[str, float]]] = {"lerobot": [], "ray-eval": []}
    for _ in range(wanted.repeats):
        for side, rows in found.items():
            command = [sys.executable, __file__, str(wanted.folder), "--side", side]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    print(f"weights: {size / 1e9:.2f} GB")
    for side, rows in found.items():
        seconds, cpu = (statistics.median(row[name] for row in rows) for name in ("seconds", "cpu"))
        peak = max(row["bytes"] for row in rows)
        memory = f"peak {peak / 1e9:.2f} GB, {peak / size:.2f} x the weights"
        print(f"{side:<9} {seconds:6.2f} s   {cpu:6.2f} CPU s   {memory}")


if __name__ == "__main__":
    main()

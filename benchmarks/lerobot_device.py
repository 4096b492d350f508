"""LeRobot's policies on this machine's device: right, and how fast. In LeRobot's environment; needs no Ray, no hub:

    python benchmarks/lerobot_device.py FOLDER [NAME ...] [--device cuda]

Makes each checkpoint in FOLDER with random weights by LeRobot itself, unless it is there; NAME is one of
tests/interop/make_checkpoints.py, or one of a size as policies have it: `act_full`, `diffusion_full`, `smolvla_full`.
Of each: whether its actions are those of LeRobot's own `select_action` bit for bit, the proof at several sizes, the
time of a forward by its rows, and a load of many clients. Exit code 1: something was not as it should be; that several
rows in one forward are refused by the proof is not among it.
"""

from __future__ import annotations

import argparse
import inspect
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ray_eval.config import load_policy as read_policy
from ray_eval.errors import SetupError
from ray_eval.policies import make_policy
from ray_eval.policies.contract import trial_observation
from ray_eval.policies.lerobot.noise import draw_noise, noise_shape
from ray_eval.sections import BatchingSection, ListenSection
from ray_eval.serving.determinism import largest_useful_batch, prove, settle_torch, thread_variables
from ray_eval.serving.load import Load, measure
from ray_eval.serving.server import serve_in_thread
from ray_eval.types import IMAGE_KEYS, ActionChunk, Observation

sys.path.append(str(Path(__file__).parents[1] / "tests" / "interop"))
import make_checkpoints as tiny

SMALL = ("act", "act_ensemble", "diffusion", "diffusion_ddim", "vqbet", "smolvla", "smolvla_longest", "xvla")
COMPARED = 3
"""Observations that LeRobot is asked about as well."""
PROVED = (1, 4, 8)
"""Rows of the forwards in the proofs."""
SIZES = (1, 4, 16, 32)
"""Rows of the forwards that are timed, unless others are asked for."""
CLIENTS, REQUESTS = 32, 256
TIMED, LONGEST_S = 20, 1.0
"""Forwards behind a median at most, and no more after so long."""


def act_full(folder: Path) -> None:
    tiny.save(
        folder, "act", tiny.IMAGE, tiny.WRIST, chunk_size=100, n_action_steps=100, pretrained_backbone_weights=None
    )


def diffusion_full(folder: Path) -> None:
    """The U-Net of LeRobot's default, ten steps of DDIM."""
    settings = {"noise_scheduler_type": "DDIM", "num_inference_steps": 10, "crop_shape": (224, 224)}
    tiny.save(folder, "diffusion", tiny.IMAGE, tiny.WRIST, horizon=16, n_action_steps=8, **settings)


def smolvla_full(folder: Path) -> None:
    """Sizes of SmolVLM2-500M, of which SmolVLA keeps 16 layers."""
    from transformers import AutoConfig

    backbone = folder.parent / f"{folder.name}-backbone"
    tiny.make_backbone(backbone)
    config = AutoConfig.from_pretrained(backbone)
    text, eye = config.text_config, config.vision_config
    text.hidden_size, text.intermediate_size, text.num_hidden_layers = 960, 2560, 16
    text.num_attention_heads, text.num_key_value_heads, text.head_dim, text.vocab_size = 15, 5, 64, 49280
    eye.hidden_size, eye.intermediate_size, eye.num_hidden_layers, eye.num_attention_heads = 768, 3072, 12, 12
    eye.image_size, config.scale_factor = 512, 4
    config.save_pretrained(backbone)
    settings = {"vlm_model_name": str(backbone), "load_vlm_weights": False, "pad_language_to": "max_length"}
    tiny.save(folder, "smolvla", tiny.IMAGE, tiny.WRIST, chunk_size=50, n_action_steps=50, **settings)


MAKERS = {**tiny.MAKERS, **{maker.__name__: maker for maker in (act_full, diffusion_full, smolvla_full)}}


class Tagged:
    """Another policy, its first number replaced by the request's seed, by which a client knows its answer."""

    def __init__(self, policy: Any) -> None:
        self.spec = replace(policy.spec, ranges=())
        self.stage = policy.stage
        self._policy = policy

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        return self.infer_staged([self.stage(row) for row in observations])

    def infer_staged(self, rows: Sequence[Any]) -> list[ActionChunk]:
        chunks = self._policy.infer_staged(rows)
        for chunk, row in zip(chunks, rows, strict=True):
            chunk.actions[0, 0] = row.observation.noise_seed
        return chunks


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of one checkpoint."""

    equal: int
    """Observations whose actions are LeRobot's, of `COMPARED`."""
    proofs: dict[int, str]
    """By rows: `passed`, or why not."""
    stage_ms: float
    """Median time to stage a row."""
    forward_ms: dict[int, float]
    """Median time of a forward by its rows, which were staged before."""
    largest_useful: int
    """Rows beyond which a forward gains nothing."""
    alone: Load
    """One client, in reproducible mode."""
    many: Load
    """Many clients, in throughput mode."""
    memory_gb: float
    """Most of the device's memory that torch held, LeRobot's own copy for the comparison included; 0 on the CPU."""

    @property
    def is_good(self) -> bool:
        loads = [self.alone, self.many]
        is_whole = all(load.lost == 0 and load.computed == load.requests for load in loads)
        return self.equal == COMPARED and self.proofs[1] == "passed" and is_whole


class LeRobotAlone:
    """A checkpoint by LeRobot's own code alone."""

    def __init__(self, folder: Path, device: str) -> None:
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies.factory import get_policy_class, make_pre_post_processors

        config = PreTrainedConfig.from_pretrained(folder)
        config.device = device
        self.policy = get_policy_class(config.type).from_pretrained(folder, config=config).to(device).eval()
        override = {"device_processor": {"device": device}}
        self.before, self.after = make_pre_post_processors(
            config, pretrained_path=str(folder), preprocessor_overrides=override
        )

    def actions(self, observation: Observation) -> Any:
        """(n_action_steps, A): what it does at an episode's beginning, where it sees one frame alone."""
        batch: dict[str, Any] = {"task": observation.task}
        for key, array in observation.arrays.items():
            tensor = torch.from_numpy(np.array(array))[None]
            is_image = key in IMAGE_KEYS  # a convolution's last bits depend on the layout, which is as LeRobot makes it
            batch[key] = tensor.permute(0, 3, 1, 2).contiguous().float() / 255 if is_image else tensor
        self.policy.reset()
        ready, shape, keywords = self.before(batch), noise_shape(self.policy), {}
        if shape is not None:
            keywords["noise"] = draw_noise(torch, [observation.noise_seed], shape).to(self.policy.config.device)
        config = self.policy.config
        count = getattr(config, "n_action_steps", None) or config.action_chunk_size
        torch.manual_seed(observation.noise_seed)
        with torch.inference_mode():
            if keywords and "noise" not in inspect.signature(self.policy.select_action).parameters:  # pi0, pi0.5
                taken = list(self.policy.predict_action_chunk(dict(ready), **keywords)[:, :count].unbind(1))
            else:
                taken = [self.policy.select_action(dict(ready), **keywords) for _ in range(count)]
            return np.stack([self.after(action)[0].float().cpu().numpy() for action in taken])


def count_equal(policy: Any, folder: Path, device: str) -> int:
    """Observations whose actions LeRobot gives as well, bit for bit."""
    alone = LeRobotAlone(folder, device)
    frames = policy.spec.n_obs_steps
    equal = 0
    for index in range(COMPARED):
        one = trial_observation(replace(policy.spec, n_obs_steps=1), index)
        several = {key: np.repeat(array[None], frames, 0) for key, array in one.arrays.items()}
        (chunk,) = policy.infer_batch([one if frames == 1 else replace(one, arrays=several)])
        theirs = alone.actions(one)
        ours = chunk.actions[: len(theirs)]
        if np.array_equal(ours, theirs):
            equal += 1
        else:
            print(f"  apart by {abs(ours - theirs).max():g} of {abs(theirs).max():g}")
    return equal


def median_ms(call: Callable[[], Any]) -> float:
    call()
    call()
    times: list[float] = []
    while len(times) < 3 or (len(times) < TIMED and sum(times) < LONGEST_S):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def synchronized(policy: Any, row: Observation) -> None:
    policy.stage(row)
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def proof(policy: Any, rows: int) -> str:
    try:
        prove(policy, BatchingSection(batch_size=rows))
    except SetupError as error:
        return str(error).splitlines()[0]
    return "passed"


def load_of(policy: Any, batching: BatchingSection, clients: int, requests: int) -> Load:
    with serve_in_thread(Tagged(policy), ListenSection("127.0.0.1:0"), batching) as running:
        return measure(running, clients, requests, processes=min(clients, 4))


def examine(folder: Path, device: str, requests: int, sizes: Sequence[int]) -> Found:
    section, _ = read_policy("lerobot", [f"policy.path={folder}", f"policy.device={device}"])
    policy: Any = make_policy(section)
    settle_torch(BatchingSection())
    equal = count_equal(policy, folder, device)
    proofs = {rows: proof(policy, rows) for rows in (PROVED if not policy.spec.batch_invariant else PROVED[:1])}
    alone = load_of(policy, BatchingSection(), 1, max(1, requests // 8))
    observations = [trial_observation(policy.spec, seed) for seed in range(max(sizes))]
    rows = [policy.stage(observation) for observation in observations]
    free = BatchingSection(determinism="throughput")
    settle_torch(free)
    forward_ms = {size: median_ms(lambda size=size: policy.infer_staged(rows[:size])) for size in sizes}  # type: ignore[misc]
    largest = largest_useful_batch(policy, replace(free, max_batch_size=max(sizes)), time.perf_counter)
    return Found(
        equal,
        proofs,
        median_ms(lambda: synchronized(policy, observations[0])),
        forward_ms,
        largest,
        alone,
        load_of(policy, replace(free, max_batch_size=largest), CLIENTS, requests),
        torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else 0.0,
    )


def lines(name: str, found: Found) -> Iterator[str]:
    yield f"{name}: {found.equal} of {COMPARED} equal to LeRobot's own; proofs {found.proofs}; {found.memory_gb:.1f} GB"
    times = ", ".join(f"{rows}: {ms:.2f}" for rows, ms in found.forward_ms.items())
    yield f"  forward ms by rows {times}; staging a row {found.stage_ms:.2f} ms; largest useful {found.largest_useful}"
    alone, many = found.alone, found.many
    yield (
        f"  1 client: round trip {alone.round_trip_ms:.2f} ms, its forward {alone.forward_ms:.2f} ms with the staging, "
        f"overhead {alone.overhead_ms:.2f} ms"
    )
    yield (
        f"  {many.clients} clients: {many.per_s:.1f} requests/s, mean batch {many.mean_batch:.1f}, round trip "
        f"{many.round_trip_ms:.1f} ms, busy {many.busy_share:.0%}, idle while queued {many.idle_share:.2%}, "
        f"lost {alone.lost + many.lost}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=[*SMALL, "act_full", "diffusion_full", "smolvla_full"])
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, help="rows of the forwards that are timed")
    options = parser.parse_args()
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    print(f"torch {torch.__version__} on {torch.cuda.get_device_name() if device == 'cuda' else 'cpu'}", flush=True)
    bad = []
    for name in options.names:
        started = time.perf_counter()
        folder = options.folder.resolve() / name
        try:
            if not folder.exists():
                MAKERS[name](folder)
            print(f"{name}: made in {time.perf_counter() - started:.1f} s", flush=True)
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            found = examine(folder, device, options.requests, options.rows)
            print("\n".join(lines(name, found)))
            bad += [] if found.is_good else [name]
        except Exception:  # noqa: BLE001 - the other checkpoints are examined all the same
            traceback.print_exc()
            bad.append(name)
        print(f"  all in {time.perf_counter() - started:.1f} s", flush=True)
    print(f"not as it should be: {', '.join(bad)}" if bad else "all as it should be")
    return int(bool(bad))


if __name__ == "__main__":
    os.environ.update(thread_variables(1))
    sys.exit(main())

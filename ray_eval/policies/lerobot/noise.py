"""What a policy draws: which of LeRobot's policies take their noise, and the noise of a request."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any


def noise_shape(policy: Any) -> tuple[int, ...] | None:
    """Shape per row of the noise that settles everything a policy draws; None where it takes none, or draws more."""
    config = policy.config
    parameters = inspect.signature(policy.predict_action_chunk).parameters
    if config.type in ("smolvla", "pi0", "pi05"):
        return (int(config.chunk_size), int(config.max_action_dim))
    # DDPM draws again at each of its steps; DDIM draws the start alone.
    if config.type == "diffusion" and "noise" in parameters and config.noise_scheduler_type == "DDIM":
        return (int(config.horizon), int(config.action_feature.shape[0]))
    return None


def is_deterministic(policy: Any) -> bool:
    """Whether the policy is known to draw nothing; a type that is not known is taken to draw."""
    config = policy.config
    return bool(config.type == "act" or (config.type == "pi0_fast" and config.temperature == 0))


def draw_noise(torch: Any, seeds: Sequence[int], shape: tuple[int, ...]) -> Any:
    """(B, *shape) float32: what each row alone would draw after `torch.manual_seed(seed)`, on the CPU in every case."""
    rows = [torch.randn((1, *shape), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.cat(rows)

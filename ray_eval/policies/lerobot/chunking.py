"""Real-time chunking by LeRobot's own guidance: which policies offer it, and what a request hands to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ray_eval.errors import ContractError
from ray_eval.policies.lerobot.checkpoint import Checkpoint
from ray_eval.policies.lerobot.kinds import RTC_KINDS
from ray_eval.sections import RtcSection
from ray_eval.types import ACTION, Observation


def set_rtc(checkpoint: Checkpoint, config: Any, section: RtcSection) -> None:
    """Puts the section's wishes into LeRobot's configuration of a policy that is not made yet.

    Raises:
        SetupError: real-time chunking is asked of a policy that LeRobot does not offer it for.
    """
    wishes = {item.name: getattr(section, item.name) for item in dataclasses.fields(section)}
    wishes = {name: value for name, value in wishes.items() if value is not None}
    if not wishes:
        return
    if config.type not in RTC_KINDS:
        if section.enabled is False:
            return
        raise checkpoint.fail(
            "a policy that goes on from the rest of its last chunk, since policy.rtc says so (LeRobot has that for "
            f"{', '.join(RTC_KINDS)})",
            f"type {config.type!r}",
            "drop policy.rtc, or write policy.rtc.enabled=false",
        )
    from lerobot.configs.types import RTCAttentionSchedule
    from lerobot.policies.rtc.configuration_rtc import RTCConfig

    if "prefix_attention_schedule" in wishes:
        wishes["prefix_attention_schedule"] = RTCAttentionSchedule[wishes["prefix_attention_schedule"].upper()]
    # Whoever gives it a horizon wants it.
    config.rtc_config = dataclasses.replace(config.rtc_config or RTCConfig(), **{"enabled": True, **wishes})


def is_rtc(config: Any) -> bool:
    """Whether a policy of this configuration goes on from the rest of its last chunk."""
    rtc = getattr(config, "rtc_config", None)
    return config.type in RTC_KINDS and rtc is not None and bool(rtc.enabled)


def alike(observations: Sequence[Observation]) -> Iterable[list[int]]:
    """Indices of the observations that LeRobot's guidance takes in one call: of one delay, and one length of prefix."""
    groups: dict[tuple[int, int] | None, list[int]] = {}
    for index, observation in enumerate(observations):
        rest = observation.action_raw
        groups.setdefault(None if rest is None else (len(rest), observation.delay_steps), []).append(index)
    return groups.values()


def guidance(torch: Any, observations: Sequence[Observation], config: Any, device: str) -> dict[str, Any]:
    """Arguments of `predict_action_chunk` for observations that are alike; none at an episode's first request.

    Raises:
        ContractError: a prefix is not of the policy's own actions.
    """
    if observations[0].action_raw is None:
        return {}
    width = int(config.output_features[ACTION].shape[0])
    rests = [observation.action_raw for observation in observations if observation.action_raw is not None]
    for rest in rests:
        if rest.ndim != 2 or rest.shape[1] != width:
            raise ContractError(f"policy {config.type}: action_raw: expected shape (L, {width}), got {rest.shape}")
        if not np.isfinite(rest).all():
            raise ContractError(f"policy {config.type}: action_raw: expected finite numbers, got NaN or infinity")
    prefix = torch.from_numpy(np.stack(rests)).to(device)
    return {"prev_chunk_left_over": prefix, "inference_delay": observations[0].delay_steps}

"""Real-time chunking by LeRobot's own guidance: which policies offer it, and what a request hands to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from ray_eval.errors import ContractError
from ray_eval.policies.lerobot.checkpoint import Checkpoint
from ray_eval.policies.lerobot.kinds import RTC_KINDS
from ray_eval.sections import RtcSection
from ray_eval.types import Array, Observation


def offers_rtc(policy_class: Any, config: Any) -> bool:
    """Whether a policy of this configuration can go on from the rest of its last chunk.

    LeRobot 0.6 has a method for it, which asks nothing but the configuration; of 0.4 the types are known.
    """
    if not hasattr(policy_class, "supports_rtc"):
        return config.type in RTC_KINDS
    if config.type == "groot" and getattr(config, "use_relative_actions", False):
        return False  # it says that it does, and leaves the rest out of account
    return bool(policy_class.supports_rtc(SimpleNamespace(config=config)))


def set_rtc(checkpoint: Checkpoint, policy_class: Any, config: Any, section: RtcSection) -> None:
    """Puts the section's wishes into LeRobot's configuration of a policy that is not made yet.

    Raises:
        SetupError: real-time chunking is asked of a policy that LeRobot does not offer it for.
    """
    wishes = {item.name: getattr(section, item.name) for item in dataclasses.fields(section)}
    wishes = {name: value for name, value in wishes.items() if value is not None}
    if not wishes:
        return
    if not offers_rtc(policy_class, config):
        if section.enabled is False:
            return
        raise checkpoint.fail(
            "a policy that goes on from the rest of its last chunk, since policy.rtc says so (LeRobot has that for "
            f"{', '.join(RTC_KINDS)} and others)",
            f"type {config.type!r}",
            "drop policy.rtc, or write policy.rtc.enabled=false",
        )
    from lerobot.configs.types import RTCAttentionSchedule
    from lerobot.policies.rtc.configuration_rtc import RTCConfig

    if "prefix_attention_schedule" in wishes:
        wishes["prefix_attention_schedule"] = RTCAttentionSchedule[wishes["prefix_attention_schedule"].upper()]
    # Whoever gives it a horizon wants it.
    before = getattr(config, "rtc_config", None) or RTCConfig()
    config.rtc_config = dataclasses.replace(before, **{"enabled": True, **wishes})


def is_rtc(policy_class: Any, config: Any) -> bool:
    """Whether a policy of this configuration goes on from the rest of its last chunk."""
    rtc = getattr(config, "rtc_config", None)
    return rtc is not None and bool(rtc.enabled) and offers_rtc(policy_class, config)


class Reanchor:
    """The rest of a chunk of relative actions, made relative to another state, as LeRobot's own engine does.

    What is handed back of such a policy is the chunk in absolute actions, because the numbers of the policy itself say
    nothing once the state that they were relative to is gone.

    Args:
        preprocess: LeRobot's pipeline before the policy; its normaliser is used again.
        relative_step: The step of it that knows which actions are relative.
    """

    def __init__(self, preprocess: Any, relative_step: Any) -> None:
        from lerobot.processor import NormalizerProcessorStep

        self._relative_step = relative_step
        normalizers = (step for step in preprocess.steps if isinstance(step, NormalizerProcessorStep))
        self._normalizer = next(normalizers, None)

    def __call__(self, rest: Any, state: Any, device: str) -> Any:
        """(L, A) of the policy's own numbers, from (L, A) of absolute actions and the present (1, D) state."""
        from lerobot.policies.rtc import reanchor_relative_rtc_prefix

        return reanchor_relative_rtc_prefix(rest, state, self._relative_step, self._normalizer, device)


def alike(observations: Sequence[Observation]) -> Iterable[list[int]]:
    """Indices of the observations that LeRobot's guidance takes in one call: of one delay, and one length of prefix."""
    groups: dict[tuple[int, int] | None, list[int]] = {}
    for index, observation in enumerate(observations):
        rest = observation.action_raw
        groups.setdefault(None if rest is None else (len(rest), observation.delay_steps), []).append(index)
    return groups.values()


def guidance(torch: Any, rests: Sequence[Any], delay_steps: int, device: str) -> dict[str, Any]:
    """Arguments of `predict_action_chunk` for rows that are alike; none at an episode's first request.

    Args:
        torch: The package.
        rests: What is left of each row's last chunk, (L, A) in the policy's own numbers; None where there is none.
        delay_steps: Control steps until the answer is used.
        device: Where the policy is.
    """
    if rests[0] is None:
        return {}
    prefix = torch.stack([torch.as_tensor(rest) for rest in rests]).to(device)
    return {"prev_chunk_left_over": prefix, "inference_delay": delay_steps}


def checked_rest(kind: str, rest: Array, width: int) -> Array:
    """The rest, if it can be one of the policy's own actions.

    Raises:
        ContractError: it has another width, or a number in it is not finite.
    """
    if rest.ndim != 2 or rest.shape[1] != width:
        raise ContractError(f"policy {kind}: action_raw: expected shape (L, {width}), got {rest.shape}")
    if not np.isfinite(rest).all():
        raise ContractError(f"policy {kind}: action_raw: expected finite numbers, got NaN or infinity")
    return rest

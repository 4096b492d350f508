"""From the configuration and the policy's spec to what workers are given; pure."""

from __future__ import annotations

import dataclasses

from ray_eval.config import EvalConfig
from ray_eval.errors import ConfigError
from ray_eval.rollout.chunk_queue import load_aggregation
from ray_eval.rollout.latency import steps_of_ms
from ray_eval.sections import EnvSettings, ImageRecipe, ObservationRecipe, QueueRules
from ray_eval.types import ACTION, IMAGE_KEYS, OBSERVATION_KEYS, PolicySpec

ACTION_DIM = 7
"""Components of a LIBERO action."""


def env_settings(config: EvalConfig, spec: PolicySpec) -> EnvSettings:
    """What an env must know: the protocol's choices, cut to what the policy asks for.

    Raises:
        ConfigError: the policy asks for an observation that LIBERO does not have, or acts in another space.
    """
    unknown = [key for key in spec.keys if key not in OBSERVATION_KEYS]
    if unknown:
        raise ConfigError(f"policy {spec.name}: expected keys among {', '.join(OBSERVATION_KEYS)}, got {unknown[0]}")
    if spec.action_dim != ACTION_DIM:
        raise ConfigError(f"policy {spec.name}: expected an {ACTION} of {ACTION_DIM} numbers, got {spec.action_dim}")
    protocol = config.protocol
    return EnvSettings(
        recipe=ObservationRecipe(
            keys=spec.keys,
            n_obs_steps=spec.n_obs_steps,
            images=_images(protocol.images, spec),
            state_format=protocol.state_format,
        ),
        settle_steps=protocol.settle_steps,
        settle_action=protocol.settle_action,
        gripper=protocol.gripper,
        control=protocol.control,
        init_states=protocol.init_states,
        task_text=config.task_text,
    )


def _images(images: ImageRecipe, spec: PolicySpec) -> ImageRecipe:
    """The protocol's recipe, brought to the size that the policy insists on."""
    if spec.image_size_px in (None, images.image_size_px):
        return images
    resize = "bilinear" if images.resize == "none" else images.resize
    return dataclasses.replace(images, resize=resize, image_size_px=spec.image_size_px)


def queue_rules(config: EvalConfig, spec: PolicySpec) -> QueueRules:
    """The chunk queue's rules; sync is latency 0, threshold 0 and a chunk of `replan_steps` rows.

    Raises:
        ConfigError: more rows are asked for than a chunk has, or there is no such aggregation.
    """
    if config.execution.mode == "sync":
        return QueueRules(horizon=_replan_steps(config, spec), chunk_len=spec.chunk_len, action_dim=spec.action_dim)
    execution = config.execution
    aggregate = execution.aggregate or "weighted_average"
    load_aggregation(aggregate)
    return QueueRules(
        horizon=min(spec.chunk_len, execution.actions_per_chunk or spec.chunk_len),
        chunk_len=spec.chunk_len,
        action_dim=spec.action_dim,
        chunk_size_threshold=execution.chunk_size_threshold or 0.0,
        aggregate=aggregate,
        underrun=execution.underrun or "hold",
        latency_steps=_latency_steps(config),
    )


def _latency_steps(config: EvalConfig) -> int:
    latency = config.execution.latency
    return latency.steps or 0 if latency.ms is None else steps_of_ms(latency.ms)


def _replan_steps(config: EvalConfig, spec: PolicySpec) -> int:
    wanted = config.protocol.replan_steps
    if wanted == "chunk" or wanted is None:
        return spec.chunk_len
    steps = spec.replan_steps if wanted == "policy" else int(wanted)
    if steps is None:
        raise ConfigError(
            f"protocol.replan_steps=policy: expected policy {spec.name} to say how much of a chunk it executes, "
            f"got nothing; write protocol.replan_steps=N, at most {spec.chunk_len}"
        )
    if steps > spec.chunk_len:
        raise ConfigError(
            f"protocol.replan_steps: expected at most {spec.chunk_len}, the chunk_len of policy {spec.name}, "
            f"got {steps}; write protocol.replan_steps=chunk for all of it"
        )
    return steps


def is_starved(rules: QueueRules) -> bool:
    """Whether every row of every chunk is stale when it arrives, so that the policy never acts."""
    return rules.latency_steps >= rules.horizon and rules.underrun != "wait"


def needs_images(spec: PolicySpec) -> bool:
    """Whether the policy looks through a camera."""
    return any(key in IMAGE_KEYS for key in spec.keys)

"""From the configuration and the policy's spec to what workers are given; pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from ray_eval.config import EvalConfig
from ray_eval.errors import ConfigError
from ray_eval.rollout.chunk_queue import load_aggregation
from ray_eval.rollout.latency import shortest_steps
from ray_eval.sections import (
    EnvSettings,
    ImageRecipe,
    LatencySection,
    ObservationRecipe,
    PolicySection,
    QueueRules,
    RemoteSection,
    StateFormat,
    TorchPolicySection,
)
from ray_eval.types import ACTION, IMAGE_KEYS, OBSERVATION_KEYS, STATE, PolicySpec

ACTION_DIM = 7
"""Components of a LIBERO action."""
STATE_DIMS: Mapping[StateFormat, int] = MappingProxyType(
    {"libero_8d": 8, "libero_8d_canonical": 8, "controller_pose": 8, "joints_gripper": 9}
)
"""Components of `observation.state` by format."""
DEFAULT_AGGREGATE = "weighted_average"
"""What becomes of a step that two chunks speak of, unless said."""


def env_settings(config: EvalConfig, spec: PolicySpec) -> EnvSettings:
    """What an env must know: the protocol's choices, cut to what the policy asks for.

    Raises:
        ConfigError: the policy asks for an observation that LIBERO does not have, or acts in another space.
    """
    unknown = [key for key in spec.keys if key not in OBSERVATION_KEYS]
    if unknown:
        raise ConfigError(f"policy {spec.name}: expected keys among {', '.join(OBSERVATION_KEYS)}, got {unknown[0]}")
    if spec.action_dim != ACTION_DIM:
        raise ConfigError(
            f"policy {spec.name}: expected an {ACTION} of {ACTION_DIM} numbers, got {spec.action_dim}; it was made for "
            "another robot or another control"
        )
    protocol = config.protocol
    _check_state(protocol.state_format, spec)
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
        model_cache_bytes=round(config.limits.model_cache_gb * 1e9),
    )


def told_state(config: EvalConfig) -> PolicySection:
    """The policy's section, with the size of the protocol's state where a policy could not know it otherwise.

    It is tried with made-up observations of that size before it is asked about any of the protocol's.
    """
    section = config.policy
    if isinstance(section, (TorchPolicySection, RemoteSection)) and section.state_dim is None:
        return dataclasses.replace(section, state_dim=STATE_DIMS[config.protocol.state_format])
    return section


def _check_state(state_format: StateFormat, spec: PolicySpec) -> None:
    delivered = STATE_DIMS[state_format]
    if STATE in spec.keys and spec.state_dim not in (None, delivered):
        fitting = [name for name, dim in STATE_DIMS.items() if dim == spec.state_dim]
        remedy = f"write protocol.state_format={fitting[0]}" if fitting else "it was trained on another robot's state"
        raise ConfigError(
            f"policy {spec.name}: expected {STATE} of {delivered} numbers (protocol.state_format={state_format}), "
            f"got a policy that reads {spec.state_dim}; {remedy}"
        )


def _images(images: ImageRecipe, spec: PolicySpec) -> ImageRecipe:
    """The protocol's recipe, brought to the size that the policy insists on; rendered at it where nothing resizes."""
    size_px = spec.image_size_px
    if size_px in (None, images.image_size_px):
        return images
    if images.resize == "none":
        return dataclasses.replace(images, render_size_px=size_px, image_size_px=size_px)
    return dataclasses.replace(images, image_size_px=size_px)


def differences(config: EvalConfig, spec: PolicySpec) -> list[str]:
    """Where the policy and the protocol say different things, and whose word is taken; a sentence each."""
    said = []
    images, size_px = config.protocol.images, spec.image_size_px
    if needs_images(spec) and size_px not in (None, images.image_size_px):
        how = "rendered at" if images.resize == "none" else "resized to"
        said.append(
            f"images: the policy's {size_px} px, not the {images.image_size_px} px of protocol {config.protocol.name}; "
            f"they are {how} {size_px} px"
        )
    if config.execution.mode == "sync" and spec.replan_steps is not None:
        steps = _replan_steps(config, spec)
        if steps != spec.replan_steps:
            said.append(
                f"replan_steps: the {steps} of protocol {config.protocol.name}, not the {spec.replan_steps} of the "
                "policy; protocol.replan_steps=policy takes the policy's"
            )
    if spec.takes_prefix:
        said += _prefix_remarks(config, spec)
    return said


def _prefix_remarks(config: EvalConfig, spec: PolicySpec) -> Iterator[str]:
    """Where the queue leaves a policy with real-time chunking nothing to go on from, or undoes what it did."""
    execution, what = config.execution, f"policy {spec.name} goes on from the rest of its last chunk"
    aggregate = execution.aggregate or DEFAULT_AGGREGATE
    if execution.mode == "sync":
        yield f"{what}, and execution.mode=sync leaves none: it acts as without; write execution.mode=async"
    elif aggregate != "latest_only":
        yield (
            f"{what}, and execution.aggregate={aggregate} mixes the two once more; LeRobot executes the new one alone, "
            "as execution.aggregate=latest_only does"
        )


def queue_rules(config: EvalConfig, spec: PolicySpec) -> QueueRules:
    """The chunk queue's rules; sync is latency 0, threshold 0 and a chunk of `replan_steps` rows.

    Raises:
        ConfigError: more rows are asked for than a chunk has, there is no such aggregation, or observations are to be
            compared by a state that the policy does not ask for.
    """
    if config.execution.mode == "sync":
        return QueueRules(horizon=_replan_steps(config, spec), chunk_len=spec.chunk_len, action_dim=spec.action_dim)
    execution = config.execution
    aggregate = execution.aggregate or DEFAULT_AGGREGATE
    load_aggregation(aggregate)
    if execution.similarity_atol is not None and STATE not in spec.keys:
        raise ConfigError(
            f"execution.similarity_atol: expected a policy that asks for {STATE}, by which observations are compared, "
            f"got {spec.name}, which does not; leave it out"
        )
    return QueueRules(
        horizon=min(spec.chunk_len, execution.actions_per_chunk or spec.chunk_len),
        chunk_len=spec.chunk_len,
        action_dim=spec.action_dim,
        chunk_size_threshold=execution.chunk_size_threshold or 0.0,
        aggregate=aggregate,
        underrun=execution.underrun or "hold",
        kind=execution.queue or "virtual",
        similarity_atol=execution.similarity_atol,
    )


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


def is_starved(rules: QueueRules, latency: LatencySection) -> bool:
    """Whether every row of every chunk is stale when it arrives, so that the policy never acts.

    LeRobot's queue counts executed actions instead of steps: whatever the latency, every chunk but the first loses its
    first action, and of a chunk of one that is all; the policy then acts once.
    """
    if rules.kind == "lerobot":
        return rules.horizon == 1
    return shortest_steps(latency) >= rules.horizon and rules.underrun != "wait"


def starvation(rules: QueueRules, latency: LatencySection) -> str:
    """Why a policy that is starved is so, in one line."""
    if rules.kind == "lerobot":
        return (
            "execution.queue=lerobot drops the first action of every chunk but the first, and there is no other: "
            "the policy acts once; write execution.actions_per_chunk=2 or more, or execution.queue=virtual"
        )
    return (
        f"latency {shortest_steps(latency)} steps >= {rules.horizon} actions per chunk: every action arrives too late, "
        "so the policy never acts"
    )


def needs_images(spec: PolicySpec) -> bool:
    """Whether the policy looks through a camera."""
    return any(key in IMAGE_KEYS for key in spec.keys)

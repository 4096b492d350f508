"""From the configuration and the policy's spec to what workers are given; pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ray_eval.config import EvalConfig, simulator_section
from ray_eval.driver.matching import check_match
from ray_eval.errors import ConfigError
from ray_eval.rollout.chunk_queue import load_aggregation
from ray_eval.rollout.latency import shortest_steps
from ray_eval.rollout.watchdog import Deadlines
from ray_eval.sections import (
    EnvSettings,
    ExpertPolicy,
    ImageRecipe,
    LatencySection,
    LeRobotPolicySection,
    ObservationRecipe,
    PolicySection,
    QueueRules,
    RemoteSection,
    ScriptedPolicy,
    TorchPolicySection,
)
from ray_eval.types import STATE, EnvSpec, PolicySpec, is_image

DEFAULT_AGGREGATE = "latest_only"
"""What becomes of a step that two chunks speak of, unless said."""


def env_settings(config: EvalConfig, spec: PolicySpec, env: EnvSpec) -> EnvSettings:
    """What an env must know: the configuration's choices, cut to what the policy asks for.

    Raises:
        ConfigError: the policy does not fit the simulator.
    """
    check_match(config, spec, env)
    recipe = ObservationRecipe(spec.keys, spec.n_obs_steps, _images(config.protocol.images, spec))
    return EnvSettings(
        recipe,
        simulator_section(config),
        task_text=config.task_text,
        model_cache_bytes=round(config.limits.model_cache_gb * 1e9),
    )


def told_section(config: EvalConfig, env: EnvSpec) -> PolicySection:
    """The policy's section, with what it could not know otherwise of the env that it is to act in.

    A user's own is tried with made-up observations of the state's size before it is asked about any of the simulator's;
    a scripted one acts within the env's bounds and looks through the env's cameras.
    """
    section = config.policy
    if isinstance(section, (TorchPolicySection, RemoteSection)) and section.state_dim is None and env.state is not None:
        return dataclasses.replace(section, state_dim=len(env.state.names))
    if isinstance(section, LeRobotPolicySection) and section.keys is None:
        return dataclasses.replace(section, keys=env.keys)
    if isinstance(section, ExpertPolicy):
        section = dataclasses.replace(
            section,
            simulator=section.simulator or env.simulator,
            python=section.python or config.simulator.python,
        )
    if isinstance(section, ScriptedPolicy):
        return dataclasses.replace(
            section,
            cameras=_usual_cameras(env) if section.cameras is None else section.cameras,
            action_low=env.action.low if section.action_low is None else section.action_low,
            action_high=env.action.high if section.action_high is None else section.action_high,
        )
    return section


def _usual_cameras(env: EnvSpec) -> tuple[str, ...]:
    return tuple(camera.key for camera in env.cameras if camera.is_usual)


def _images(images: ImageRecipe, spec: PolicySpec) -> ImageRecipe:
    """The protocol's recipe, brought to the size that the policy insists on; rendered at it where nothing resizes."""
    size_px = spec.image_size_px
    if size_px in (None, images.image_size_px):
        return images
    if images.resize == "none":
        return dataclasses.replace(images, render_size_px=size_px, image_size_px=size_px)
    return dataclasses.replace(images, image_size_px=size_px)


def differences(config: EvalConfig, spec: PolicySpec, env: EnvSpec) -> list[str]:
    """Where the policy and the protocol say different things, and whose word is taken; a sentence each."""
    said = []
    images, size_px = config.protocol.images, spec.image_size_px
    others = [told for told in _told_sizes(config, spec, env) if told[0] != (size_px, size_px)]
    if size_px is not None and others:
        (height_px, width_px), whose = others[0]
        how = "rendered at" if images.resize == "none" else "resized to"
        size = f"{height_px}" if height_px == width_px else f"{width_px} x {height_px}"
        said.append(f"images: the policy's {size_px} px, not the {size} px of {whose}; they are {how} {size_px} px")
    if config.execution.chunk_size_threshold is None and spec.replan_steps is not None:
        steps = _replan_steps(config, spec)
        if steps != spec.replan_steps:
            said.append(
                f"replan_steps: the {steps} of protocol {config.protocol.name}, not the {spec.replan_steps} of the "
                "policy; protocol.replan_steps=policy takes the policy's"
            )
    if spec.takes_prefix:
        said += _prefix_remarks(config, spec)
    return said


def _told_sizes(config: EvalConfig, spec: PolicySpec, env: EnvSpec) -> Iterator[tuple[tuple[int, int], str]]:
    """Height and width of the policy's images as the protocol has them, else as the simulator has, and who says it."""
    size_px = config.protocol.images.image_size_px
    for camera in env.cameras:
        if camera.key not in spec.keys:
            continue
        if size_px is None:
            yield (camera.height_px, camera.width_px), f"the simulator {env.simulator}"
        else:
            yield (size_px, size_px), f"protocol {config.protocol.name}"


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


def deadlines(config: EvalConfig) -> Deadlines:
    """How long each phase of an attempt may take."""
    limits = config.limits
    return Deadlines(limits.build_timeout_s, limits.reset_timeout_s, limits.step_timeout_s, limits.render_timeout_s)


def queue_rules(config: EvalConfig, spec: PolicySpec) -> QueueRules:
    """The chunk queue's rules; sync is latency 0, threshold 0 and a chunk of `replan_steps` rows.

    Raises:
        ConfigError: more rows are asked for than a chunk has, there is no such aggregation, or observations are to be
            compared by a state that the policy does not ask for.
    """
    execution = config.execution
    rows = min(spec.chunk_len, execution.actions_per_chunk or spec.chunk_len)
    if execution.mode == "sync":
        horizon = min(rows, _replan_steps(config, spec))
        return QueueRules(horizon=horizon, chunk_len=spec.chunk_len, action_dim=spec.action_dim)
    aggregate = execution.aggregate or DEFAULT_AGGREGATE
    load_aggregation(aggregate)
    if execution.similarity_atol is not None and STATE not in spec.keys:
        raise ConfigError(
            f"execution.similarity_atol: expected a policy that asks for {STATE}, by which observations are compared, "
            f"got {spec.name}, which does not; leave it out"
        )
    return QueueRules(
        horizon=rows,
        chunk_len=spec.chunk_len,
        action_dim=spec.action_dim,
        chunk_size_threshold=_threshold(config, spec, rows),
        aggregate=aggregate,
        underrun=execution.underrun or "hold",
        kind=execution.queue or "virtual",
        similarity_atol=execution.similarity_atol,
    )


def _threshold(config: EvalConfig, spec: PolicySpec, rows: int) -> float:
    """When the queue asks: as it is said, else once as many actions are executed as the protocol says for sync."""
    if config.execution.chunk_size_threshold is not None:
        return config.execution.chunk_size_threshold
    # The same division as the queue's own, so that both are the same number.
    return (rows - min(rows, _replan_steps(config, spec))) / rows


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


def is_starved(rules: QueueRules, latency: LatencySection, control_hz: float) -> bool:
    """Whether every row of every chunk is stale when it arrives, so that the policy never acts.

    LeRobot's queue counts executed actions instead of steps: whatever the latency, every chunk but the first loses its
    first action, and of a chunk of one that is all; the policy then acts once.
    """
    if rules.kind == "lerobot":
        return rules.horizon == 1
    return shortest_steps(latency, control_hz) >= rules.horizon and rules.underrun != "wait"


def starvation(rules: QueueRules, latency: LatencySection, control_hz: float) -> str:
    """Why a policy that is starved is so, in one line."""
    if rules.kind == "lerobot":
        return (
            "execution.queue=lerobot drops the first action of every chunk but the first, and there is no other: "
            "the policy acts once; write execution.actions_per_chunk=2 or more, or execution.queue=virtual"
        )
    steps = shortest_steps(latency, control_hz)
    return (
        f"latency {steps} steps >= {rules.horizon} actions per chunk: every action arrives too late, "
        "so the policy never acts"
    )


def needs_images(spec: PolicySpec) -> bool:
    """Whether the policy looks through a camera."""
    return any(is_image(key) for key in spec.keys)

"""Whether a policy fits a simulator: `PolicySpec` against `EnvSpec`, before anything is simulated; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ray_eval.config import EvalConfig
from ray_eval.envs.libero.settings import STATE_NAMES
from ray_eval.errors import ConfigError
from ray_eval.types import ACTION, KEY_FORMS, STATE, CameraSpec, EnvSpec, PolicySpec, TrainingRange, is_image


def check_match(config: EvalConfig, policy: PolicySpec, env: EnvSpec) -> None:
    """Passes when the env delivers what the policy reads and executes what it answers.

    Raises:
        ConfigError: it does not; every mismatch with both sides and, where there is one, the key that mends it.
    """
    found = list(mismatches(config, policy, env))
    if found:
        raise ConfigError(f"policy {policy.name}: {'; also: '.join(found)}")


def mismatches(config: EvalConfig, policy: PolicySpec, env: EnvSpec) -> Iterator[str]:
    """Everything that keeps a policy from an env, a clause each."""
    yield from _of_keys(policy, env)
    yield from _of_sizes(config, policy, env)
    yield from _of_state(config, policy, env)
    yield from _of_action(config, policy, env)


def _of_keys(policy: PolicySpec, env: EnvSpec) -> Iterator[str]:
    unknown = [key for key in policy.keys if key not in env.keys]
    if unknown:
        free = [key for key in env.keys if key not in policy.keys and is_image(key) == is_image(unknown[0])]
        short = free[0].rpartition(".")[2] if free else ""
        remedy = f"where a checkpoint calls it so, write policy.rename.{short}={unknown[0]}" if free else KEY_FORMS
        yield f"expected keys among {', '.join(env.keys)} of {env.simulator}, got {unknown[0]}; {remedy}"


def _of_sizes(config: EvalConfig, policy: PolicySpec, env: EnvSpec) -> Iterator[str]:
    size_px, images = policy.image_size_px, config.protocol.images
    if size_px is None or images.resize != "none":
        return
    for camera in env.cameras:
        if camera.key in policy.keys and not camera.is_resizable and _size(camera) != (size_px, size_px):
            yield (
                f"expected {camera.key} of {camera.width_px} x {camera.height_px} px, as {env.simulator} draws it, got "
                f"a policy for {size_px} x {size_px}; write protocol.images.resize=bilinear "
                f"protocol.images.image_size_px={size_px}"
            )


def _size(camera: CameraSpec) -> tuple[int, int]:
    return camera.height_px, camera.width_px


def _of_state(config: EvalConfig, policy: PolicySpec, env: EnvSpec) -> Iterator[str]:
    if STATE not in policy.keys or env.state is None or policy.state_dim in (None, len(env.state.names)):
        return
    how, remedy = "", "it was trained on another robot's state"
    if config.protocol.state_format is not None:
        how = f" (protocol.state_format={config.protocol.state_format})"
        fitting = [name for name, names in STATE_NAMES.items() if len(names) == policy.state_dim]
        remedy = f"write protocol.state_format={fitting[0]}" if fitting else remedy
    yield (
        f"expected {STATE} of {len(env.state.names)} numbers{how}, got a policy that reads {policy.state_dim}; {remedy}"
    )


def _of_action(config: EvalConfig, policy: PolicySpec, env: EnvSpec) -> Iterator[str]:
    action = env.action
    if policy.action_dim != action.dim:
        yield (
            f"expected an {ACTION} of {action.dim} numbers ({', '.join(action.names)}), got {policy.action_dim}; it "
            "was made for another robot or another control"
        )
        return
    if policy.control not in (None, action.control):
        word = _CONTROL_KEYS.get(str(policy.control))
        is_choice = word is not None and config.protocol.control is not None
        remedy = f"write protocol.control={word}" if is_choice else "it was trained for another control"
        yield f"expected actions of {action.control}, got a policy of {policy.control}; {remedy}"
    if policy.control_hz is not None and abs(policy.control_hz - env.control_hz) > 1e-3 * env.control_hz:
        yield (
            f"expected {env.control_hz:g} control steps per second, got a policy for {policy.control_hz:g}; no key "
            f"changes the rate of {env.simulator}: train at its rate, or leave control_hz out of the policy's spec"
        )
    trained = next((each for each in policy.ranges if each.key == ACTION), None)
    if trained is not None and len(trained.low) == action.dim:
        yield from _of_range(config, trained, env)


_CONTROL_KEYS: Mapping[str, str] = {"delta_pose": "delta", "absolute_pose": "absolute"}


def _of_range(config: EvalConfig, trained: TrainingRange, env: EnvSpec) -> Iterator[str]:
    """Components whose training data lie wholly outside what the env takes."""
    low, high = np.array(env.action.low), np.array(env.action.high)
    outside = np.flatnonzero((np.array(trained.high) < low) | (np.array(trained.low) > high))
    if len(outside):
        index = int(outside[0])
        transform = " or protocol.gripper" if config.protocol.gripper is not None else ""
        yield (
            f"expected {ACTION} component {env.action.names[index]} within {low[index]:g} to {high[index]:g}, got a "
            f"policy trained on {trained.low[index]:g} to {trained.high[index]:g}; it was made for another scale: look "
            f"at simulator={env.simulator}{transform}"
        )

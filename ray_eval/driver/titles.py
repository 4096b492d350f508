"""What was run, in one line above a table or a figure: the policy, the protocol, how it was executed, the latency."""

from __future__ import annotations

from ray_eval.config import EvalConfig, ExecutionConfig, LatencyConfig
from ray_eval.sections import LeRobotPolicySection, LivePolicySection, PolicySection, RemoteSection, TorchPolicySection
from ray_eval.types import PolicySpec, is_image

LONGEST_PATH = 40
"""Characters of a checkpoint's path that are shown, its last ones."""


def run_title(config: EvalConfig) -> str:
    """The policy, the protocol, and how it was executed."""
    parts = [policy_words(config.policy_type, config.policy), f"protocol {config.protocol.name}"]
    return " · ".join([*parts, execution_words(config.execution)])


def policy_words(kind: str, section: PolicySection) -> str:
    """The type, and what tells it from others of its type: a path, a factory, an address."""
    if isinstance(section, LivePolicySection):
        return section.name or kind
    path = getattr(section, "path", None) or getattr(section, "entrypoint", None)
    if not path and isinstance(section, RemoteSection):
        path = ", ".join(section.addresses)
    if not path:
        return kind
    return f"{kind} {path if len(path) <= LONGEST_PATH else '...' + path[-LONGEST_PATH:]}"


def execution_words(execution: ExecutionConfig) -> str:
    """The mode; where the simulator goes on, the latency, and what else of the chunk queue is not the default."""
    if execution.mode == "sync":
        return "sync"
    timing = f"{execution.fps} fps" if execution.mode == "realtime" else latency_words(execution.latency)
    rest = []
    if execution.chunk_size_threshold is not None:
        rest.append(f"threshold {execution.chunk_size_threshold:g}")
    if execution.aggregate not in (None, "latest_only"):
        rest.append(str(execution.aggregate))
    return ", ".join([f"{execution.mode}, {timing}", *rest])


def latency_words(latency: LatencyConfig) -> str:
    """The latency as it was said."""
    if latency.ms is not None:
        return f"latency {latency.ms:g} ms"
    if latency.uniform is not None:
        return f"latency {latency.uniform.low_ms:g} to {latency.uniform.high_ms:g} ms"
    if latency.lognormal is not None:
        return f"latency {latency.lognormal.median_ms:g} ms in the median, {latency.lognormal.p95_ms:g} ms at p95"
    if latency.trace is not None:
        return "recorded latency"
    if latency.calibrated:
        return "calibrated latency"
    return f"latency {latency.steps or 0} step{'s'[: latency.steps != 1]}"


def spec_words(spec: PolicySpec) -> str:
    """What a policy says of itself: its chunks, and what it reads."""
    size = (
        f"; images of {spec.image_size_px} px"
        if spec.image_size_px is not None and any(map(is_image, spec.keys))
        else ""
    )
    frames = f", {spec.n_obs_steps} observations at a time" if spec.n_obs_steps > 1 else ""
    keys = ", ".join(key.removeprefix("observation.") for key in spec.keys) or "nothing"
    chunks = f"chunks of {spec.chunk_len} actions of {spec.action_dim} numbers"
    return f"policy {spec.name}: {chunks}; reads {keys}{frames}{size}"


def unread_words(section: PolicySection) -> str:
    """Which keys of a configuration are no policy's word before it is loaded; empty where all are."""
    if isinstance(section, TorchPolicySection) and section.entrypoint:
        return (
            f"{section.entrypoint} itself says keys, chunk_len, action_dim, image_size_px and n_obs_steps when it is "
            "loaded; below they are those of a file without code"
        )
    if isinstance(section, LeRobotPolicySection):
        return "the checkpoint says what it reads, how long its chunks are, and how much of one is executed"
    if isinstance(section, RemoteSection):
        return "the server is asked when the run begins; what it says of itself takes the place of what is below"
    return ""

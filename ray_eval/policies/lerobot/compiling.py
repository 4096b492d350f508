"""`torch.compile` of LeRobot's policies: as the checkpoint, the user and a reproducible run together allow it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray_eval.sections import LeRobotPolicySection

_PLAIN_MODE = "default"


def set_compile(config: Any, section: LeRobotPolicySection, *, may_autotune: bool) -> list[str]:
    """Settles whether LeRobot compiles the network of a policy that is not made yet, and by what mode.

    Kernels that are chosen by their time may differ from one replica to the next, and so may the actions.

    Args:
        config: LeRobot's configuration, changed.
        section: The user's wishes.
        may_autotune: Whether kernels may be chosen by timing.

    Returns:
        What a reader of the result should know.
    """
    if not hasattr(config, "compile_model"):
        return []
    remarks = []
    if section.compile is False and config.compile_model:
        config.compile_model = False
        remarks.append("policy.compile=false: the checkpoint's compile_model is not obeyed")
    # Diffusion would compile its network before the weights are there, under other names than theirs.
    elif section.compile is True and config.type != "diffusion":
        config.compile_model = True
    mode = str(getattr(config, "compile_mode", _PLAIN_MODE))
    if config.compile_model and "autotune" in mode and not may_autotune:
        config.compile_mode = _PLAIN_MODE
        remarks.append(f"compiled without the checkpoint's compile_mode {mode!r}, which chooses kernels by their time")
    return remarks


def compile_made(policy: Any, section: LeRobotPolicySection) -> None:
    """Compiles the networks of a policy with its weights, where LeRobot has no setting for it that comes earlier."""
    config = policy.config
    if section.compile is not True or getattr(config, "compile_model", False):
        return
    if config.type == "diffusion":
        policy.diffusion.unet.compile()
    else:
        for part in policy.children():
            part.compile()


def compiled_as(config: Any, section: LeRobotPolicySection) -> Mapping[str, str]:
    """What a run's identity has of it: the mode of a compiled policy, nothing of another."""
    if getattr(config, "compile_model", False):
        return {"compile": str(getattr(config, "compile_mode", _PLAIN_MODE))}
    return {"compile": _PLAIN_MODE} if section.compile is True else {}

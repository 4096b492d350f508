"""The interpreter that a policy is to run in, asked what it has for it before anything starts in it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ray_eval.install.environment import made_python
from ray_eval.install.recipes import POLICY_SIDE
from ray_eval.interpreters import Interpreter, ask, check_needs, found, made_remedy
from ray_eval.policies.lerobot.checkpoint import Checkpoint, local_checkpoint
from ray_eval.policies.lerobot.kinds import all_modules, needs_of
from ray_eval.policies.lerobot.loading import refuse_kind
from ray_eval.policies.lerobot.missing import check_saved_by
from ray_eval.policies.lerobot.pipelines import check_pipelines
from ray_eval.policies.torch_module import check_entrypoint, check_torch
from ray_eval.sections import LeRobotPolicySection, PolicySection, TorchPolicySection

_MODULES = ("grpc", "grpc_health", "numpy", "omegaconf", "google.protobuf", "rich")
_SIDE: Mapping[str, str] = MappingProxyType(dict(zip(POLICY_SIDE, _MODULES, strict=True)))
"""Module by distribution of ray-eval's policy side."""
KEY = "policy.python"
"""The configuration's key that names the interpreter."""


def interpreter_of(section: PolicySection) -> str | None:
    """The interpreter that a policy is to run in; None for this one."""
    return getattr(section, "python", None)


def check_interpreter(section: PolicySection) -> str:
    """The path of the interpreter of a policy, which can run it as far as a question of some milliseconds tells.

    Of a LeRobot checkpoint in a folder of this machine what its type needs is looked for as well.

    Raises:
        SetupError: it is none, is too old, or lacks something, with the line to type; or the checkpoint is incomplete
            or of a type that cannot be evaluated.
    """
    made = made_python("lerobot") if isinstance(section, LeRobotPolicySection) else None
    path = found(str(Path(interpreter_of(section) or sys.executable).expanduser()), KEY, made)
    if isinstance(section, LeRobotPolicySection):
        _check_lerobot(path, _checkpoint_of(section))
    elif isinstance(section, TorchPolicySection) and section.python is None:
        check_torch()
        if section.entrypoint is not None:
            check_entrypoint(section.entrypoint)
    elif isinstance(section, TorchPolicySection):
        asked = ask(path, KEY, (*_MODULES, "torch"))
        check_needs(asked, _SIDE)
        if "torch" not in asked.modules:
            raise asked.fail("the package torch there", "none", f"type: {path} -m pip install torch safetensors")
    return path


def _checkpoint_of(section: LeRobotPolicySection) -> Checkpoint | None:
    """A checkpoint of this machine; None where the hub has it."""
    checkpoint = local_checkpoint(section.path, section.revision)
    if checkpoint is not None:
        refuse_kind(checkpoint)
    return checkpoint


def _check_lerobot(path: str, checkpoint: Checkpoint | None) -> None:
    install = f"ray-eval install lerobot {checkpoint.type if checkpoint else ''}".rstrip()
    made = made_python("lerobot")
    remedy = f"type: {install}, and write the path that it says at the end"
    if made is not None and path != str(made):
        remedy = made_remedy(KEY, made)
    asked = ask(path, KEY, (*_MODULES, "lerobot", *all_modules()), ("lerobot",))
    check_needs(asked, {}, f"LeRobot 0.6 wants 3.12; {remedy}")
    version = asked.versions.get("lerobot")
    if version is None or "lerobot" not in asked.modules:
        raise asked.fail("LeRobot there", "none", remedy)
    check_needs(asked, _SIDE)
    if checkpoint is not None:
        check_saved_by(checkpoint, version)
        check_pipelines(checkpoint)
        _check_kind(asked, checkpoint.type, version)


def _check_kind(asked: Interpreter, kind: str, version: str) -> None:
    needs = needs_of(kind, version)
    missing = [name for name in needs.modules if name not in asked.modules]
    if missing:
        line = f"type: {asked.path} -m pip install 'lerobot[{needs.extra}]=={version}'"
        got = f"no {' and no '.join(missing)}"
        raise asked.fail(f"what policies of type {kind!r} need there", got, needs.remedy or line)

"""Policies that ray-eval brings along; they run in the policy's process and are served like a user's own."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ray_eval.errors import ConfigError
from ray_eval.interfaces import Policy
from ray_eval.policies.experts import make_expert
from ray_eval.policies.fake import FakePolicy
from ray_eval.policies.lerobot import LeRobotPolicy
from ray_eval.policies.oracle import Oracle
from ray_eval.policies.remote.groot import GrootPolicy
from ray_eval.policies.remote.kserve import KservePolicy
from ray_eval.policies.remote.lerobot_server import LeRobotServerPolicy
from ray_eval.policies.remote.openpi import OpenpiPolicy
from ray_eval.policies.remote.starvla import StarVlaPolicy
from ray_eval.policies.remote.vla_eval import VlaEvalPolicy
from ray_eval.policies.remote.xvla import XvlaPolicy
from ray_eval.policies.scripted import Noop, Random, Replay
from ray_eval.policies.torch_module import load_torch
from ray_eval.sections import (
    ExpertPolicy,
    FakePolicySection,
    GrootServerSection,
    KservePolicySection,
    LeRobotPolicySection,
    LeRobotServerPolicySection,
    LivePolicySection,
    NoopPolicy,
    OpenpiPolicySection,
    OraclePolicy,
    PolicySection,
    RandomPolicy,
    ReplayPolicy,
    StarVlaServerSection,
    TorchPolicySection,
    VlaEvalPolicySection,
    XvlaServerSection,
)

__all__ = ["make_policy"]


def _live(_section: LivePolicySection) -> Policy:
    raise ConfigError(LivePolicySection.NOT_THERE)


_MAKERS: Mapping[type[PolicySection], Callable[[Any], Policy]] = MappingProxyType(
    {
        OraclePolicy: Oracle,
        ExpertPolicy: make_expert,
        NoopPolicy: Noop,
        RandomPolicy: Random,
        ReplayPolicy: Replay,
        FakePolicySection: lambda section: FakePolicy(section.chunk_len, images=section.images),
        LivePolicySection: _live,
        TorchPolicySection: load_torch,
        KservePolicySection: KservePolicy,
        OpenpiPolicySection: OpenpiPolicy,
        VlaEvalPolicySection: VlaEvalPolicy,
        LeRobotServerPolicySection: LeRobotServerPolicy,
        StarVlaServerSection: StarVlaPolicy,
        GrootServerSection: GrootPolicy,
        XvlaServerSection: XvlaPolicy,
    }
)


def make_policy(section: PolicySection, *, may_autotune: bool = False) -> Policy:
    """The policy that a section describes.

    Args:
        section: What is to be made.
        may_autotune: Whether a policy that compiles itself may choose kernels by their time, which may change bits.

    Raises:
        SetupError: something that the policy needs is not on this machine.
    """
    if isinstance(section, LeRobotPolicySection):
        return LeRobotPolicy(section, may_autotune=may_autotune)
    return _MAKERS[type(section)](section)

"""Policies that ray-eval brings along; they run in the policy's process and are served like a user's own."""

from ray_eval.interfaces import Policy
from ray_eval.policies.fake import FakePolicy
from ray_eval.policies.oracle import Oracle
from ray_eval.policies.scripted import Noop, Random, Replay
from ray_eval.policies.torch_module import load_torch
from ray_eval.sections import (
    FakePolicySection,
    NoopPolicy,
    OraclePolicy,
    PolicySection,
    RandomPolicy,
    TorchPolicySection,
)

__all__ = ["make_policy"]


def make_policy(section: PolicySection) -> Policy:
    """The policy that a section describes.

    Raises:
        SetupError: something that the policy needs is not on this machine.
    """
    if isinstance(section, OraclePolicy):
        return Oracle(section)
    if isinstance(section, NoopPolicy):
        return Noop(section)
    if isinstance(section, RandomPolicy):
        return Random(section)
    if isinstance(section, FakePolicySection):
        return FakePolicy(section.chunk_len, images=section.images)
    if isinstance(section, TorchPolicySection):
        return load_torch(section)
    return Replay(section)

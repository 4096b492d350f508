"""A scripted expert for LIBERO's four suites; see `policy.Oracle`."""

from ray_eval.policies.oracle.policy import Oracle

__all__ = ["Oracle"]

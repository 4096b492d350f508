"""Public fakes and contract checks, for our tests and for users' own policies and envs."""

from ray_eval.envs.contract import check_env_contract as check_env
from ray_eval.envs.fake import FakeEnv
from ray_eval.policies.contract import check_policy
from ray_eval.policies.fake import FakePolicy

__all__ = ["FakeEnv", "FakePolicy", "check_env", "check_policy"]

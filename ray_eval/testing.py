"""Public fakes and contract checks, for our tests and for users' own policies, envs and simulators."""

from ray_eval.envs.contract import check_env_contract, check_simulator_contract
from ray_eval.envs.contract import check_env_contract as check_env
from ray_eval.envs.fake import FakeEnv, FakeSimulator
from ray_eval.policies.contract import check_policy
from ray_eval.policies.fake import FakePolicy

__all__ = [
    "FakeEnv",
    "FakePolicy",
    "FakeSimulator",
    "check_env",
    "check_env_contract",
    "check_policy",
    "check_simulator_contract",
]

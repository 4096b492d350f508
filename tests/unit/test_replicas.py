from types import SimpleNamespace

import pytest

from ray_eval.config import load_config
from ray_eval.driver.replicas import gpu_share, policy_cpus, summed
from ray_eval.driver.sweep import _by_policy
from ray_eval.errors import ConfigError
from ray_eval.sections import OraclePolicy, TorchPolicySection


def test_figures_of_several_servers_add_up():
    first = {"requests": 3, "batch_sizes": {1: 3}, "forward_ms": 1.5}
    second = {"requests": 5, "batch_sizes": {1: 1, 4: 1}, "forward_ms": 0.5}
    assert summed([first, second]) == {"requests": 8, "batch_sizes": {1: 4, 4: 1}, "forward_ms": 2.0}
    assert summed([first]) == first


@pytest.mark.parametrize(
    ("section", "replicas", "gpus", "share"),
    [
        (TorchPolicySection(path="x.pt"), 1, 0.0, 0.0),
        (TorchPolicySection(path="x.pt"), 2, 8.0, 1.0),
        (TorchPolicySection(path="x.pt"), 4, 2.0, 0.5),
        (TorchPolicySection(path="x.pt"), 3, 1.0, 0.3333),
        (TorchPolicySection(path="x.pt", device="cpu"), 1, 8.0, 0.0),
        (OraclePolicy(), 1, 8.0, 0.0),
    ],
)
def test_each_policy_actor_has_a_gpu_where_it_uses_one(section, replicas, gpus, share):
    assert gpu_share(section, replicas, gpus) == share


def test_policies_that_compute_keep_cpus_free_for_themselves():
    words = ("suite=fake", "serving.replicas=2", "serving.threads=3")
    assert policy_cpus(load_config(None, ["policy=torch", "policy.path=x.pt", *words])) == 6
    assert policy_cpus(load_config(None, ["policy=oracle", *words])) == 0


def test_several_replicas_at_one_port_are_refused():
    with pytest.raises(ConfigError, match=r"serving\.address: expected auto, or port 0"):
        load_config("first_light", ["serving.replicas=2", "serving.address=127.0.0.1:8000"])


def test_points_of_a_sweep_share_a_policy_actor_only_if_policy_and_forwards_are_the_same():
    def part(*words):
        entry = ("suite=fake", "policy=torch", "policy.entrypoint=m:f", "policy.kwargs.a=1")
        return SimpleNamespace(config=load_config(None, [*entry, *words]))

    parts = [part("seed=0"), part("serving.batch_size=4"), part("seed=1"), part("policy.chunk_len=3")]
    assert [[parts.index(each) for each in group] for group in _by_policy(parts)] == [[0, 2], [1], [3]]

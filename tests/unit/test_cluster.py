"""How many workers a machine carries, and what is said where Ray cannot start."""

import pytest

from ray_eval.config import load_config
from ray_eval.driver.cluster import auto_workers, object_store_bytes, usable_cpus, worker_count
from ray_eval.driver.interrupt import StopSignal
from ray_eval.errors import SetupError

GB = 10**9


@pytest.mark.parametrize(
    ("cpus", "memory", "policy_cpus", "workers"),
    [
        (2, 24 * GB, 0, 2),  # a small machine shares
        (1, 24 * GB, 1, 1),  # never none
        (16, 128 * GB, 0, 15),  # a large one leaves a CPU to Ray
        (16, 128 * GB, 1, 14),  # and one to the policy
        (64, 20 * GB, 0, 8),  # memory may be what is short
        (64, GB, 0, 1),
    ],
)
def test_auto_is_what_cpus_and_memory_carry(cpus, memory, policy_cpus, workers):
    assert auto_workers(cpus, memory, policy_cpus) == workers


def test_no_more_workers_than_episodes():
    config = load_config(None, ["suite=fake", "policy=noop", "workers=8"])
    assert worker_count(config, waiting_episodes=3, policy_cpus=0) == 3
    assert worker_count(config, waiting_episodes=0, policy_cpus=0) == 1
    assert usable_cpus() >= 1


def test_too_little_shared_memory_is_said_with_its_remedy():
    with pytest.raises(SetupError, match=r"/dev/shm.*expected 89 MB free for Ray, got 64 MB.*--shm-size=1g"):
        object_store_bytes(64 * 1024**2)
    assert object_store_bytes(128 * 1024**2) < 128 * 1024**2
    assert object_store_bytes(64 * GB) == 256 * 1024**2


def test_the_first_signal_gives_a_grace_and_the_second_none():
    stop = StopSignal(grace_s=1000)
    assert not stop.is_over(holding=False)
    stop.receive()
    assert stop.is_over(holding=False)
    assert not stop.is_over(holding=True)
    with pytest.raises(KeyboardInterrupt):
        stop.receive()


def test_without_a_grace_nothing_is_waited_for():
    stop = StopSignal(grace_s=0)
    stop.receive()
    assert stop.is_over(holding=True)

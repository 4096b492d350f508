"""How many workers a machine carries, and what is said where Ray cannot start."""

import dataclasses
import importlib.machinery
import importlib.util
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ray_eval.config import load_config
from ray_eval.driver.cluster import auto_workers, local_workers, object_store_bytes, worker_count
from ray_eval.driver.interrupt import StopSignal, hangups_wait, signals_interrupt, stop_on_signals
from ray_eval.driver.joining import prepare_to_join
from ray_eval.driver.replicas import fewer_words
from ray_eval.driver.starting import ray_folder, slowness
from ray_eval.errors import ConfigError, SetupError
from ray_eval.sections import BatchingSection, ListenSection, LivePolicySection, ReplayPolicy
from ray_eval.serving.actor import PolicyActor
from ray_eval.serving.listening import is_every_interface, is_local

GB = 10**9


@pytest.mark.parametrize(
    ("cpus", "memory", "policy_cpus", "workers"),
    [
        (2, 24 * GB, 0, 2),  # a small machine shares
        (1, 24 * GB, 1, 1),  # never none
        (16, 128 * GB, 0, 15),  # a large one leaves a CPU to Ray
        (16, 128 * GB, 1, 14),  # and one to the policy
        (64, 12 * GB, 0, 8),  # memory may be what is short
        (64, GB, 0, 1),
    ],
)
def test_auto_is_what_cpus_and_memory_carry(cpus, memory, policy_cpus, workers):
    assert auto_workers(cpus, memory, policy_cpus) == workers


def test_no_more_workers_than_episodes():
    config = load_config(None, ["suite=fake", "policy=noop", "workers=8"])
    assert worker_count(config, waiting_episodes=3, fitting=1) == 3
    assert worker_count(config, waiting_episodes=0, fitting=1) == 1


def test_auto_takes_what_fits():
    config = load_config(None, ["suite=fake", "policy=noop"])
    assert [worker_count(config, waiting_episodes=5, fitting=n) for n in (0, 1, 4, 9)] == [1, 1, 4, 5]
    assert local_workers(policy_cpus=0) >= 1


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_like_ctrl_c_and_its_handler_is_put_back(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), signals_interrupt():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_any_of_the_signals_stops_a_run(number):
    with stop_on_signals(grace_s=1000) as stop:
        signal.raise_signal(number)
        assert stop.is_set


@pytest.fixture
def nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_run_below_nohup_outlives_its_terminal(nohup):
    with signals_interrupt(), stop_on_signals(grace_s=1000) as stop:
        signal.raise_signal(signal.SIGHUP)
        assert not stop.is_set


def test_what_is_started_while_hangups_wait_gets_none_and_this_process_gets_its_own_afterwards():
    sleeper = [sys.executable, "-c", "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))"]
    with stop_on_signals(grace_s=1000) as stop:
        with hangups_wait():
            masked = subprocess.run(sleeper, capture_output=True, text=True, check=True).stdout
            signal.raise_signal(signal.SIGHUP)
            assert not stop.is_set
        assert stop.is_set
    assert "SIGHUP" in masked


def test_a_policy_that_cannot_be_loaded_again_says_why_wherever_it_is_asked(tmp_path):
    section = ReplayPolicy(path=str(tmp_path / "nowhere"))
    actor = PolicyActor("policy-0 replay", section, ListenSection(f"unix:{tmp_path / 's'}"), BatchingSection())
    for question in (actor.spec, actor.connection, actor.metrics):
        with pytest.raises(SetupError, match="nowhere"):
            question()


def test_a_server_on_every_interface_is_called_by_its_nodes_address():
    assert [is_every_interface(host) for host in ("0.0.0.0", "::", "127.0.0.1", "localhost", "10.0.0.7")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert [is_local(address) for address in ("unix:/x", "127.0.0.1:1", "[::1]:1", "localhost:1", "0.0.0.0:1")] == [
        True,
        True,
        True,
        True,
        False,
    ]


def test_an_address_of_ray_client_is_refused_at_once_with_what_to_write():
    with pytest.raises(ConfigError, match=r"run ray-eval on one of its nodes with ray\.address=auto"):
        prepare_to_join("ray://10.0.0.1:10001")


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"RAY_TMPDIR": "/var/x"}, "/var/x/ray"),
        ({"RAY_TMPDIR": f"/{'x' * 60}"}, "/tmp/ray"),
    ],
)
def test_a_ray_of_our_own_has_a_folder_that_its_sockets_fit_into(environment, folder):
    assert ray_folder(environment) == Path(folder)


def test_fewer_workers_than_doctor_says_come_with_a_reason():
    light, heavy = (load_config(None, [f"policy={policy}", "suite=fake"]) for policy in ("noop", "random"))
    heavy = dataclasses.replace(heavy, policy=LivePolicySection("mine"))
    assert fewer_words(light, 4, waiting_count=9, fitting=4) == ""
    assert fewer_words(light, 3, waiting_count=3, fitting=4) == "as no more episodes wait"
    assert fewer_words(heavy, 3, waiting_count=9, fitting=4) == "as the policy takes 1 CPU"
    assert fewer_words(dataclasses.replace(light, workers=1), 1, waiting_count=9, fitting=4) == ""


@pytest.mark.parametrize("is_compiled", [True, False])
def test_a_ray_that_did_not_start_in_time_says_the_load_and_whether_its_files_are_compiled(
    is_compiled, tmp_path, monkeypatch
):
    cache = tmp_path / "ray" / "_private" / "__pycache__"
    cache.mkdir(parents=True)
    (tmp_path / "ray" / "__init__.py").touch()
    if is_compiled:
        (cache / "node.cpython-311.pyc").touch()
    found = importlib.machinery.ModuleSpec("ray", None, origin=str(tmp_path / "ray" / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: found)
    said = slowness(RuntimeError("The current node timed out during startup. This could happen because ..."))
    assert re.match(r"; this machine's load is \d+, on \d+ CPUs", said)
    assert (f"{sys.executable} -m compileall -q {tmp_path}" in said) is not is_compiled
    assert slowness(RuntimeError("no such address")) == ""

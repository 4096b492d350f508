"""A cluster of two nodes, in a network namespace of its own: joined, placed across, asked over TLS."""

import json
import os
import shutil
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from ray.cluster_utils import Cluster

import ray_eval

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=3)
words = ["policy=random", "suite=fake", "episodes_per_task=3", "workers=3", f"ray.address={cluster.address}"]
try:
    ray_eval.evaluate(None, [*words, f"out={sys.argv[1]}", "serving.address=unix:/tmp/policy.sock"])
except ray_eval.ConfigError as error:
    assert "other hosts of this cluster" in str(error)
else:
    raise AssertionError
evaluation = ray_eval.evaluate(None, [*words, f"out={sys.argv[1]}", "serving.address=0.0.0.0:0"])
assert evaluation.is_complete
cluster.shutdown()
"""


@pytest.mark.nightly
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="network namespaces need root")
def test_a_joined_cluster_of_two_nodes_gives_the_same_bytes_as_one_process(tmp_path):
    inside = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" -c "$1" "$2"', sys.executable, PROGRAM]
    done = subprocess.run([*inside, tmp_path / "two"], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    words = ["policy=random", "suite=fake", "episodes_per_task=3", "workers=1", f"out={tmp_path / 'one'}"]
    alone = [sys.executable, "-m", "ray_eval", "run", *words]
    assert subprocess.run(alone, capture_output=True, timeout=200, check=False).returncode == 0
    assert (tmp_path / "two" / "summary.json").read_bytes() == (tmp_path / "one" / "summary.json").read_bytes()
    header = json.loads((tmp_path / "two" / "episodes.jsonl").read_text().splitlines()[0])
    assert header["provenance"]["workers"] == 3


LOSING = """
import pathlib, sys, threading, time
from ray.cluster_utils import Cluster

import ray_eval

out = pathlib.Path(sys.argv[1])
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
node = cluster.add_node(num_cpus=2)


def lose_node():
    ledger = out / "episodes.jsonl"
    while not ledger.exists() or ledger.read_bytes().count(b"\\n") < 3:
        time.sleep(0.1)
    cluster.remove_node(node, allow_graceful=False)


threading.Thread(target=lose_node, daemon=True).start()
words = ["policy=random", "suite=fake", "episodes_per_task=3", "workers=3", f"ray.address={cluster.address}"]
slowly = ["serving.slowdown_ms=[20,20]", "limits.episode_timeout_s=600", "limits.max_attempts=2"]
evaluation = ray_eval.evaluate(None, [*words, *slowly, f"out={out}"])
assert evaluation.is_complete, evaluation.rate
cluster.shutdown()
"""


@pytest.mark.nightly
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="network namespaces need root")
def test_a_node_that_is_lost_takes_its_episodes_attempts_and_nothing_else(tmp_path):
    """Three workers and the policy had room on two nodes; on the one that is left, one or two of them have."""
    inside = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" -c "$1" "$2"', sys.executable, LOSING]
    done = subprocess.run([*inside, tmp_path / "run"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()]
    attempts = [line for line in lines if line["kind"] == "attempt"]
    assert attempts
    assert len(attempts) == len({line["episode_id"] for line in attempts})

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

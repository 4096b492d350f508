"""A cluster of two nodes, in a network namespace of its own: joined, placed across, asked over TLS."""

import datetime as dt
import json
import os
import shutil
import subprocess
import sys

import pytest

from ray_eval.driver.elastic import LOOK_S

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
def test_a_node_that_is_lost_breaks_its_episodes_attempts_and_nothing_else(tmp_path):
    """Three workers and the policy had room on two nodes; on the one that is left, one or two of them have."""
    inside = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" -c "$1" "$2"', sys.executable, LOSING]
    done = subprocess.run([*inside, tmp_path / "run"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()]
    attempts = [line for line in lines if line["kind"] == "attempt"]
    assert attempts
    assert len(attempts) == len({line["episode_id"] for line in attempts})


GROWING = """
import json, pathlib, subprocess, sys, threading, time
import ray
from ray.cluster_utils import Cluster

import ray_eval

out = pathlib.Path(sys.argv[1])
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
seen = {}


def episodes():
    path = out / "episodes.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if '"kind": "episode"' in line]


def wait_for(count, **of):
    while len([each for each in episodes() if all(each[key] in values for key, values in of.items())]) < count:
        time.sleep(0.2)


def change():
    wait_for(2)
    first = {each["worker"] for each in episodes()}
    before = {each["NodeID"] for each in ray.nodes()}
    program = pathlib.Path(sys.executable).with_name("ray")
    start = [program, "start", f"--address={cluster.address}", "--num-cpus=2", "--disable-usage-stats"]
    subprocess.run(start, check=True, capture_output=True)
    seen["added"] = time.time()
    (node,) = {each["NodeID"] for each in ray.nodes()} - before
    while not {each["worker"] for each in episodes()} - first:
        time.sleep(0.2)
    seen["worked"] = time.time()
    seen["newcomers"] = sorted({each["worker"] for each in episodes()} - first)
    drain = ["--node-id", node, "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "taken back"]
    command = [program, "drain-node", "--address", cluster.address, *drain, "--deadline-remaining-seconds", "3600"]
    subprocess.run(command, check=True, capture_output=True)
    seen["drained"] = time.time()


def told():
    try:
        change()
    except BaseException as error:
        seen["error"] = repr(error)


thread = threading.Thread(target=told, daemon=True)
thread.start()
words = ["policy=random", "suite=fake", "repeats=6", "workers=auto", f"ray.address={cluster.address}"]
slowly = ["serving.slowdown_ms=[25,25]", "protocol.max_steps=200", "limits.episode_timeout_s=600"]
evaluation = ray_eval.evaluate(None, [*words, *slowly, f"out={out}"])
assert evaluation.is_complete, evaluation.rate
assert not thread.is_alive() and "error" not in seen, seen
seen["episodes"] = episodes()
(out.parent / "seen.json").write_text(json.dumps(seen))
cluster.shutdown()
"""


@pytest.mark.nightly
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="network namespaces need root")
def test_a_node_that_is_added_gets_work_and_one_that_is_drained_gets_none(tmp_path):
    # With processes of its own, so that the node that was started goes with them.
    inside = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    done = subprocess.run(
        [*inside, sys.executable, "-c", GROWING, tmp_path / "run"],
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads((tmp_path / "seen.json").read_text())
    newcomers = [each for each in seen["episodes"] if each["worker"] in seen["newcomers"]]
    assert newcomers
    # Begun before the driver's next look; after that, none.
    begun = [dt.datetime.fromisoformat(each["started_at"]).timestamp() for each in newcomers]
    assert max(begun) <= seen["drained"] + 2 * LOOK_S
    assert len(seen["episodes"]) == 90
    print(f"added to worked: {seen['worked'] - seen['added']:.1f} s")


PREEMPTED = """
import os, pathlib, subprocess, sys, threading, time, traceback
from ray.cluster_utils import Cluster

import ray
import ray_eval
from ray_eval.orders import VARIABLE, Orders

out, notice = pathlib.Path(sys.argv[1]), sys.argv[2]
os.environ[VARIABLE] = str(out.parent / "orders")
orders = Orders(out.parent / "orders")
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
node = cluster.add_node(num_cpus=1)
program = pathlib.Path(sys.executable).with_name("ray")


def take_back():
    # A worker waits in mid-step; the only node with room for it is the second one, as the policy is on the first.
    orders.hold(1)
    while orders.taken(1) is None:
        time.sleep(0.1)
    if notice == "notice":
        drain = ["--node-id", node.node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "taken"]
        command = [program, "drain-node", "--address", cluster.address, *drain, "--deadline-remaining-seconds", "1"]
        subprocess.run(command, check=True, capture_output=True)
        time.sleep(2)  # Ray calls an end a preemption from the deadline on
    start = [program, "start", f"--address={cluster.address}", "--num-cpus=1", "--disable-usage-stats"]
    subprocess.run(start, check=True, capture_output=True)
    cluster.remove_node(node, allow_graceful=False)
    orders.answer(1)


def told():
    try:
        take_back()
    except BaseException:
        traceback.print_exc()
        os._exit(1)


threading.Thread(target=told, daemon=True).start()
words = ["policy=random", "suite=fake", "tasks=[0]", "workers=1", f"ray.address={cluster.address}"]
evaluation = ray_eval.evaluate(None, [*words, "limits.max_attempts=1", f"out={out}"])
assert evaluation.is_complete, evaluation.rate
cluster.shutdown()
"""


@pytest.mark.nightly
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="network namespaces need root")
@pytest.mark.parametrize(("notice", "kind"), [("notice", "Preempted"), ("none", "WorkerUnreachable")])
def test_a_node_that_is_taken_back_or_lost_costs_no_attempt(tmp_path, notice, kind):
    """With one attempt for each episode, the one whose machine went would be an error."""
    apart = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
    inside = [*apart, "sh", "-c", 'ip link set lo up && exec "$0" -c "$@"', sys.executable, PREEMPTED]
    done = subprocess.run([*inside, tmp_path / "run", notice], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()]
    (attempt,) = [line for line in lines if line["kind"] == "attempt"]
    assert attempt["error"].startswith(kind)


SHIPPING = """
import pathlib, subprocess, sys
from ray.cluster_utils import Cluster

import ray_eval

folder, out = map(pathlib.Path, sys.argv[1:])
sys.path.append(str(folder))
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
program = pathlib.Path(sys.executable).with_name("ray")
start = [program, "start", f"--address={cluster.address}", "--num-cpus=2", "--disable-usage-stats"]
# A host that has none of the user's files: an empty folder stands in their place.
hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"', folder, *start]
subprocess.run(hidden, check=True, capture_output=True)
words = ["policy=random", "suite=fake", "repeats=2", "workers=2", f"ray.address={cluster.address}"]
words += ["execution.mode=async", "execution.aggregate=my_mean:halfway", "execution.latency.steps=2"]
evaluation = ray_eval.evaluate(None, [*words, f"out={out}"])
assert evaluation.is_complete, evaluation.rate
cluster.shutdown()
"""


@pytest.mark.nightly
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="network namespaces need root")
def test_a_users_module_reaches_a_node_that_has_none_of_the_users_files(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_mean.py").write_text("def halfway(old, new):\n    return (old + new) / 2\n")
    inside = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    done = subprocess.run(
        [*inside, sys.executable, "-c", SHIPPING, tmp_path / "mine", tmp_path / "run"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()]
    assert {line["worker"] for line in lines if line["kind"] == "episode"} == {"worker-0 fake", "worker-1 fake"}

#!/usr/bin/env bash
# Ray 2.60.0: where a node is lost with its actor in a method, the caller is told of an actor that "may be available later".
#
# The actor's death with its node is an ActorDiedError by Ray's page on fault tolerance. But the method that was running when
# the node went ends in ActorUnavailableError ("The actor is temporarily unavailable", "Socket closed"): the broken connection
# is seen before the cluster's head knows that the node is gone. Only calls that are made later say ActorDiedError, and that
# the node died. Who counts an ActorUnavailableError as the end of the actor's process blames the wrong one; who waits for the
# actor to come back waits for nothing.
#
# Seen with ray 2.60.0, CPython 3.11.7, Linux, two nodes on one machine by ray.cluster_utils, the second killed hard:
#   the running method: ActorUnavailableError
#   a later one: ActorDiedError, its node has died: True
# Exits with 1 when either is another.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ray==2.60.0
cat > "$folder/asked.py" <<'PYTHON'
import time

import ray
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
node = cluster.add_node(num_cpus=1)
ray.init(cluster.address, log_to_driver=False, logging_level=50)


@ray.remote(num_cpus=1)
class Sleeper:
    def sleep(self, seconds):
        time.sleep(seconds)

    def answer(self):
        return True


def ended_by(call):
    try:
        ray.get(call)
    except ray.exceptions.RayActorError as error:
        return error
    raise AssertionError("expected an error, got an answer")


sleeper = Sleeper.remote()
assert ray.get(sleeper.answer.remote())
running = sleeper.sleep.remote(3600)
time.sleep(2)
cluster.remove_node(node, allow_graceful=False)
first = ended_by(running)
while isinstance(later := ended_by(sleeper.answer.remote()), ray.exceptions.ActorUnavailableError):
    time.sleep(1)
print(f"the running method: {type(first).__name__}")
print(f"a later one: {type(later).__name__}, its node has died: {'its node has died' in str(later)}")
assert isinstance(first, ray.exceptions.ActorUnavailableError)
assert isinstance(later, ray.exceptions.ActorDiedError) and "its node has died" in str(later)
ray.shutdown()
cluster.shutdown()
PYTHON
"$folder/venv/bin/python" "$folder/asked.py"
echo "as described"

#!/usr/bin/env bash
# Ray 2.60.0: `ray.init` starts a worker for each CPU, and an actor with environment variables takes none of them.
#
# The workers are started when a node's first program comes, so that its first tasks need not wait. An actor whose runtime_env
# has `env_vars` gets a process of its own, after the same second of imports; the others stay idle. On two cores they cost a
# quarter of a second of the start, on 64 cores 64 processes. RAY_prestart_worker_first_driver=0, which Ray's pages do not name,
# keeps them from being started.
#
# Seen with ray 2.60.0, CPython 3.11.7, Linux:
#   as ever: 2 idle before, the actor is one of them: False
#   RAY_prestart_worker_first_driver=0: 0 idle before, the actor is one of them: False
# Exits with 1 when either is another.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ray==2.60.0 psutil==7.2.2
cat > "$folder/counted.py" <<'PYTHON'
import os
import time

import psutil
import ray

ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=50)


def idle():
    below = psutil.Process().children(recursive=True)
    return {each.pid for each in below if "ray::IDLE" in " ".join(each.cmdline())}


@ray.remote(num_cpus=1)
class Asked:
    def pid(self):
        return os.getpid()


deadline = time.monotonic() + 60
while len(before := idle()) < 2 and time.monotonic() < deadline and "RAY_prestart_worker_first_driver" not in os.environ:
    time.sleep(0.2)
actor = Asked.options(runtime_env={"env_vars": {"COLOUR": "green"}}).remote()
pid = ray.get(actor.pid.remote())
print(f"{len(before)} idle before, the actor is one of them: {pid in before}")
ray.shutdown()
PYTHON
as_ever=$("$folder/venv/bin/python" "$folder/counted.py")
without=$(RAY_prestart_worker_first_driver=0 "$folder/venv/bin/python" "$folder/counted.py")
echo "as ever: $as_ever"
echo "RAY_prestart_worker_first_driver=0: $without"
[ "$as_ever" = "2 idle before, the actor is one of them: False" ]
[ "$without" = "0 idle before, the actor is one of them: False" ]

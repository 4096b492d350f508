#!/usr/bin/env bash
# Ray 2.60.0: workers run at the nice value 15, the driver and Ray's own helpers at the caller's.
#
# Nothing in `ray.init` says so. On a core that any other program keeps busy, a task or an actor gets the 36th part of what
# Linux gives a program of nice value 0 for each 1024: 3 %. Two of them share a core evenly, as long as nothing else runs
# there. RAY_worker_niceness in the environment of whoever starts the node sets another value; it is in Ray's list of
# configuration entries (src/ray/common/ray_config_def.h), not in its documentation.
#
# Seen with ray 2.60.0, CPython 3.11.7, Linux, on one core beside a program that computes without end:
#   as Ray starts it: nice value 15, share of the core 4 %
#   RAY_worker_niceness=0: nice value 0, share of the core 50 %
# The share is of CPU time, not of the clock. Exits with 1 when the nice values are others, or the first share is above 10 %.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ray==2.60.0
cat > "$folder/asked.py" <<'PYTHON'
import os
import subprocess
import sys
import time

import ray

SECONDS = 3.0
BUSY = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@ray.remote
def beside(pid, core):
    """The nice value of a worker, and its share of the CPU time that it and another program on its core used."""
    os.sched_setaffinity(0, {core})
    before, mine = cpu_seconds(pid), time.process_time()
    while cpu_seconds(pid) - before + time.process_time() - mine < SECONDS:
        pass
    own, other = time.process_time() - mine, cpu_seconds(pid) - before
    return os.nice(0), own / (own + other)


core = min(os.sched_getaffinity(0))
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=50)
busy = subprocess.Popen([sys.executable, "-c", BUSY, str(core)])
try:
    nice, share = ray.get(beside.remote(busy.pid, core))
finally:
    busy.kill()
    ray.shutdown()
print(f"{os.environ.get('RAY_worker_niceness', 'as Ray starts it')}: nice value {nice}, share of the core {share:.0%}")
assert nice == os.nice(0) + int(sys.argv[1])
assert sys.argv[1] == "0" or share < 0.1
PYTHON
"$folder/venv/bin/python" "$folder/asked.py" 15
RAY_worker_niceness=0 "$folder/venv/bin/python" "$folder/asked.py" 0
echo "as described"

#!/usr/bin/env bash
# Ray 2.60.0: `ray.init(include_dashboard=False, log_to_driver=False)` starts the dashboard's server and the log monitor.
#
# Two words of `ray.init` read as if they kept a helper from being started. The server of the dashboard comes all the same, without
# pages, and `ray.init` waits for it. The log monitor comes too, reads the log of every worker and publishes its lines, to which
# the program does not listen. With the autoscaler's monitor, which a Ray of one node has no use for, these are three
# interpreters that take half a second of a core or more to start.
#
# Seen with ray 2.60.0, CPython 3.11.7, Linux:
#   dashboard/dashboard.py: True, log_monitor.py: True, autoscaler monitor.py: True
# Exits with 1 when one is not there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ray==2.60.0 psutil==7.2.2
cat > "$folder/named.py" <<'PYTHON'
import psutil
import ray

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=50)
below = [" ".join(each.cmdline()) for each in psutil.Process().children(recursive=True)]
helpers = {
    "dashboard/dashboard.py": "dashboard/dashboard.py",
    "log_monitor.py": "_private/log_monitor.py",
    "autoscaler monitor.py": "autoscaler/_private/monitor.py",
}
print(", ".join(f"{name}: {any(words in line for line in below)}" for name, words in helpers.items()))
ray.shutdown()
PYTHON
found=$("$folder/venv/bin/python" "$folder/named.py")
echo "$found"
[ "$found" = "dashboard/dashboard.py: True, log_monitor.py: True, autoscaler monitor.py: True" ]

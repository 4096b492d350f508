#!/usr/bin/env bash
# Ray 2.60.0: a worker looks for modules in the driver's working folder before it looks among installed packages, also
# where the driver itself does not look there at all.
#
# The driver is started with `python -P`, as console scripts are in effect: its sys.path has no working folder. A file
# `packaging.py` lies in that folder; `packaging` is installed as well, and Ray itself requires it. The driver imports the
# installed one, the worker the file. So a clone of a simulator, or a `numpy.py`, in the folder in which somebody happens
# to start a job decides what the workers run, and the driver's versions say nothing of it.
#
# Seen with ray 2.60.0, CPython 3.11.7, Linux:
#   driver: .../site-packages/packaging/__init__.py
#   worker: .../working/packaging.py
# Exits with 1 when the behaviour is another.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ray==2.60.0 packaging
mkdir "$folder/working"
echo "version = 'the working folder'" > "$folder/working/packaging.py"
cat > "$folder/driver.py" <<'PYTHON'
import packaging
import ray

ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR", _node_ip_address="127.0.0.1")


@ray.remote
class Asked:
    def place(self, name):
        import importlib
        import sys

        sys.modules.pop(name, None)  # Ray may have imported it for itself before it knew of the job
        return importlib.import_module(name).__file__


there = ray.get(Asked.remote().place.remote("packaging"))
print("driver:", packaging.__file__)
print("worker:", there)
assert "site-packages" in packaging.__file__
assert there.endswith("working/packaging.py")
PYTHON
cd "$folder/working"
"$folder/venv/bin/python" -P "$folder/driver.py"
echo "as described"

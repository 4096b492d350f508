#!/usr/bin/env bash
# Ray 2.60.0: `py_modules: []`, a runtime environment with no module to send, keeps every worker from starting.
#
# `ray.init` takes it. The first task then fails: the node sets up a URI of None. A list with a module in it works, and
# so does leaving the key out. Whoever makes the list by a program leaves it out where it is empty.
#
# Seen with ray 2.60.0, CPython 3.11.7, Linux:
#   no key: 7
#   one module: 7
#   empty list: RuntimeEnvSetupError, path_or_uri must be a string, got <class 'NoneType'>
# Exits with 1 when the behaviour is another.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ray==2.60.0
touch "$folder/mine.py"
cat > "$folder/asked.py" <<'PYTHON'
import sys

import ray


@ray.remote
def seven():
    return 7


cases = {"no key": {}, "one module": {"py_modules": [sys.argv[1]]}, "empty list": {"py_modules": []}}
found = {}
for name, environment in cases.items():
    ray.init(
        address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=50, runtime_env=environment
    )
    try:
        found[name] = ray.get(seven.remote())
    except ray.exceptions.RuntimeEnvSetupError as error:
        found[name] = type(error).__name__
        assert "path_or_uri must be a string, got <class 'NoneType'>" in str(error)
    ray.shutdown()
    print(f"{name}: {found[name]}")
assert found == {"no key": 7, "one module": 7, "empty list": "RuntimeEnvSetupError"}
PYTHON
"$folder/venv/bin/python" "$folder/asked.py" "$folder/mine.py"
echo "as described"

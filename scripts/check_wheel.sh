#!/usr/bin/env bash
# Builds the source archive and the wheel of this checkout, installs the wheel with the tested versions into a fresh
# environment in the folder $1, and runs it there. PYTHON says of which Python: 3.11 or 3.12.
set -euo pipefail

checkout=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mkdir -p "$1" && cd "$1" && pwd)
python=${PYTHON:-python3}

"$python" -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip --disable-pip-version-check)
"${pip[@]}" install --quiet --constraint "$checkout/constraints.txt" hatchling
(cd "$checkout" && "$folder/venv/bin/python" -m hatchling build -d "$folder/dist")
"${pip[@]}" uninstall --quiet --yes hatchling
wheel=("$folder"/dist/*.whl)
"${pip[@]}" install --quiet --constraint "$checkout/constraints.txt" "${wheel[0]}[eval]"

mkdir -p "$folder/work"
cd "$folder/work"
export RAY_EVAL_CACHE=$folder/cache
"$folder/venv/bin/python" -c 'import ray_eval; print(ray_eval.__file__)'
"$folder/venv/bin/ray-eval" --version
"$folder/venv/bin/ray-eval" list suites | head -3
"$folder/venv/bin/ray-eval" run policy=oracle policy.images=false suite=libero_object "tasks=[0,1,2]" episodes_per_task=1

#!/usr/bin/env bash
# Makes the virtual environment in $1 in which LeRobot 0.6's policies run on a CPU, beside the one of 0.4 in $2.
#
# torch and whatever else both versions run with are borrowed from $2; what 0.6 has otherwise is its own, so that it is
# made in seconds. LeRobot 0.6 is written for Python 3.12: on 3.11 its five files with type parameters are rewritten,
# which changes no line that computes. For evaluations that you will report, make an environment of LeRobot's own wish
# instead: see docs/policies.md.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$1 lender=$2

say() { printf 'lerobot 0.6: %s\n' "$*" >&2; }
site_of() { "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }

if [ ! -x "$venv/bin/python" ]; then
    say "making $venv"
    "$lender/bin/python" -m venv "$venv"
fi

say "installing LeRobot and what it does not share with $lender"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --ignore-requires-python \
    --requirement constraints-lerobot06.txt
site=$(site_of "$venv") lent=$(site_of "$lender")
# site.addsitedir, unlike a folder's name alone, heeds what the lender says of its own packages
echo "import site; site.addsitedir('$lent')" > "$site/borrowed.pth"
"$venv/bin/python" scripts/type_variables.py "$site/lerobot"
"$venv/bin/python" -c 'import lerobot.policies.factory' || { say "LeRobot does not import"; exit 2; }
say "installed: $("$venv/bin/python" -c '
from importlib.metadata import version
print(" ".join(f"{name}=={version(name)}" for name in ("lerobot", "torch", "transformers", "protobuf")))')"

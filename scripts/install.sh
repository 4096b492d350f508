#!/usr/bin/env bash
# Makes the virtual environment in $1 and installs ray-eval with everything it was tested with.
set -euo pipefail

venv=$1
python=${PYTHON:-python3}

say() { printf 'setup: %s\n' "$*" >&2; }

if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))'; then
    say "expected Python 3.11 or 3.12, got $("$python" --version 2>&1), for which MuJoCo 3.2.3, the one that the numbers" \
        "are of, has no build; try: make PYTHON=python3.11"
    exit 2
fi

if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    say "expected Python's venv module, found none; type: sudo apt-get install -y python3-venv"
    exit 2
fi

if [ ! -x "$venv/bin/python" ]; then
    say "making $venv"
    "$python" -m venv "$venv"
fi

say "installing the tested versions (about 1 GB on disk, some minutes on a slow line)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
    --editable '.[eval,video,dev]'
say "installed"

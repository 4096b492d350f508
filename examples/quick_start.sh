#!/usr/bin/env bash
# From a clone of ray-eval to the first table:
#
#   cd ray-eval
#   bash examples/quick_start.sh
#
# Linux: installs into .venv and runs. Elsewhere, as on a Mac: builds a Linux container and runs in it (docs/platforms.md).
# Words behind it go to `ray-eval run`; without any it runs first_light.
set -euo pipefail

cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- first_light

if [ "$(uname -s)" = Linux ]; then
    # The first interpreter that MuJoCo 3.2.3 has a build for.
    for python in "${PYTHON:-python3}" python3.12 python3.11; do
        if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; then
            command -v make >/dev/null || { echo "quick start: expected make, found none; sudo apt-get install -y make" >&2; exit 2; }
            make --no-print-directory setup PYTHON="$python"
            exec .venv/bin/ray-eval run "$@"
        fi
    done
    echo "quick start: expected Python 3.11 or 3.12, found neither; sudo apt-get install -y python3.12 python3.12-venv" >&2
    exit 2
fi

if ! docker info >/dev/null 2>&1; then
    echo "quick start: expected a running Docker on $(uname -s), found none; on a Mac: brew install colima docker &&" \
        "colima start --cpu 4 --memory 8" >&2
    exit 2
fi
docker build --file deploy/Dockerfile --tag ray-eval .
mkdir -p runs
exec docker run --rm --shm-size=1g --volume "$PWD/runs:/results/runs" ray-eval run "$@"

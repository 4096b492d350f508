#!/usr/bin/env bash
# Makes the virtual environment in $1 in which LeRobot's policies run on a CPU, small enough for continuous integration.
#
# LeRobot itself, unmodified, and what its policies and its policy server import; what only its robots, its data sets
# and its training import is left out, and torch is a later one than LeRobot asks for. For evaluations that you will
# report, make an environment of LeRobot's own wish instead: see docs/policies.md.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$1
python=${PYTHON:-python3}
pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints-lerobot.txt)

say() { printf 'lerobot: %s\n' "$*" >&2; }

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    say "expected Python 3.11 or later, got $("$python" --version 2>&1); try: make PYTHON=python3.11"
    exit 2
fi
if [ ! -x "$venv/bin/python" ]; then
    say "making $venv"
    "$python" -m venv "$venv"
fi

say "installing LeRobot with torch for the CPU (about 2 GB on disk)"
"${pip[@]}" torch
# imported by lerobot.policies, lerobot.processor, lerobot.envs and lerobot.async_inference
"${pip[@]}" accelerate av datasets deepdiff diffusers draccus einops gymnasium huggingface-hub imageio jsonlines \
    matplotlib num2words opencv-python-headless pyserial safetensors 'setuptools<81' termcolor transformers
# ray-eval's policy side
"${pip[@]}" grpcio grpcio-health-checking numpy omegaconf protobuf rich
"${pip[@]}" --no-deps lerobot torchvision

if ! "$venv/bin/python" -c 'import torchvision' 2>/dev/null; then
    say "torchvision's compiled library is for another torch: its operators are declared, its Python code runs"
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    cp scripts/torchvision_without_kernels.py "$site/"
    echo 'import torchvision_without_kernels' > "$site/torchvision_without_kernels.pth"
fi
"$venv/bin/python" -c 'import lerobot.policies.factory' || { say "LeRobot does not import"; exit 2; }
say "installed: $("$venv/bin/python" -m pip list --format freeze 2>/dev/null | grep -E '^(lerobot|torch|protobuf)==' | tr '\n' ' ')"

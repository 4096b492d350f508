#!/usr/bin/env bash
# What only the nightly tests need: the system's Chromium and Prometheus and, in the virtual environment in $1, what drives
# the former, Grafana's types, a parser of PowerShell, and what builds the site of the documents.
set -euo pipefail

venv=$1
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt \
    playwright axe-playwright-python grafana-foundation-sdk tree-sitter tree-sitter-powershell
# What builds the site of the documents.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt \
    jieba mkdocs mkdocs-material 'mkdocstrings[python]'
# Trackers want newer versions of what is pinned here; what is there already stays where it will do.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
    wandb==0.31.0 mlflow-skinny==3.17.2 trackio==0.43.0 tensorboard==2.21.0

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v promtool >/dev/null || missing+=(prometheus)
[ ${#missing[@]} -eq 0 ] && exit 0

command=(apt-get install -y --no-install-recommends "${missing[@]}")
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo -n)
    if ! sudo -n true 2>/dev/null; then
        echo "setup: the nightly tests need ${missing[*]}; type: sudo ${command[*]}" >&2
        exit 2
    fi
fi
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" "${command[@]}" >/dev/null

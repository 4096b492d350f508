#!/usr/bin/env bash
# Adds to the virtual environment in $1 what only tests need: torch, the packages whose protocols are spoken, and what
# builds the documents' site.
set -euo pipefail

venv=$1
pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt)

printf 'setup: installing what the tests need besides\n' >&2
"${pip[@]}" --editable '.[torch,openpi,groot,xvla,vla-eval,peers,docs]'
# Its pin (numpy<2) is narrower than its code needs; the tests use its client and its codec alone.
"${pip[@]}" --no-deps openpi-client==0.1.2

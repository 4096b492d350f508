#!/usr/bin/env bash
# psutil 7.2.2: `wait_procs` takes a process that was killed, and whose own parent does not look, for alive until the time is over.
#
# It asks whether the number of the process is still taken. A zombie's is, until its parent has taken note; where that parent is a
# container's process 1 that takes note of nobody, it stays so. A program that kills what another one has started, and waits by
# `wait_procs` or `Process.wait`, waits for the whole timeout, though nothing runs and nothing is held any more.
#
# Seen with psutil 7.2.2, CPython 3.11.7, Linux:
#   after 2 s: gone 0, alive 1, a zombie
# Exits with 1 when that is another.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check psutil==7.2.2
cat > "$folder/waits.py" <<'PYTHON'
import subprocess
import sys

import psutil

parent = """
import subprocess, sys
child = subprocess.Popen(["sleep", "600"])
print(child.pid, flush=True)
sys.stdin.read()
"""
with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
    grandchild = psutil.Process(int(process.stdout.readline()))
    grandchild.kill()
    gone, alive = psutil.wait_procs([grandchild], timeout=2)
    print(f"after 2 s: gone {len(gone)}, alive {len(alive)}, a {alive[0].status() if alive else 'nothing'}")
    assert not gone and alive[0].status() == psutil.STATUS_ZOMBIE
PYTHON
"$folder/venv/bin/python" "$folder/waits.py"

"""What is waited for at Ray's end: processes that still run, and none that only nobody has looked at."""

import subprocess
import sys

import psutil

from ray_eval.driver.processes import _holds_something

PARENT = """
import subprocess, sys
child = subprocess.Popen(["sleep", "600"])
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_killed_process_whose_parent_does_not_look_holds_nothing():
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        assert _holds_something(child)
        child.kill()
        while child.status() != psutil.STATUS_ZOMBIE:
            pass
        assert child.is_running()
        assert not _holds_something(child)

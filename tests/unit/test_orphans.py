"""A process that ends with the one that started it, however busy it is."""

import subprocess
import sys

import psutil

BUSY = """
import time
from ray_eval.orphans import end_with_parent
end_with_parent()
print("there", flush=True)
time.sleep(600)
"""
PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {BUSY!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


def test_it_lives_as_long_as_its_parent_and_ends_after_it():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    gone, _ = psutil.wait_procs([child], timeout=60)
    assert gone == [child]

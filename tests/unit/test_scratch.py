"""Scratch folders: gone with their process, and cleared away after one that was killed."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ray_eval.driver.scratch import LOCK_NAME, YOUNGEST_STALE_S, remove_stale, scratch_folder


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def age(folder: Path) -> None:
    then = time.time() - YOUNGEST_STALE_S - 1
    os.utime(folder, (then, then))


def test_a_folder_goes_with_its_context(root):
    with scratch_folder() as folder:
        assert folder.parent == root
        assert (folder.stat().st_mode & 0o777) == 0o700
    assert not folder.exists()


def test_a_killed_process_leaves_a_folder_that_the_next_one_clears_away(root):
    program = (
        "import sys, tempfile, time; tempfile.tempdir = sys.argv[1]\n"
        "from ray_eval.driver.scratch import scratch_folder\n"
        "with scratch_folder() as folder: print(folder, flush=True); time.sleep(100)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, root], stdout=subprocess.PIPE, text=True)
    folder = Path(process.stdout.readline().strip())
    age(folder)
    remove_stale(root)
    assert folder.is_dir(), "it belongs to a process that lives"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with scratch_folder():
        assert not folder.exists()


def test_a_young_folder_and_one_without_a_lock_are_left_alone(root):
    young, foreign = root / "ray-eval-young", root / "ray-eval-foreign"
    young.mkdir()
    (young / LOCK_NAME).touch()
    foreign.mkdir()
    age(foreign)
    remove_stale(root)
    assert young.is_dir()
    assert foreign.is_dir()
    age(young)
    remove_stale(root)
    assert not young.exists()

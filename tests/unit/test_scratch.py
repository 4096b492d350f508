"""What processes keep outside of their results: gone with them, and cleared away after one that was killed."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ray_eval import scratch
from ray_eval.foreign import told_with_traceback
from ray_eval.scratch import LOCK_NAME, READING_S, Scratch, only_time, remove_abandoned, scratch_folder
from ray_eval.wire import shared_memory


@pytest.fixture
def root(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="re-", dir="/tmp") as folder:  # sockets want a short path
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setattr(scratch, "_tracebacks", None)
        yield Path(folder)


def test_a_folder_that_was_cleared_away_is_made_again_and_held(root):
    kept = Scratch(root)
    shutil.rmtree(kept.path)
    scratch.restore_folder(kept.path)
    assert kept.path.stat().st_mode & 0o777 == 0o700
    remove_abandoned()
    assert kept.path.is_dir()
    kept.close()
    assert list(root.iterdir()) == []


def test_a_folder_of_anybody_elses_name_is_not_made(root):
    scratch.restore_folder(root / "mine")
    assert list(root.iterdir()) == []


HOLDING = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from ray_eval import foreign, scratch
from ray_eval.wire import shared_memory
with scratch.scratch_folder() as folder, scratch.only_time("abc"):
    hosted = scratch.Scratch(folder.parent)
    (hosted.path / "token").write_text("secret")
    key, memory = shared_memory.create(1000)
    told = foreign.told_with_traceback(ValueError("no"))
    print(folder, hosted.path, "/dev/shm" + key, folder.parent / "ray-eval-loading-abc", told.split()[-1], flush=True)
    sys.stdin.read()
"""


def test_a_folder_goes_with_its_context(root):
    with scratch_folder() as folder:
        assert folder.parent == root
        assert (folder.stat().st_mode & 0o777) == 0o700
    assert not folder.exists()


def test_all_that_a_killed_process_leaves_goes_at_the_next_start_and_nothing_of_one_that_lives(root):
    command = [sys.executable, "-c", HOLDING, root]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        *held, traceback = (Path(word) for word in process.stdout.readline().split())
        assert len(held) == 4
        with scratch_folder():
            assert all(path.exists() for path in (*held, traceback)), "they belong to a process that lives"
        process.send_signal(signal.SIGKILL)
    with scratch_folder():
        assert [path for path in held if path.exists()] == []
        assert "ValueError: no" in traceback.read_text(), "somebody was told to read it"
        then = time.time() - READING_S - 1
        os.utime(traceback.parent, (then, then))
    remove_abandoned()
    assert not traceback.exists()
    assert list(root.iterdir()) == []


def test_of_others_nothing_is_taken(root):
    user = root / "ray-eval-results"
    user.mkdir()
    (user / "summary.json").touch()
    locked_by_hand = root / "ray-eval-baseline"
    locked_by_hand.mkdir()
    (locked_by_hand / LOCK_NAME).write_text("mine")
    link, file = root / "ray-eval-abcdefgh", root / "ray-eval-ijklmnop"
    link.symlink_to(user)
    file.touch()
    before = sorted(root.rglob("*"))
    remove_abandoned()
    assert sorted(root.rglob("*")) == before


def test_folders_that_are_made_while_others_clear_away_are_never_taken(root):
    is_over = threading.Event()

    def clear():
        while not is_over.is_set():
            remove_abandoned()

    def make(_):
        for _ in range(50):
            held = Scratch(root)
            (held.path / "socket").touch()
            key, memory = shared_memory.create(64)
            try:
                assert (held.path / "socket").exists()
                assert Path(f"/dev/shm{key}").exists()
            finally:
                held.close()
                memory.close()
                with contextlib.suppress(FileNotFoundError):
                    shared_memory.unlink(key)

    clearing = [threading.Thread(target=clear) for _ in range(2)]
    for thread in clearing:
        thread.start()
    try:
        with ThreadPoolExecutor(3) as makers:
            list(makers.map(make, range(3)))
    finally:
        is_over.set()
        for thread in clearing:
            thread.join()
    assert list(root.iterdir()) == []


def test_what_a_process_died_of_is_known_to_its_successor(root):
    with only_time("f00") as has_died:
        assert not has_died
    (root / "ray-eval-loading-f00").mkdir()
    with only_time("f00") as has_died:
        assert has_died
    assert list(root.iterdir()) == []


def test_a_processs_tracebacks_lie_together_and_each_has_its_own_file(root):
    paths = [told_with_traceback(ValueError(str(index))).split()[-1] for index in range(3)]
    assert len(set(paths)) == 3
    assert [folder.name.startswith("ray-eval-traceback-") for folder in root.iterdir()] == [True]


def test_sockets_have_room_in_a_temporary_folder_of_any_length(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with scratch_folder() as folder:
        assert len(str(folder / "policy-0.sock")) < 100

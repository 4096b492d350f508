"""Folders of results that begin together: each its own, and none that was asked for in vain stays."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ray_eval.cli import EXIT_COMPLETE, main
from ray_eval.config import load_config
from ray_eval.driver.fresh import run_folder, sweep_folder
from ray_eval.errors import ConfigError

CONFIG = load_config(None, ["policy=noop", "suite=fake"])


def _folder(barrier, found):
    barrier.wait()
    found.put(str(run_folder(CONFIG)))


def test_threads_that_begin_together_have_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    barrier = threading.Barrier(16)

    def claim(index):
        barrier.wait()
        return sweep_folder(CONFIG) if index % 2 else run_folder(CONFIG)

    with ThreadPoolExecutor(16) as threads:
        folders = list(threads.map(claim, range(16)))
    assert len(set(folders)) == 16
    assert all(folder.is_dir() and folder.parent == tmp_path / "runs" for folder in folders)


def test_processes_that_begin_together_have_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    processes = multiprocessing.get_context("fork")
    barrier, found = processes.Barrier(6), processes.Queue()
    started = [processes.Process(target=_folder, args=(barrier, found)) for _ in range(6)]
    for process in started:
        process.start()
    folders = {found.get(timeout=60) for _ in started}
    for process in started:
        process.join()
    assert len(folders) == 6


def test_a_folder_that_cannot_be_made_is_said_with_what_to_write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("")
    with pytest.raises(ConfigError, match=r"runs: expected a folder that can be made, got .*; write out=FOLDER"):
        run_folder(CONFIG)


def test_a_sweep_that_is_only_shown_makes_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["sweep", "policy=noop", "suite=fake", "execution.mode=async", "execution.latency.steps=0,1", "--dry-run"]
    assert main(words) == EXIT_COMPLETE
    assert len(capsys.readouterr().out.splitlines()) == 3  # how many, and a line each
    assert not list(tmp_path.iterdir())

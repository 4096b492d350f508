"""Machine code that is compiled beside: what is computed meanwhile, and what is there afterwards."""

import fcntl
import hashlib
import json
import logging
import os
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from ray_eval.envs.libero import suites
from ray_eval.envs.libero.env import LiberoEnv
from ray_eval.envs.libero.settings import libero
from ray_eval.report.ledger import read_ledger
from ray_eval.sections import EnvSettings, ImageRecipe, ObservationRecipe
from ray_eval.types import IMAGE_KEYS, EpisodeSpec

SMALL = ImageRecipe(render_size_px=64, image_size_px=64)
EPISODE = EpisodeSpec("libero_10", 2, 1, env_seed=7, max_steps=100)


@pytest.fixture
def compiling(simulator, monkeypatch):
    from ray_eval.envs.libero import compiling

    monkeypatch.setattr(compiling, "_beside", None)
    monkeypatch.setattr(compiling, "_LOOK_S", 0.0)
    return compiling


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder for the machine code."""
    from ray_eval.envs.libero import native

    monkeypatch.setattr(native, "cache_folder", lambda: str(tmp_path))
    return tmp_path


def keep(folder, entries):
    """Puts files there as Numba names them."""
    (folder / "libero_0").mkdir(exist_ok=True)
    for entry in entries:
        (folder / "libero_0" / f"{entry}-7.py311.nbi").touch()


def program(monkeypatch, compiling, code):
    """Has this code run instead of the one that compiles."""
    real = subprocess.Popen
    monkeypatch.setattr(compiling.subprocess, "Popen", lambda words, **how: real([sys.executable, "-c", code], **how))


def until(is_so):
    while not is_so():
        time.sleep(0.01)


def test_nothing_is_waited_for_by_those_who_did_not_ask_for_it(compiling, folder):
    assert compiling.is_ready(compiling.STEPS)
    keep(folder, compiling.IMAGES + compiling.STEPS)
    compiling.begin_beside()
    assert compiling._beside is None


def test_each_part_is_taken_when_it_is_there(compiling, folder, monkeypatch, caplog):
    program(monkeypatch, compiling, "import sys; sys.stdin.read(); import time; time.sleep(600)")
    compiling.begin_beside()
    assert not compiling.is_ready(compiling.IMAGES)
    keep(folder, compiling.IMAGES[:-1])
    assert not compiling.is_ready(compiling.IMAGES)
    keep(folder, compiling.IMAGES)
    assert compiling.is_ready(compiling.IMAGES)
    assert not compiling.is_ready(compiling.STEPS)
    keep(folder, compiling.STEPS)
    assert compiling.is_ready(compiling.STEPS)
    compiling._beside._process.kill()
    compiling._beside._process.wait()
    assert caplog.text == ""


def test_one_process_of_a_machine_compiles_and_another_takes_over_where_it_ends(compiling, folder, monkeypatch):
    program(monkeypatch, compiling, "import time; time.sleep(600)")
    with (folder / compiling._LOCK).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        compiling.begin_beside()
        assert compiling._beside._process is None
        assert not compiling.is_ready(compiling.STEPS)
    assert not compiling.is_ready(compiling.STEPS)
    process = compiling._beside._process
    assert process.poll() is None
    with (folder / compiling._LOCK).open("w") as other:
        with pytest.raises(BlockingIOError):  # the process has the lock, and this one no more
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process.kill()
        process.wait()
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(
    ("code", "words"),
    [("raise MemoryError('no room')", "MemoryError: no room"), ("", "its end without a word")],
)
def test_where_it_cannot_be_compiled_beside_it_is_compiled_where_it_is_called(
    compiling, folder, monkeypatch, caplog, code, words
):
    program(monkeypatch, compiling, code)
    with caplog.at_level(logging.WARNING):
        compiling.begin_beside()
        until(lambda: compiling.is_ready(compiling.STEPS))
    assert compiling.is_ready(compiling.IMAGES)
    assert caplog.text.count(words) == 1


def test_nor_where_there_are_no_locks(compiling, folder, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    compiling.begin_beside()
    assert compiling.is_ready(compiling.STEPS)
    assert "Function not implemented" in caplog.text


@pytest.fixture
def env(simulator):
    made = LiberoEnv(EPISODE.suite, EPISODE.task_id, EnvSettings(ObservationRecipe(IMAGE_KEYS, images=SMALL), libero()))
    yield made
    made.close()


def played(env, at_step=lambda _step: None):
    """A hash of everything that a policy and a ledger see of a short episode."""
    digest, draws = hashlib.sha256(), np.random.default_rng(3)
    env.reset(EPISODE)
    for step in range(6):
        at_step(step)
        for key in IMAGE_KEYS:
            digest.update(env.observe()[key].tobytes())
        env.step(env.native_action(draws.uniform(-1, 1, 7)))
        digest.update(env.simulator_state().tobytes())
    return digest.hexdigest()


class Waited:
    """A wait in which only these parts are there."""

    def __init__(self, *parts):
        self.parts = parts

    def is_ready(self, entries):
        return entries in self.parts


def test_without_machine_code_everything_is_the_same_to_the_bit(env, compiling, monkeypatch):
    drawn = []
    from ray_eval.envs.libero.rendering import _View

    whole = _View.whole
    monkeypatch.setattr(_View, "whole", lambda *arguments: drawn.append(1) or whole(*arguments))
    expected = played(env)
    assert (drawn, env._simulation._control_step.is_compiled) == ([], True)
    monkeypatch.setattr(compiling, "_beside", Waited())
    assert played(env) == expected
    assert (len(drawn), env._simulation._control_step.is_compiled) == (12, False)
    drawn.clear()

    def arrive(step):
        if step == 3:
            compiling._beside = Waited(compiling.IMAGES, compiling.STEPS)

    assert played(env, arrive) == expected
    assert (len(drawn), env._simulation._control_step.is_compiled) == (6, False)
    assert played(env) == expected
    assert env._simulation._control_step.is_compiled


def test_what_is_compiled_beside_is_all_that_scenes_with_a_mirror_call(env, compiling):
    """For the same types, or Numba would compile it again."""
    from ray_eval.envs.libero import meeting, substeps, visibility

    for _ in range(2):
        played(env)
        compiling.compile_all()
    for entry in compiling.IMAGES + compiling.STEPS:
        module, _, name = entry.partition(".")
        found = getattr({"meeting": meeting, "substeps": substeps, "visibility": visibility}[module], name)
        assert len(found.signatures) == 1, (name, found.signatures)


RUN = (
    "policy=oracle", "suite=libero_object", "tasks=[0]", "episodes_per_task=1", "protocol.max_steps=6", "workers=1",
    "ray.dashboard=false", "report=false",
)  # fmt: skip
COMPILING = "ray_eval.envs.libero.compiling"


@pytest.mark.nightly
def test_a_first_run_compiles_beside_its_episode_and_leaves_nobody(tmp_path):
    """The same bytes as later ones; the process ends with the run, whether it has finished or not."""
    hashes = []
    for number, cache in enumerate((tmp_path / "cache", None)):
        out = tmp_path / str(number)
        environment = {**os.environ, **({} if cache is None else {"RAY_EVAL_CACHE": str(cache)})}
        words = [sys.executable, "-m", "ray_eval", "run", *RUN, f"out={out}"]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        (record,) = read_ledger(out).episodes.values()
        hashes.append({name: record[name] for name in ("actions_sha256", "trajectory_sha256", "final_state_sha256")})
        if cache is not None:
            assert "compiles beside its first episodes" in done.stdout + done.stderr
            assert list(cache.glob("compiled/*/compiling.lock"))
    assert json.dumps(hashes[0]) == json.dumps(hashes[1])
    until(lambda: not any(_compiles_for(process, tmp_path) for process in psutil.process_iter()))


def _compiles_for(process, tmp_path):
    try:
        return COMPILING in process.cmdline() and process.environ().get("RAY_EVAL_CACHE") == str(tmp_path / "cache")
    except psutil.Error:
        return False


def test_the_task_that_is_built_for_it_is_there():
    suite = suites.suites()[0]
    assert suites.tasks(suite)[0].bddl_path.exists()

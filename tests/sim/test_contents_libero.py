"""What is digested of a scene is what LIBERO compiles it from."""

import importlib.util
import os
import re
from pathlib import Path

import numpy as np
import pytest

from ray_eval.envs.libero import suites
from ray_eval.envs.libero.content import robot_files, scene_files
from ray_eval.envs.libero.task_env import make_task_env

STANDARD = ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")
ROOMS = [("libero_object", 0), ("libero_goal", 7), ("libero_10", 5)]
"""The floor; a table with stove, cabinet and rack; the study."""


class CompiledEnough(Exception):
    """Ends a build where its XML is there."""


def compiled_files(bddl_path: Path) -> set[Path]:
    """Every file that LIBERO's XML of a scene names."""
    texts = []

    def keep(text: str) -> None:
        texts.append(text)
        raise CompiledEnough

    np.random.seed(0)  # noqa: NPY002 -- LIBERO draws from the global generator
    with pytest.raises(CompiledEnough):
        make_task_env(bddl_path, keep)
    return {Path(os.path.normpath(name)) for name in re.findall(r'file="([^"]+)"', texts[0])}


def digested_files(bddl_path: Path) -> set[Path]:
    robosuite = Path(importlib.util.find_spec("robosuite").origin).parent / "models" / "assets"
    return {*scene_files(suites.libero_folder("assets"), bddl_path), *robot_files(robosuite)}


def all_tasks():
    return [(name, task.task_id) for name in STANDARD for task in suites.tasks(name)]


@pytest.mark.parametrize(("suite", "task_id"), ROOMS)
def test_every_file_of_a_compiled_scene_is_digested(suite, task_id):
    path = suites.task(suite, task_id).bddl_path
    named = compiled_files(path)
    assert len(named) > 50
    assert named <= digested_files(path)


@pytest.mark.nightly
def test_every_file_of_every_compiled_scene_is_digested():
    left_out = {}
    for suite, task_id in all_tasks():
        path = suites.task(suite, task_id).bddl_path
        if missing := compiled_files(path) - digested_files(path):
            left_out[suite, task_id] = missing
    assert left_out == {}

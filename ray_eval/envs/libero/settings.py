"""What a user may choose of LIBERO beyond what every simulator has; read from `protocol`, where the keys are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from ray_eval.sections import (
    Control,
    EnvSettings,
    GripperTransform,
    InitStates,
    Instruction,
    SettleAction,
    SimulatorSection,
    StateFormat,
)

IMAGE_SIZE_PX: Final = 256
"""Height and width at which LIBERO's cameras are rendered unless the protocol says otherwise."""


@dataclass(frozen=True, slots=True)
class LiberoSettings:
    """LIBERO's own choices."""

    settle_steps: int = 10
    """Control steps of `settle_action` before step 0."""
    settle_action: SettleAction = "gripper_open"
    """`[0]*6 + [-1]`, or zeros."""
    gripper: GripperTransform = "raw"
    """What is done to the last component of a policy's action when it is executed."""
    control: Control = "delta"
    """OSC pose deltas, or absolute poses from the end of settling on."""
    init_states: InitStates = "stored"
    """LIBERO's stored init states, or whatever the seeded reset draws."""
    instruction: Instruction = "filename"
    """LIBERO's `task.language`, made of the file's name, or the BDDL file's own sentence."""
    state_format: StateFormat = "libero_8d"
    """Layout of `observation.state`."""


def libero(**choices: Any) -> SimulatorSection:
    """LIBERO with some of its settings; the others have their defaults."""
    return SimulatorSection(own=LiberoSettings(**choices))


def own_settings(settings: EnvSettings) -> LiberoSettings:
    """LIBERO's own settings among an env's."""
    own: LiberoSettings | None = settings.simulator.own
    return LiberoSettings() if own is None else own


STATE_NAMES: Final[Mapping[StateFormat, tuple[str, ...]]] = MappingProxyType(
    {
        **dict.fromkeys(
            ("libero_8d", "libero_8d_canonical", "controller_pose"),
            ("x", "y", "z", "rotation_x", "rotation_y", "rotation_z", "finger_left", "finger_right"),
        ),
        "joints_gripper": (*(f"joint_{index}" for index in range(7)), "finger_left", "finger_right"),
    }
)
"""Components of `observation.state` by format."""

"""What a user may choose of Meta-World; read from the configuration's section `simulator`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SuccessRule = Literal["any", "last"]
GoalRoute = Literal["set_task", "seeded"]
GoalShown = Literal["suite", "observable", "hidden"]
Camera = Literal["topview", "corner", "corner2", "corner3", "corner4", "behindGripper", "gripperPOV"]
Corner2 = Literal["package", "lerobot"]


@dataclass(frozen=True, slots=True)
class MetaworldSettings:
    """Meta-World's own choices."""

    success: SuccessRule = "any"
    """any: the episode ends at the first step at which the task holds, as Meta-World's own evaluation and LeRobot
    count. last: it goes on, and the last step of the budget decides; the same experts get 98 and 63 %."""
    route: GoalRoute = "set_task"
    """set_task: the start states are the 50 goals of `MT1(task, env_seed)`, in their order. seeded: the goal is drawn
    by `env.seed(env_seed)` and the reset, as LeRobot has it; in six tasks the same goal then starts elsewhere."""
    goal: GoalShown = "suite"
    """Whether the last 3 numbers of `observation.environment_state` are the goal or zeros; suite: hidden in
    metaworld_ml10 and metaworld_ml45, observable elsewhere, as Meta-World has it."""
    camera: Camera = "corner2"
    """The camera behind `observation.image`."""
    corner2: Corner2 = "package"
    """Where the camera corner2 stands: where the package has it, or where LeRobot moves it."""
    is_corner2_turned: bool = True
    """Whether its image is rotated by 180 degrees: it hangs upside down, and LeRobot turns it."""

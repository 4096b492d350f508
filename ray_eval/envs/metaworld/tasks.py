"""Meta-World's suites and tasks, and each task in words; known without Meta-World."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

GOAL_COUNT: Final = 50
"""Goals of each task and seed. Source: metaworld@3.1.1 metaworld/__init__.py (_N_GOALS)."""
MAX_STEPS: Final = 500
"""Control steps after which Meta-World's env refuses another. Source: metaworld@3.1.1 sawyer_xyz_env.py."""

INSTRUCTIONS: Final[Mapping[str, str]] = {
    "assembly-v3": "Pick up a nut and place it onto a peg",
    "basketball-v3": "Dunk the basketball into the basket",
    "bin-picking-v3": "Grasp the puck from one bin and place it into another bin",
    "box-close-v3": "Grasp the cover and close the box with it",
    "button-press-topdown-v3": "Press a button from the top",
    "button-press-topdown-wall-v3": "Bypass a wall and press a button from the top",
    "button-press-v3": "Press a button",
    "button-press-wall-v3": "Bypass a wall and press a button",
    "coffee-button-v3": "Push a button on the coffee machine",
    "coffee-pull-v3": "Pull a mug from a coffee machine",
    "coffee-push-v3": "Push a mug under a coffee machine",
    "dial-turn-v3": "Rotate a dial 180 degrees",
    "disassemble-v3": "Pick a nut out of a peg",
    "door-close-v3": "Close a door with a revolving joint",
    "door-lock-v3": "Lock the door by rotating the lock clockwise",
    "door-open-v3": "Open a door with a revolving joint",
    "door-unlock-v3": "Unlock the door by rotating the lock counter-clockwise",
    "hand-insert-v3": "Insert the gripper into a hole",
    "drawer-close-v3": "Push and close a drawer",
    "drawer-open-v3": "Open a drawer",
    "faucet-open-v3": "Rotate the faucet counter-clockwise",
    "faucet-close-v3": "Rotate the faucet clockwise",
    "hammer-v3": "Hammer a screw on the wall",
    "handle-press-side-v3": "Press a handle down sideways",
    "handle-press-v3": "Press a handle down",
    "handle-pull-side-v3": "Pull a handle up sideways",
    "handle-pull-v3": "Pull a handle up",
    "lever-pull-v3": "Pull a lever down 90 degrees",
    "pick-place-wall-v3": "Pick a puck, bypass a wall and place the puck",
    "pick-out-of-hole-v3": "Pick up a puck from a hole",
    "pick-place-v3": "Pick and place a puck to a goal",
    "plate-slide-v3": "Slide a plate into a cabinet",
    "plate-slide-side-v3": "Slide a plate into a cabinet sideways",
    "plate-slide-back-v3": "Get a plate from the cabinet",
    "plate-slide-back-side-v3": "Get a plate from the cabinet sideways",
    "peg-insert-side-v3": "Insert a peg sideways",
    "peg-unplug-side-v3": "Unplug a peg sideways",
    "soccer-v3": "Kick a soccer into the goal",
    "stick-push-v3": "Grasp a stick and push a box using the stick",
    "stick-pull-v3": "Grasp a stick and pull a box with the stick",
    "push-v3": "Push the puck to a goal",
    "push-wall-v3": "Bypass a wall and push a puck to a goal",
    "push-back-v3": "Push the puck to a goal",
    "reach-v3": "Reach a goal position",
    "reach-wall-v3": "Bypass a wall and reach a goal",
    "shelf-place-v3": "Pick and place a puck onto a shelf",
    "sweep-into-v3": "Sweep a puck into a hole",
    "sweep-v3": "Sweep a puck off the table",
    "window-open-v3": "Push and open a window",
    "window-close-v3": "Push and close a window",
}
"""The sentence of each task that policies are trained with; `push` and `push-back` share one. Meta-World has none.

In the order of the package's own list of all tasks. Source: lerobot@7427f31 src/lerobot/envs/metaworld_config.json.
"""

MT10: Final = (
    "reach-v3",
    "push-v3",
    "pick-place-v3",
    "door-open-v3",
    "drawer-open-v3",
    "drawer-close-v3",
    "button-press-topdown-v3",
    "peg-insert-side-v3",
    "window-open-v3",
    "window-close-v3",
)
"""Tasks of MT10 in its order. Source: metaworld@3.1.1 metaworld/env_dict.py, as the two below."""
ML10_TEST: Final = ("drawer-open-v3", "door-close-v3", "shelf-place-v3", "sweep-into-v3", "lever-pull-v3")
"""Test tasks of ML10."""
ML45_TEST: Final = ("bin-picking-v3", "box-close-v3", "hand-insert-v3", "door-lock-v3", "door-unlock-v3")
"""Test tasks of ML45."""

PREFIX: Final = "metaworld_"
"""Begins the name of each suite."""
SUITES: Final[Mapping[str, tuple[str, ...]]] = {
    "metaworld_mt10": MT10,
    "metaworld_mt50": tuple(INSTRUCTIONS),
    "metaworld_ml10": ML10_TEST,
    "metaworld_ml45": ML45_TEST,
}
"""The listed suites; besides, each task is a suite of its own by its name, `metaworld_reach-v3`."""
_GOAL_HIDDEN: Final = frozenset({"metaworld_ml10", "metaworld_ml45"})


def tasks_of(suite: str) -> tuple[str, ...] | None:
    """Names of the suite's tasks in order; None where there is no such suite."""
    if suite in SUITES:
        return SUITES[suite]
    name = suite.removeprefix(PREFIX)
    return (name,) if name != suite and name in INSTRUCTIONS else None


def is_goal_hidden(suite: str) -> bool:
    """Whether the last three numbers of the observation are zeros instead of the goal, as in Meta-World's ML."""
    return suite in _GOAL_HIDDEN

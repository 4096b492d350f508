"""What is done to drawers, doors and knobs, and how far they are moved."""

from __future__ import annotations

import numpy as np

from ray_eval.errors import ContractError
from ray_eval.policies.oracle.arm import CLOSE, OPEN, Hand
from ray_eval.policies.oracle.geometry import downward_grasp, forward_grasp, leaning_grasp, rotation_from_vector, turned
from ray_eval.policies.oracle.objects import DRAWER_HEIGHT_M, HANDLE_HEIGHT_M, HANDLE_M
from ray_eval.policies.oracle.plan import Slide, TurnOn
from ray_eval.policies.oracle.scene import Pose, Scene
from ray_eval.policies.oracle.stages import Stage
from ray_eval.types import FloatArray

OPEN_M = 0.142
"""How far a drawer is drawn that counts as open; LIBERO asks for 0.14."""
SHUT_M = 0.002
"""How far a drawer (m) or door (rad) may be from home that counts as shut; LIBERO asks for 0 and 0.005."""
ON_RAD = 0.5
"""Turn of the knob from which on LIBERO's stove is on."""
PUSH_LEAN_RAD = 0.7
"""How far the hand leans back when it pushes a drawer, so that the palm stays clear of the handles above."""
UP = np.array([0.0, 0.0, 1.0])
"""The world's vertical."""


def drawer_of(scene: Scene, cabinet: str, part: str) -> tuple[Pose, float]:
    """A drawer's body, and the height of its middle over the cabinet's origin (m).

    Raises:
        ContractError: the scene names no such drawer.
    """
    body = f"cabinet_{part}"
    return scene.pose(f"{cabinet}_{body}"), DRAWER_HEIGHT_M[body]


def is_moved(goal: Slide, scene: Scene) -> bool:
    """Whether a drawer or door is where it shall be."""
    position = _position(goal, scene)
    return position < -min(OPEN_M, goal.travel_m - 0.02) if goal.is_open else position > -SHUT_M


def is_on(goal: TurnOn, scene: Scene) -> bool:
    """Whether the stove is on."""
    return scene.joint(f"{goal.fixture}_button") >= ON_RAD


def _position(goal: Slide, scene: Scene) -> float:
    """Joint position of a drawer (m) or door (rad): 0 when shut, negative when open."""
    name = "microjoint" if goal.part == "door" else f"{goal.part}_level"
    return scene.joint(f"{goal.fixture}_{name}")


def turn_on(goal: TurnOn, scene: Scene) -> list[Stage]:
    """The knob's ridge is gripped from above and turned counter-clockwise; it is on from 0.5 rad."""
    stove, turn = scene.poses[goal.fixture], scene.joint(f"{goal.fixture}_button")
    rotation = turned(downward_grasp(-stove.rotation[:, 1]), turn)
    ridge = stove.at(np.array([-0.006, 0.001, 0.040]))
    end = turned(rotation, 0.9)
    return [
        Stage("above", ridge + 0.08 * UP, rotation, OPEN, tolerance_m=0.012, patience=80),
        Stage("descend", ridge, rotation, OPEN, tolerance_m=0.006, patience=25),
        Stage("close", ridge, rotation, CLOSE, ending="close", steps=9),
        Stage("turn", ridge, end, CLOSE, tolerance_m=0.03, tolerance_rad=0.15, patience=30),
        Stage("open", ridge, end, OPEN, ending="open", steps=5),
        Stage("retreat", ridge + 0.12 * UP, end, OPEN, tolerance_m=0.03, patience=15),
    ]


def slide(goal: Slide, scene: Scene, hand: Hand) -> list[Stage]:
    """The stages that open or shut a drawer, or shut the microwave's door.

    Raises:
        ContractError: a door shall be opened, which no task of the four suites asks for.
    """
    if goal.part == "door":
        if goal.is_open:
            raise ContractError(f"oracle: expected a door to be shut, got {goal.fixture} to be opened")
        return _shut_door(goal, scene)
    return _pull(goal, scene, hand) if goal.is_open else _shut(goal, scene)


def _pull(goal: Slide, scene: Scene, hand: Hand) -> list[Stage]:
    """The handle is gripped by the level hand and drawn out."""
    into, handle = _handle(goal, scene)
    rotation = forward_grasp(into)
    out = handle - (goal.travel_m + _position(goal, scene)) * into
    retreat = out - 0.06 * into
    return [
        Stage("turn", _not_below(handle - 0.14 * into, hand), rotation, OPEN, tolerance_m=0.03, patience=70),
        Stage("before", handle - 0.08 * into, rotation, OPEN, tolerance_m=0.012, patience=30),
        Stage("reach", handle, rotation, OPEN, tolerance_m=0.008, patience=25),
        Stage("close", handle, rotation, CLOSE, ending="close", steps=10),
        Stage("pull", out, rotation, CLOSE, tolerance_m=0.015, patience=40),
        Stage("open", out, rotation, OPEN, ending="open", steps=5),
        Stage("back", retreat, rotation, OPEN, tolerance_m=0.02, patience=20),
    ]


def _not_below(point: FloatArray, hand: Hand) -> FloatArray:
    """The point, raised towards the hand by 5 cm at most, where the hand turns without touching the drawers."""
    return np.array([point[0], point[1], max(point[2], min(hand.position[2], point[2] + 0.05))])


def _handle(goal: Slide, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """The level direction into the cabinet, and the middle of a drawer's handle (m)."""
    drawer, _ = drawer_of(scene, goal.fixture, goal.part)
    handle = drawer.at(np.add(HANDLE_M, (0.0, 0.0, HANDLE_HEIGHT_M[goal.part])))
    return drawer.rotation[:, 1], handle


def _shut(goal: Slide, scene: Scene) -> list[Stage]:
    """The closed finger tips push the handle home."""
    into, handle = _handle(goal, scene)
    rotation = leaning_grasp(-np.abs(np.cross(UP, into)), -into, PUSH_LEAN_RAD)
    before = handle - 0.06 * into
    home = handle - (_position(goal, scene) - 0.02) * into
    return [
        Stage("over", before - 0.04 * into + 0.14 * UP, rotation, CLOSE, tolerance_m=0.03, patience=70),
        Stage("before", before, rotation, CLOSE, tolerance_m=0.02, patience=40),
        Stage("push", home, rotation, CLOSE, tolerance_m=0.005, patience=50),
        Stage("back", before, rotation, CLOSE, tolerance_m=0.03, patience=30),
    ]


def _shut_door(goal: Slide, scene: Scene) -> list[Stage]:
    """The closed finger tips sweep the microwave's door shut along an arc around its hinge, at its upper edge."""
    hinge, turn = scene.pose(f"{goal.fixture}_microdoorroot"), _position(goal, scene)
    shut = hinge.rotation @ rotation_from_vector(np.array([0.0, 0.0, -turn]))
    rotation = downward_grasp(np.array([0.0, -1.0, 0.0]))

    def beside(angle: float, gap_m: float) -> FloatArray:
        """A point `gap_m` outside the door's outer face, were the door at `angle`."""
        door = shut @ rotation_from_vector(np.array([0.0, 0.0, angle]))
        return np.asarray(hinge.position + door @ np.array([0.15, -0.027 - gap_m, 0.075]))

    start = beside(turn, 0.07)
    angles = np.linspace(turn, 0.2, 6)[1:]
    return [
        Stage("over", start + 0.15 * UP, rotation, CLOSE, tolerance_m=0.03, patience=80),
        Stage("beside", start, rotation, CLOSE, tolerance_m=0.02, patience=40),
        *(Stage("sweep", beside(a, 0.012), rotation, CLOSE, tolerance_m=0.025, patience=25) for a in angles),
        Stage("back", beside(0.0, 0.10), rotation, CLOSE, tolerance_m=0.03, patience=20),
    ]

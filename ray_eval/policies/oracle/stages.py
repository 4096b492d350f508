"""The stages of a goal: poses that the hand passes through one after the other, frozen when the goal is begun."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ray_eval.policies.oracle.arm import CLOSE, OPEN, Hand
from ray_eval.policies.oracle.geometry import vector_from_rotation
from ray_eval.types import FloatArray

Ending = Literal["reach", "close", "open"]


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One leg of a goal; it ends when its pose is reached, or the fingers have done their work."""

    name: str
    """For people who read the memory."""
    position: FloatArray
    """(3,) where the grip site goes, or the carried object's origin, m."""
    rotation: FloatArray
    """(3, 3) of the hand."""
    gripper: float
    """Command throughout."""
    ending: Ending = "reach"
    """What ends it."""
    carried: str = ""
    """Object to which `position` refers; empty for the hand itself."""
    offset: FloatArray = dataclasses.field(default_factory=lambda: np.zeros(3))
    """(3,) planned grip site relative to the carried object, in the hand's frame, m."""
    tolerance_m: float = 0.01
    """Distance at which the pose counts as reached."""
    tolerance_rad: float = 0.12
    """Angle at which the pose counts as reached."""
    steps: int = 0
    """Control steps that the fingers need, for `close` and `open`."""
    patience: int = 40
    """Control steps after which the next stage begins in any case."""

    def to_json(self) -> dict[str, Any]:
        """The stage as JSON values, lengths rounded to 0.1 mm."""
        return {
            f.name: np.round(v, 4).tolist() if isinstance(v := getattr(self, f.name), np.ndarray) else v
            for f in dataclasses.fields(self)
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Stage:
        """The stage that `to_json` wrote."""
        arrays: dict[str, Any] = {k: np.array(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**arrays)

    def is_done(self, hand: Hand, goal: FloatArray, steps: int) -> bool:
        """Whether the hand, `steps` control steps after the stage began, has done what the stage asks."""
        if steps >= self.patience:
            return True
        if self.ending == "close":
            return hand.closing_steps >= self.steps
        if self.ending == "open":
            return hand.opening_steps >= self.steps
        angle = float(np.linalg.norm(vector_from_rotation(self.rotation @ hand.rotation.T)))
        return float(np.linalg.norm(goal - hand.position)) <= self.tolerance_m and angle <= self.tolerance_rad


@dataclass(frozen=True, slots=True, eq=False)
class Grasp:
    """A pose from which closing the fingers holds an object."""

    position: FloatArray
    """(3,) grip site, m."""
    rotation: FloatArray
    """(3, 3) of the hand."""
    close_steps: int
    """Control steps of closing until the object is held."""


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """How a held object travels."""

    goal: FloatArray
    """(3,) where its origin shall be, m."""
    via_z: float
    """Height at which its origin travels, m."""
    rotation: FloatArray
    """(3, 3) of the hand when it arrives."""
    entry: FloatArray | None = None
    """(3,) where its origin passes just before the goal, m, for places that are open in front and not above."""
    release_m: float = 0.005
    """Height over the goal at which it is let go."""
    escape: FloatArray = dataclasses.field(default_factory=lambda: np.zeros(3))
    """(3,) level shift before the object is lifted, m; zeros where nothing hangs over it."""


def carry(item: str, origin: FloatArray, grasp: Grasp, way: Way) -> list[Stage]:
    """The stages that take hold of an object whose origin is at `origin` and bring it along a way."""
    up = np.array([0.0, 0.0, 1.0])
    offset = grasp.rotation.T @ (grasp.position - origin)
    goal = way.goal + way.release_m * up
    released = goal + way.rotation @ offset

    def hand(name: str, position: FloatArray, gripper: float, **more: Any) -> Stage:
        return Stage(name, position, grasp.rotation, gripper, **more)

    def held(name: str, position: FloatArray, rotation: FloatArray, **more: Any) -> Stage:
        return Stage(name, position, rotation, CLOSE, carried=item, offset=offset, **more)

    out = origin + way.escape + 0.008 * up
    leave = [held("leave", out, grasp.rotation, tolerance_m=0.015, patience=25)] if way.escape.any() else []
    lifted = np.array([out[0], out[1], way.via_z])
    entry = goal if way.entry is None else way.entry
    arrived = np.array([entry[0], entry[1], way.via_z])
    back = grasp.rotation[:, 2]
    away = released - 0.1 * way.rotation[:, 2] if way.entry is None else entry + way.rotation @ offset
    enter = [] if way.entry is None else [held("enter", entry, way.rotation, tolerance_m=0.01, patience=40)]
    return [
        hand("above", grasp.position - 0.06 * back, OPEN, tolerance_m=0.012, patience=60),
        hand("descend", grasp.position, OPEN, tolerance_m=0.005, patience=25),
        hand("close", grasp.position, CLOSE, ending="close", steps=grasp.close_steps, patience=25),
        *leave,
        held("lift", lifted, grasp.rotation, tolerance_m=0.03),
        held("carry", arrived, way.rotation, tolerance_m=0.012, patience=80),
        *enter,
        held("lower", goal, way.rotation, tolerance_m=0.008, patience=30),
        Stage("open", released, way.rotation, OPEN, ending="open", steps=5),
        Stage("retreat", away, way.rotation, OPEN, tolerance_m=0.03, patience=15),
    ]

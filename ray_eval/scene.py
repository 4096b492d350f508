"""The exact scene after one control step, as an env's own state has it: what an episode is judged by afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ray_eval.types import FloatArray


@dataclass(frozen=True, slots=True)
class Conjunct:
    """One condition of a task's goal, all of which make a success."""

    words: str
    """The condition as the task's file has it, for instance `In butter_1 basket_1_contain_region`."""
    item: str
    """The object or part that has to be moved."""
    place: str | None
    """Where it has to be; None for a part that is opened, closed or turned."""


@dataclass(frozen=True, slots=True, eq=False)
class ItemReading:
    """One object that moves freely, or one part that is opened, closed or turned."""

    position: FloatArray
    """(3,) of its body, world frame, m."""
    quaternion: FloatArray
    """(4,) w x y z."""
    distance_m: float
    """From the point between the finger tips to the nearest of its collision shapes, by their bounding spheres."""
    is_touched: bool
    """Whether some part of the hand touches it."""
    is_held: bool
    """Whether both fingers touch it."""
    joint: float | None = None
    """Position of the part's joint, m or rad; None for an object."""


@dataclass(frozen=True, slots=True, eq=False)
class SceneReading:
    """What is where after one control step."""

    hand: FloatArray
    """(3,) the point between the finger tips, world frame, m."""
    holds: tuple[bool, ...]
    """Whether each conjunct holds."""
    gaps_m: tuple[float, ...]
    """Horizontal distance of each conjunct's item from its place; 0 where the conjunct has no place."""
    items: Mapping[str, ItemReading]
    """Every free object and every part of the goal, by name."""
    grip_n: float
    """Sum of the normal forces between the hand and whatever it touches, at the step's last substep, N."""
    is_at_limit: bool
    """Whether some joint of the arm is within 0.05 rad of the end of its range."""
    conjuncts: tuple[Conjunct, ...]
    """The goal; the same in every step."""

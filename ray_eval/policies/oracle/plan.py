"""From an instruction and the names in the scene to the goals that fulfil it, in the order of their attempts."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Literal

from ray_eval.errors import ContractError
from ray_eval.policies.oracle.objects import category

Relation = Literal["on", "in", "right_of"]


@dataclass(frozen=True, slots=True)
class Place:
    """An object lies on, in or beside something."""

    item: str
    """Object to be moved."""
    target: str
    """Body or fixture that receives it."""
    relation: Relation
    """How it ends up there."""
    part: str = ""
    """Part of the target: drawer `top`, `middle`, `bottom`; `side` for a cabinet's top; `cook`; `back`; or empty."""
    slot: int = 0
    """0 where the target receives one object, else 1, 2 for the first and second of two."""


@dataclass(frozen=True, slots=True)
class Slide:
    """A drawer or door is open or closed."""

    fixture: str
    """Cabinet or microwave."""
    part: str
    """`top`, `middle`, `bottom`, or `door`."""
    is_open: bool
    """Which of the two it shall be."""
    travel_m: float = 0.17
    """How far a drawer is drawn; LIBERO calls it open from 0.14 on."""


@dataclass(frozen=True, slots=True)
class TurnOn:
    """A stove is on."""

    fixture: str
    """The stove."""


@dataclass(frozen=True, slots=True)
class Push:
    """A plate stands in front of the stove, pushed and not lifted."""

    item: str
    """The plate."""
    stove: str
    """The stove."""


AJAR_M = 0.11
"""How far a drawer is drawn that shall receive a bowl: further out it would hang over the bowl."""

Goal = Place | Slide | TurnOn | Push

# Words of the instructions for LIBERO's categories; whatever is missing is spelled like its category.
CATEGORIES: dict[str, tuple[str, ...]] = {
    "black bowl": ("akita_black_bowl",),
    "bowl": ("akita_black_bowl",),
    "cream cheese box": ("cream_cheese",),
    "cookie box": ("cookies",),
    "ramekin": ("glazed_rim_porcelain_ramekin",),
    "book": ("black_book",),
    "white mug": ("porcelain_mug",),
    "yellow+white mug": ("white_yellow_mug",),
    "red mug": ("red_coffee_mug",),
    "cabinet": ("wooden_cabinet", "white_cabinet"),
    "stove": ("flat_stove",),
    "caddy": ("desk_caddy",),
    "rack": ("wine_rack",),
    "moka pots": ("moka_pot",),
    "frying pan": ("chefmate_8_frypan",),
    "left plate": ("plate",),
    "right plate": ("plate",),
}


class _Names:
    """The scene's names, as an instruction's nouns refer to them."""

    def __init__(self, names: tuple[str, ...], task: str) -> None:
        self._bodies = [n for n in names if not n.startswith("joint:") and re.search(r"_\d+$", n)]
        self._task = task

    def all(self, noun: str) -> list[str]:
        noun = noun.strip().removeprefix("the ").strip()
        known = CATEGORIES.get(noun, (noun.replace(" ", "_"),))
        found = [n for n in self._bodies if category(n) in known]
        if not found:
            raise ContractError(
                f"oracle: instruction {self._task!r}: expected a body for {noun!r} ({' or '.join(known)}), "
                f"got {', '.join(self._bodies)}"
            )
        return found

    def one(self, noun: str) -> str:
        found = self.all(noun)
        return found[1] if noun.endswith("right plate") and len(found) > 1 else found[0]


_DRAWER = r"(?P<part>top|middle|bottom) (?:drawer|layer)(?: of the (?P<cabinet>\w+))?"


def goals_of(task: str, names: tuple[str, ...]) -> tuple[Goal, ...]:
    """The goals of an instruction; of several bodies with one name, the first in `names` is meant.

    Raises:
        ContractError: the instruction follows no known pattern, or names a thing that is not in the scene.
    """
    text = re.sub(r"\s+", " ", task.lower().strip().rstrip(".")).replace("yellow and white", "yellow+white")
    scene = _Names(names, task)
    for pattern, build in _PATTERNS:
        match = re.fullmatch(pattern, text)
        if match:
            return build(scene, match.groupdict())
    raise ContractError(f"oracle: instruction: expected one of LIBERO's patterns, got {task!r}")


def _put(scene: _Names, item: str, where: str, *, slot: int = 0) -> tuple[Goal, ...]:
    return (_place(scene, scene.one(item), where, slot),)


def _place(scene: _Names, item: str, where: str, slot: int = 0) -> Place:
    if right := re.fullmatch(r"to the right of the (.+)", where):
        return Place(item, scene.one(right[1]), "right_of")
    if drawer := re.fullmatch(rf"in the {_DRAWER}", where):
        return Place(item, scene.one("cabinet"), "in", drawer["part"])
    if part := re.fullmatch(r"in the (back|front|left|right) compartment of the (.+)", where):
        return Place(item, scene.one(part[2]), "in", part[1])
    preposition, noun = re.fullmatch(r"(on top of|on|in) the (.+)", where).groups()  # type: ignore[union-attr]
    target = scene.one(noun)
    part_of = {"flat_stove": "cook", "wooden_cabinet": "side", "white_cabinet": "side"}
    relation: Relation = "in" if preposition == "in" else "on"
    return Place(item, target, relation, part_of.get(category(target), ""), slot)


def _pick(scene: _Names, words: dict[str, str]) -> tuple[Goal, ...]:
    noun = re.split(r" (?:between|next to|from|on|in|at) ", words["item"])[0]
    return _put(scene, noun, words["where"])


def _both(scene: _Names, words: dict[str, str]) -> tuple[Goal, ...]:
    return _put(scene, words["a"], words["where"], slot=1) + _put(scene, words["b"], words["where"], slot=2)


def _pair(scene: _Names, words: dict[str, str]) -> tuple[Goal, ...]:
    return tuple(_place(scene, item, words["where"], i) for i, item in enumerate(scene.all(words["item"])[:2], 1))


def _two(scene: _Names, words: dict[str, str]) -> tuple[Goal, ...]:
    return _put(scene, words["a"], words["at_a"]) + _put(scene, words["b"], words["at_b"])


def _put_and_close(scene: _Names, words: dict[str, str]) -> tuple[Goal, ...]:
    place = _place(scene, scene.one(words["item"]), words["where"])
    return (place, Slide(place.target, place.part or "door", is_open=False))


def _open(scene: _Names, words: dict[str, str]) -> tuple[Goal, ...]:
    opened = Slide(scene.one("cabinet"), words["part"], is_open=True)
    if not words.get("item"):
        return (opened,)
    opened = dataclasses.replace(opened, travel_m=AJAR_M)
    return (opened, Place(scene.one(words["item"]), opened.fixture, "in", opened.part))


def _stove(scene: _Names, words: dict[str, str]) -> tuple[Goal, ...]:
    stove = scene.one("stove")
    if not words.get("item"):
        return (TurnOn(stove),)
    return (TurnOn(stove), Place(scene.one(words["item"]), stove, "on", "cook"))


def _push(scene: _Names, words: dict[str, str]) -> tuple[Goal, ...]:
    return (Push(scene.one(words["item"]), scene.one("stove")),)


_WHERE = r"(?:on top of|on|in|to the right of) the [\w+ ]+?"
_PATTERNS = (
    (rf"open the {_DRAWER}(?: and put the (?P<item>.+) inside)?", _open),
    (r"turn on the stove(?: and put the (?P<item>.+) on it)?", _stove),
    (r"push the (?P<item>.+) to the front of the stove", _push),
    (rf"put both the (?P<a>.+) and the (?P<b>.+?) (?P<where>{_WHERE})", _both),
    (rf"put both (?P<item>.+?) (?P<where>{_WHERE})", _pair),
    (rf"put the (?P<item>.+?) (?P<where>{_WHERE}) and close it", _put_and_close),
    (rf"put the (?P<a>.+?) (?P<at_a>{_WHERE}) and put the (?P<b>.+?) (?P<at_b>{_WHERE})", _two),
    (rf"pick up the (?P<item>.+) and place it (?P<where>{_WHERE})", _pick),
    (rf"put the (?P<item>.+?) (?P<where>{_WHERE})", lambda s, w: _put(s, w["item"], w["where"])),
)

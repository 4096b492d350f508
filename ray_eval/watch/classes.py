"""What went wrong in an episode, from its exact scenes: stages of each object, progress, class of a failure; pure.

Definitions, and how much each threshold matters, are in docs/failures.md.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ray_eval.scene import Conjunct, SceneReading
from ray_eval.types import FloatArray


class FailureClass(enum.StrEnum):
    """Why an episode failed."""

    NEVER_REACHED = "never reached"
    """The hand never came to the object that was to be moved."""
    WRONG_OBJECT = "wrong object"
    """Another object was lifted, and the right one was never held."""
    MISSED_GRASP = "missed grasp"
    """The hand came to the object and did not lift it."""
    DROPPED = "dropped"
    """The object was lifted, and fell or slipped."""
    WRONG_PLACE = "right object, wrong place"
    """The object was lifted and put down where it does not belong."""
    UNDONE = "undid it"
    """A condition of the goal held, and not at the end."""
    STALLED = "stalled"
    """The hand came to a stop on its way, with the budget still running."""
    OUT_OF_TIME = "still moving at the end"
    """The object was on its way when the budget was spent."""
    UNCLEAR = "unclear"
    """None of these."""


class Stage(enum.IntEnum):
    """How far an object, or a part of the goal, has come."""

    UNTOUCHED = 0
    REACHED = 1
    GRASPED = 2
    LIFTED = 3
    NEAR = 4
    PLACED = 5


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where the lines are drawn."""

    reach_m: float = 0.03
    """Distance from the finger tips to an object's shapes from which it counts as reached; touching counts as well."""
    grasp_steps: int = 3
    """Control steps in a row with both fingers at the object that make a grasp."""
    loose_steps: int = 2
    """Control steps for which a finger may lose touch without ending a grasp."""
    lift_m: float = 0.02
    """Rise over its start, while it is held, from which an object counts as lifted."""
    near_m: float = 0.10
    """Horizontal distance from its place within which an object counts as near."""
    drop_m: float = 0.06
    """Fall after the grasp from which an object counts as dropped, not put down."""
    held_steps: int = 3
    """Control steps in a row for which a condition must have held to have been undone."""
    still_m_s: float = 0.01
    """Mean speed of the hand below which it stands still."""
    still_steps: int = 20
    """Control steps over which that mean is taken, at the end."""
    moved: float = 0.01
    """Way of a joint, m or rad, from which a part counts as moved."""
    approach_m: float = 0.05
    """By how much the hand must have come nearer over `still_steps`, at the end, to have been on its way."""


@dataclass(frozen=True, slots=True)
class Grip:
    """A time for which an object was held: steps `start` to `end`, both included."""

    start: int
    end: int
    is_lifted: bool
    """Whether it rose."""
    fall_m: float
    """How far the object fell after the grip, before it was held again or the episode ended; 0 while it is held."""
    is_slipped: bool
    """Whether the hand was still told to close when the grip ended."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the scenes of an episode amount to."""

    failure: FailureClass | None
    """None for a success."""
    why: str
    """What was seen, in one sentence; empty for a success."""
    stages: Mapping[str, Stage]
    """The furthest stage of each object or part of the goal."""
    progress: tuple[float, ...]
    """0 to 1 per step, the start included: the mean over the goal's conditions of how far each is at that step."""


def judge(
    scenes: Sequence[SceneReading], closing: Sequence[bool], control_hz: float, limits: Thresholds | None = None
) -> Judgement:
    """The stages, the progress and the class of an episode.

    Args:
        scenes: after each step, the start included: T + 1.
        closing: whether the hand was told to close in each step: T.
        control_hz: control steps per second.
        limits: where the lines are drawn; None takes the documented ones.
    """
    seen = _Seen(scenes, closing, control_hz, limits or Thresholds())
    conjuncts = scenes[0].conjuncts
    stages: dict[str, Stage] = {}
    for index, conjunct in enumerate(conjuncts):
        stages[conjunct.item] = max(stages.get(conjunct.item, Stage.UNTOUCHED), seen.furthest(index))
    if all(scenes[-1].holds):
        return Judgement(None, "", stages, seen.progress())
    failure, why = _class_of(seen)
    return Judgement(failure, why, stages, seen.progress())


class _Seen:
    """The scenes as rows of numbers, asked for what happened to whom."""

    def __init__(
        self, scenes: Sequence[SceneReading], closing: Sequence[bool], control_hz: float, limits: Thresholds
    ) -> None:
        self.scenes, self.limits, self.control_hz = scenes, limits, control_hz
        self.closing = [*closing, closing[-1] if closing else False]
        self.conjuncts = scenes[0].conjuncts
        self.hand: FloatArray = np.array([scene.hand for scene in scenes])
        self.last = len(scenes) - 1

    def reached(self, item: str) -> list[bool]:
        """Whether the hand is at an item, by step."""
        items = [scene.items[item] for scene in self.scenes]
        return [each.is_touched or each.distance_m <= self.limits.reach_m for each in items]

    def height(self, item: str) -> FloatArray:
        """(T + 1,) m."""
        heights: FloatArray = np.array([scene.items[item].position[2] for scene in self.scenes])
        return heights

    def grips(self, item: str) -> list[Grip]:
        """The times for which an object was held, in order."""
        held = _bridged([scene.items[item].is_held for scene in self.scenes], self.limits.loose_steps)
        runs = _runs(held, self.limits.grasp_steps)
        heights = self.height(item)
        grips = []
        for place, (start, end) in enumerate(runs):
            until = runs[place + 1][0] if place + 1 < len(runs) else self.last
            rise = float(heights[start : end + 1].max() - heights[0])
            fall = 0.0 if end == self.last else float(heights[end] - heights[end : until + 1].min())
            grips.append(Grip(start, end, rise >= self.limits.lift_m, fall, self.closing[min(end, self.last)]))
        return grips

    def is_part(self, conjunct: Conjunct) -> bool:
        """Whether a condition is of a part that is opened, closed or turned."""
        return self.scenes[0].items[conjunct.item].joint is not None

    def moved(self, item: str) -> bool:
        """Whether a part's joint has been moved."""
        joints = [float(scene.items[item].joint or 0.0) for scene in self.scenes]
        return max(abs(joint - joints[0]) for joint in joints) >= self.limits.moved

    def is_still(self) -> bool:
        """Whether the hand stands still at the end."""
        steps = min(self.limits.still_steps, self.last)
        return steps > 0 and self.speed(steps) < self.limits.still_m_s

    def speed(self, steps: int) -> float:
        """Mean speed of the hand over the last steps, m/s."""
        way = np.linalg.norm(np.diff(self.hand[-steps - 1 :], axis=0), axis=1).sum()
        return float(way) / steps * self.control_hz

    def pending(self) -> list[int]:
        """Conditions that do not hold at the end."""
        return [index for index, holds in enumerate(self.scenes[-1].holds) if not holds]

    def undone(self) -> int | None:
        """A condition that held for a while, and not at the end."""
        for index in self.pending():
            if _runs([scene.holds[index] for scene in self.scenes], self.limits.held_steps):
                return index
        return None

    def worked_on(self) -> int:
        """The condition that does not hold and was worked on last; the first one where none was."""
        pending = self.pending()
        reached = {index: self.reached(self.conjuncts[index].item) for index in pending}
        return max(pending, key=lambda index: max((s for s, at in enumerate(reached[index]) if at), default=-1))

    def now(self, index: int, step: int) -> Stage:
        """How far a condition is at one step."""
        scene, conjunct = self.scenes[step], self.conjuncts[index]
        if scene.holds[index]:
            return Stage.PLACED
        item = scene.items[conjunct.item]
        is_at = item.is_touched or item.distance_m <= self.limits.reach_m
        if not item.is_held:
            return Stage.REACHED if is_at else Stage.UNTOUCHED
        rise = item.position[2] - self.scenes[0].items[conjunct.item].position[2]
        if self.is_part(conjunct) or rise < self.limits.lift_m:
            return Stage.GRASPED
        return Stage.NEAR if scene.gaps_m[index] <= self.limits.near_m else Stage.LIFTED

    def furthest(self, index: int) -> Stage:
        """How far a condition came."""
        return max(self.now(index, step) for step in range(self.last + 1))

    def progress(self) -> tuple[float, ...]:
        """The mean over the conditions, by step."""
        count = len(self.conjuncts)
        return tuple(
            round(sum(self.now(index, step) for index in range(count)) / (count * Stage.PLACED), 3)
            for step in range(self.last + 1)
        )


def _class_of(seen: _Seen) -> tuple[FailureClass, str]:
    undone = seen.undone()
    if undone is not None:
        return FailureClass.UNDONE, f"{seen.conjuncts[undone].words} held, and not at the end"
    index = seen.worked_on()
    conjunct = seen.conjuncts[index]
    if seen.is_part(conjunct):
        return _class_of_part(seen, conjunct)
    grips = seen.grips(conjunct.item)
    if not any(grip.is_lifted for grip in grips):
        return _class_of_unlifted(seen, conjunct, grips)
    return _class_of_lifted(seen, index, [grip for grip in grips if grip.is_lifted][-1])


def _class_of_unreached(seen: _Seen, conjunct: Conjunct) -> tuple[FailureClass, str]:
    """An object or part that the hand never came to."""
    distances = [scene.items[conjunct.item].distance_m for scene in seen.scenes]
    before = distances[-min(seen.limits.still_steps, seen.last) - 1]
    if before - distances[-1] >= seen.limits.approach_m:
        return FailureClass.OUT_OF_TIME, f"the hand was on its way to {conjunct.item} when the budget was spent"
    end = ", and stood still at the end" if seen.is_still() else ""
    return FailureClass.NEVER_REACHED, f"the hand never came to {conjunct.item}{end}"


def _class_of_part(seen: _Seen, conjunct: Conjunct) -> tuple[FailureClass, str]:
    """A drawer, door or knob that is not where it shall be."""
    item, at = conjunct.item, seen.reached(conjunct.item)
    if not any(at):
        return _elsewhere(seen, conjunct) or _class_of_unreached(seen, conjunct)
    if at[-1] and not seen.is_still():
        return FailureClass.OUT_OF_TIME, f"the hand was still at {item} when the budget was spent"
    if at[-1]:
        return FailureClass.STALLED, f"the hand came to a stop at {item}"
    if seen.moved(item):
        return FailureClass.WRONG_PLACE, f"{item} was moved, and not far enough"
    return FailureClass.MISSED_GRASP, f"the hand came to {item} and did not move it"


def _class_of_unlifted(seen: _Seen, conjunct: Conjunct, grips: Sequence[Grip]) -> tuple[FailureClass, str]:
    """An object that was never lifted."""
    item, at = conjunct.item, seen.reached(conjunct.item)
    other = None if grips else _elsewhere(seen, conjunct)
    if other is not None:
        return other
    if not any(at):
        return _class_of_unreached(seen, conjunct)
    if at[-1] and seen.is_still():
        return FailureClass.STALLED, f"the hand came to a stop at {item}"
    if grips and grips[-1].end == seen.last:
        return FailureClass.OUT_OF_TIME, f"{item} had just been grasped when the budget was spent"
    arrived = _last_arrival(at)
    if at[-1] and seen.last - arrived < seen.limits.still_steps:
        return FailureClass.OUT_OF_TIME, f"the hand had just come to {item} when the budget was spent"
    return FailureClass.MISSED_GRASP, f"the hand came to {item} and did not lift it"


def _class_of_lifted(seen: _Seen, index: int, grip: Grip) -> tuple[FailureClass, str]:
    """An object that was lifted and is not where it shall be."""
    item, gap_m = seen.conjuncts[index].item, seen.scenes[-1].gaps_m[index]
    if grip.end == seen.last:
        if seen.is_still():
            return FailureClass.STALLED, f"the hand came to a stop with {item}"
        return FailureClass.OUT_OF_TIME, f"{item} was on its way when the budget was spent"
    is_slip = grip.is_slipped and grip.fall_m >= seen.limits.lift_m
    if is_slip or grip.fall_m >= seen.limits.drop_m:
        how = "slipped out of the closing hand" if is_slip else f"fell {100 * grip.fall_m:.0f} cm"
        return FailureClass.DROPPED, f"{item} was lifted and {how}"
    return FailureClass.WRONG_PLACE, f"{item} was put down {100 * gap_m:.0f} cm from where it belongs"


def _elsewhere(seen: _Seen, conjunct: Conjunct) -> tuple[FailureClass, str] | None:
    """That another object was lifted, which no condition of the goal asks for."""
    wanted = {each.item for each in seen.conjuncts}
    for name in seen.scenes[0].items:
        if name not in wanted and any(grip.is_lifted for grip in seen.grips(name)):
            return FailureClass.WRONG_OBJECT, f"{name} was lifted, and {conjunct.item} was not"
    return None


def _last_arrival(at: Sequence[bool]) -> int:
    """The step at which the hand last came to where it is."""
    away = [step for step, is_at in enumerate(at) if not is_at]
    return away[-1] + 1 if away else 0


def _bridged(flags: Sequence[bool], most: int) -> list[bool]:
    """The flags with stretches of at most so many false values between true ones made true."""
    bridged = list(flags)
    for start, end in _runs([not flag for flag in flags], 1):
        if start > 0 and end < len(flags) - 1 and end - start < most:
            bridged[start : end + 1] = [True] * (end + 1 - start)
    return bridged


def _runs(flags: Sequence[bool], least: int) -> list[tuple[int, int]]:
    """First and last index of each stretch of at least so many true values."""
    runs, start = [], None
    for index, flag in enumerate([*flags, False]):
        if flag and start is None:
            start = index
        if not flag and start is not None:
            if index - start >= least:
                runs.append((start, index - 1))
            start = None
    return runs

"""Judges an episode that is run again: what of its goal held when, how far each object came, what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ray_eval.rollout.replaying import Looks, Retraced, Sight
from ray_eval.scene import SceneReading
from ray_eval.types import ActionSpec, FloatArray
from ray_eval.watch.classes import judge

TOPPLED_RAD = float(np.deg2rad(30.0))
"""Change of tilt from which an object counts as knocked over."""
GRIPPER = "gripper"
"""Name of the action's component that opens and closes the hand."""
_DIGITS = 4


class FindingsMaker:
    """Gathers the scenes of an episode and says what they amount to; nothing for an env that tells none.

    Args:
        action: What the env executes.
        control_hz: Control steps per second.
    """

    def __init__(self, action: ActionSpec, control_hz: float) -> None:
        self._action, self._control_hz = action, control_hz
        self._scenes: list[SceneReading] = []
        self._actions: list[FloatArray] = []

    @property
    def looks(self) -> Looks:
        """The scenes alone."""
        return Looks(has_scene=True)

    def see(self, sight: Sight) -> None:
        """Takes the step's scene."""
        if sight.scene is not None:
            self._scenes.append(sight.scene)
        if sight.action is not None:
            self._actions.append(sight.action)

    def made(self, retraced: Retraced) -> dict[str, Any] | None:  # noqa: ARG002 -- a maker's signature
        """The finding as JSON values, without the episode's id; None without scenes."""
        if not self._scenes:
            return None
        actions = np.array(self._actions).reshape(len(self._actions), -1)
        closing = self._closing(actions)
        judgement = judge(self._scenes, closing, self._control_hz)
        return {
            "failure_class": judgement.failure,
            "why": judgement.why,
            "stages": {name: stage.name.lower() for name, stage in judgement.stages.items()},
            "goal": [conjunct.words for conjunct in self._scenes[0].conjuncts],
            "held": [[int(scene.holds[i]) for scene in self._scenes] for i in range(len(self._scenes[0].holds))],
            "progress": list(judgement.progress),
            "figures": figures(self._scenes, actions, self._action, self._control_hz),
        }

    def _closing(self, actions: FloatArray) -> list[bool]:
        if GRIPPER not in self._action.names:
            return [False] * len(actions)
        return [bool(value > 0) for value in actions[:, self._action.names.index(GRIPPER)]]


def figures(
    scenes: Sequence[SceneReading], actions: FloatArray, action: ActionSpec, control_hz: float
) -> dict[str, Any]:
    """An episode's motion in numbers.

    Returns:
        `path_m`: way of the hand; `jerk_m_s3`: root mean square of the hand's jerk, by third differences;
        `grip_n_max`: largest sum of the hand's contact forces at a step's end; `knocked_over`: objects that ended
        tilted, not held and not where the goal wants them; `joint_limit_share`, `saturated_share`: shares of the steps
        with a joint of the arm at its limit, and with a component of the action, the gripper's apart, at its bound.
    """
    hand = np.array([scene.hand for scene in scenes])
    jerk = np.diff(hand, 3, axis=0) * control_hz**3
    mean_square = float(np.mean(np.sum(jerk**2, axis=1))) if len(jerk) else 0.0
    return {
        "path_m": round(float(np.linalg.norm(np.diff(hand, axis=0), axis=1).sum()), _DIGITS),
        "jerk_m_s3": round(mean_square**0.5, _DIGITS),
        "grip_n_max": round(max(scene.grip_n for scene in scenes), _DIGITS),
        "knocked_over": list(_knocked_over(scenes[0], scenes[-1])),
        "joint_limit_share": round(sum(scene.is_at_limit for scene in scenes) / len(scenes), _DIGITS),
        "saturated_share": round(_saturated(actions, action), _DIGITS),
    }


def _knocked_over(first: SceneReading, last: SceneReading) -> list[str]:
    placed = {each.item for each, holds in zip(last.conjuncts, last.holds, strict=True) if holds}
    found = []
    for name, item in last.items.items():
        if item.joint is not None or item.is_held or name in placed:
            continue
        if _tilt_rad(first.items[name].quaternion, item.quaternion) > TOPPLED_RAD:
            found.append(name)
    return found


def _tilt_rad(before: FloatArray, after: FloatArray) -> float:
    """The angle between what was up and what is up in an object's own frame; a turn about the vertical is none."""
    return float(np.arccos(np.clip(_up(before) @ _up(after), -1.0, 1.0)))


def _up(quaternion: FloatArray) -> FloatArray:
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)])


def _saturated(actions: FloatArray, action: ActionSpec) -> float:
    arm = [index for index, name in enumerate(action.names) if name != GRIPPER]
    low, high = np.array(action.low)[arm], np.array(action.high)[arm]
    if not len(actions):
        return 0.0
    at_bound = (actions[:, arm] <= low) | (actions[:, arm] >= high)
    return float(at_bound.any(axis=1).mean())

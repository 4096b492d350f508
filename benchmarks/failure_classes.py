"""How well failure classes are told: episodes made to fail in one known way each, by spoiling an oracle's actions.

    ray-eval run policy=oracle suite=[libero_object,libero_spatial] episodes_per_task=4 --out runs/good
    ray-eval run policy=oracle suite=libero_goal tasks=[1,4,8] episodes_per_task=15 \\
        task_text="put the wine bottle on top of the cabinet" protocol.max_steps=150 --out runs/wrong
    python benchmarks/failure_classes.py runs/good --wrong-object runs/wrong --real runs/failing --rows rows.jsonl

Prints the confusion table, the share of episodes whose class changes with each threshold halved and doubled, and the
classes of a run's real failures. Needs no policy and draws nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ray_eval.config import simulator_section
from ray_eval.driver.recording import Recorded, Recording
from ray_eval.driver.replay import no_policy
from ray_eval.envs.gl import gl_environment
from ray_eval.rollout.replaying import Looks, ReplaySettings, Sight
from ray_eval.rollout.running import Rollout
from ray_eval.types import FloatArray, Outcome
from ray_eval.watch.classes import FailureClass, Judgement, Thresholds, judge

OPEN, CLOSE = -1.0, 1.0
LEAST_CARRY = 25
"""Control steps from the closing to the end of an episode that can be spoiled on its way."""


def moving(direction: FloatArray, steps: int, gripper: float) -> FloatArray:
    """(steps, 7) actions that move the hand at full speed, or hold it still."""
    return np.tile([*direction, 0.0, 0.0, 0.0, gripper], (steps, 1))


STILL, UP = np.zeros(3), np.array([0.0, 0.0, 1.0])


def sideways(generator: np.random.Generator) -> FloatArray:
    """A level direction at full speed: along y, where there is room on both sides."""
    return np.array([0.0, generator.choice([-1.0, 1.0]), 0.0])


def closing_at(actions: FloatArray) -> int:
    """The step at which the hand is first told to close."""
    return int(np.argmax(actions[:, 6] > 0))


def never_reached(actions: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Turns away before it comes near."""
    turn = int(closing_at(actions) * generator.uniform(0.2, 0.45))
    away = sideways(generator) + UP
    return np.concatenate([actions[:turn], moving(away, 15, OPEN), moving(STILL, 25, OPEN)])


def missed_grasp(actions: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Never closes, closes too early, or closes beside the object; then carries nothing to the place."""
    spoiled, start = actions.copy(), closing_at(actions)
    kind = generator.integers(3)
    if kind == 0:
        spoiled[:, 6] = OPEN
    elif kind == 1:
        spoiled[max(0, start - 18) :, 6] = CLOSE
    else:
        at = int(start * 0.7)
        spoiled = np.concatenate([spoiled[:at], moving(sideways(generator), 5, OPEN), spoiled[at:]])
    return np.concatenate([spoiled, moving(UP, 10, OPEN), moving(STILL, 20, OPEN)])


def dropped(actions: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Opens in the middle of the way, where the object is high."""
    spoiled, start = actions.copy(), closing_at(actions)
    at = start + int((len(actions) - start) * generator.uniform(0.45, 0.6))
    spoiled[at:, 6] = OPEN
    return np.concatenate([spoiled, moving(STILL, 20, OPEN)])


def wrong_place(actions: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Carries the object a hand's breadth or two aside, and puts it down as if it were there."""
    start = closing_at(actions)
    at = start + int((len(actions) - start) * 0.6)
    aside = moving(sideways(generator), int(generator.integers(14, 22)), CLOSE)
    down, let_go = moving(-UP, 14, CLOSE), moving(STILL, 8, OPEN)
    return np.concatenate(
        [actions[:at], aside, actions[at:], down, let_go, moving(UP, 10, OPEN), moving(STILL, 15, OPEN)]
    )


def undone(actions: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Takes the object out of its place again."""
    hold, lift = moving(STILL, 10, CLOSE), moving(UP, 16, CLOSE)
    return np.concatenate([actions, hold, lift, moving(sideways(generator), 22, CLOSE), moving(STILL, 25, OPEN)])


def stalled(actions: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Stops at the object, or on the way with it, and never moves again."""
    start = closing_at(actions)
    share = generator.uniform(0.4, 0.65)
    if generator.integers(3) == 0:
        return np.concatenate([actions[:start], moving(STILL, 40, OPEN)])
    at = start + int((len(actions) - start) * share)
    return np.concatenate([actions[:at], moving(STILL, 40, CLOSE)])


def out_of_time(actions: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Ends on the way to the place, or to the object."""
    start = closing_at(actions)
    if generator.integers(4) == 0:
        return actions[: int(start * 0.55)]
    return actions[: start + int((len(actions) - start) * generator.uniform(0.4, 0.65))]


SPOILED: dict[FailureClass, Callable[[FloatArray, np.random.Generator], FloatArray]] = {
    FailureClass.NEVER_REACHED: never_reached,
    FailureClass.MISSED_GRASP: missed_grasp,
    FailureClass.DROPPED: dropped,
    FailureClass.WRONG_PLACE: wrong_place,
    FailureClass.UNDONE: undone,
    FailureClass.STALLED: stalled,
    FailureClass.OUT_OF_TIME: out_of_time,
}


class Judge:
    """Sees an episode, and judges it under several thresholds."""

    def __init__(self, control_hz: float) -> None:
        self._control_hz, self._scenes, self._closing = control_hz, [], []

    def see(self, sight: Sight) -> None:
        """Takes the step's scene."""
        self._scenes.append(sight.scene)
        if sight.action is not None:
            self._closing.append(bool(sight.action[6] > 0))

    def judged(self, limits: Thresholds | None = None) -> Judgement:
        """The judgement."""
        return judge(self._scenes, self._closing, self._control_hz, limits)


class Stand:
    """Runs actions in one process."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self._rollout = Rollout(no_policy, simulator_section(recording.config))
        self._settings = ReplaySettings(recording.env_settings(), Looks(has_scene=True))

    def seen(self, recorded: Recorded, actions: FloatArray) -> Judge:
        """What is to be judged of an episode with these actions."""
        judge_of_it = Judge(self.recording.env_spec.control_hz)
        self._rollout.replay(recorded.result.spec, actions, self._settings, judge_of_it.see)
        return judge_of_it

    def close(self) -> None:
        """Frees the simulators."""
        self._rollout.close()


def variants() -> list[tuple[str, Thresholds]]:
    """Each threshold halved and doubled, the others as they are."""
    found = []
    for field in dataclasses.fields(Thresholds):
        value = getattr(Thresholds(), field.name)
        for factor in (0.5, 2):
            other = max(1, round(value * factor)) if isinstance(value, int) else value * factor
            found.append(
                (f"{field.name} {value:g} -> {other:g}", dataclasses.replace(Thresholds(), **{field.name: other}))
            )
    return found


def made(
    stands: Sequence[Stand], per_class: int, ids: Sequence[str] | None = None
) -> Iterator[tuple[Stand, FailureClass, Recorded, FloatArray]]:
    """Spoiled episodes of every class, of the runs' successes in turn."""
    good = [
        (stand, each)
        for stand in stands
        for each in stand.recording.recorded(ids or list(stand.recording.records)).values()
        if each.result.outcome is Outcome.SUCCESS and _is_one_carry(each.actions.array())
    ]
    for number, (label, spoil) in enumerate(SPOILED.items()):
        for index in range(per_class):
            stand, recorded = good[index % len(good)]
            spec = recorded.result.spec
            generator = np.random.default_rng([number, index, spec.task_id, spec.init_state_id])
            yield stand, label, recorded, spoil(recorded.actions.array(), generator)


def _is_one_carry(actions: FloatArray) -> bool:
    """Whether an object is grasped once and carried."""
    closing = actions[:, 6] > 0
    starts = int(np.sum(np.diff(closing.astype(int)) == 1))
    return starts == 1 and len(actions) - closing_at(actions) >= LEAST_CARRY


def judged_row(seen: Judge, label: FailureClass, episode_id: str) -> dict[str, Any]:
    """What is kept of an episode: its making, its class, why, and the thresholds that change it."""
    judgement = seen.judged()
    result = str(judgement.failure or "success")
    changed = [name for name, limits in variants() if str(seen.judged(limits).failure or "success") != result]
    return {"episode": episode_id, "made": label, "judged": result, "why": judgement.why, "changed": changed}


def main() -> None:
    """Makes, judges, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("good", type=Path, nargs="*", help="runs of the oracle with actions")
    parser.add_argument("--episodes", nargs="+", help="of those runs, the ones that are spoiled (default: all)")
    parser.add_argument("--wrong-object", type=Path, help="a run in which the oracle was told of another object")
    parser.add_argument("--real", type=Path, help="a run with failures")
    parser.add_argument("--per-class", type=int, default=40)
    parser.add_argument(
        "--rows", type=Path, required=True, help="file that rows are added to; the table is of all in it"
    )
    told = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in gl_environment("osmesa").items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **gl_environment("osmesa")})
    jobs = (
        list(made([Stand(Recording(path)) for path in told.good], told.per_class, told.episodes)) if told.good else []
    )
    # A task's episodes one after the other: few simulators are built, and few at a time.
    jobs.sort(key=lambda job: (job[2].result.spec.suite, job[2].result.spec.task_id))
    if told.wrong_object:
        jobs += list(_wrong_objects(Stand(Recording(told.wrong_object))))
    with told.rows.open("a", encoding="utf-8") as file:
        for stand, label, recorded, actions in jobs:
            row = judged_row(stand.seen(recorded, actions), label, recorded.result.spec.episode_id)
            file.write(json.dumps(row) + "\n")
            file.flush()
    rows = [json.loads(line) for line in told.rows.read_text(encoding="utf-8").splitlines()]
    _print(rows)
    if told.real:
        _print_real(told.real)


def _wrong_objects(stand: Stand) -> Iterator[tuple[Stand, FailureClass, Recorded, FloatArray]]:
    records = stand.recording.records
    failures = [key for key, each in records.items() if each["outcome"] == Outcome.FAILURE]
    for each in stand.recording.recorded(failures).values():
        yield stand, FailureClass.WRONG_OBJECT, each, each.actions.array()


def _print(rows: Sequence[dict[str, Any]]) -> None:
    columns = [*map(str, FailureClass), "success"]
    print("| made as | " + " | ".join(columns) + " |")
    for label in dict.fromkeys(row["made"] for row in rows):
        found = Counter(row["judged"] for row in rows if row["made"] == label)
        print(f"| {label} | " + " | ".join(str(found[column] or "") for column in columns) + " |")
    print(f"{sum(row['made'] == row['judged'] for row in rows)} of {len(rows)} as made")
    changed = Counter(name for row in rows for name in row["changed"])
    for name, _ in variants():
        print(f"| {name} | {changed[name]} of {len(rows)} |")
    for row in rows:
        if row["made"] != row["judged"]:
            print(f"  {row['episode']}: made as {row['made']!r}, judged {row['judged']!r}: {row['why']}")


def _print_real(path: Path) -> None:
    recording = Recording(path)
    failures = [key for key, each in recording.records.items() if each["outcome"] == Outcome.FAILURE]
    stand = Stand(recording)
    judged = [stand.seen(each, each.actions.array()).judged() for each in recording.recorded(failures).values()]
    found = Counter(str(each.failure) for each in judged)
    print(f"{path}: {len(failures)} failures: " + ", ".join(f"{name} {count}" for name, count in found.most_common()))


if __name__ == "__main__":
    main()

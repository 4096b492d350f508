"""What the scripted expert took itself to be about, beside what the simulator's state says, at each step of a run.

    python benchmarks/oracle_phases.py runs/first_light --rows rows.jsonl
    python benchmarks/oracle_phases.py runs/first_light --episodes libero_object/3/0 --rows rows.jsonl

Runs recorded episodes of the expert again, in sync mode, and asks it once more where it was asked: which phase of which
goal it is in and will be in until the next answer, by its own plan and its own thresholds. Its answers must be what was
executed. Beside that, the stage of the object that it moves as docs/failures.md has it. Prints how often each phase met
each stage, and how many steps lie between a stage and the expert's turn to the phase that follows it. Adds a line per
episode to a file, so that it can be made in pieces. Needs no Ray and draws nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ray_eval.driver.recording import Recorded, Recording
from ray_eval.envs import make_env
from ray_eval.envs.gl import gl_environment
from ray_eval.interfaces import Env
from ray_eval.policies.oracle import Oracle
from ray_eval.policies.oracle.memory import Memory
from ray_eval.policies.oracle.plan import Place, goals_of
from ray_eval.rollout.replaying import Looks, Sight, looking, replayed
from ray_eval.scene import SceneReading
from ray_eval.sections import ObservationRecipe, OraclePolicy
from ray_eval.types import ENVIRONMENT_STATE, STATE, FloatArray, Observation
from ray_eval.watch.classes import Stage, judge

PHASES = ("above", "descend", "close", "leave", "lift", "carry", "enter", "lower", "open", "retreat")
"""Phases of an object's carry, in order."""
TURNS = {"lift": Stage.GRASPED, "carry": Stage.LIFTED, "retreat": Stage.PLACED}
"""Phases that the expert enters once it takes a stage to be reached."""


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What the expert is about at one step."""

    item: str
    """The object that it moves; empty where it moves none."""
    phase: str
    """Its phase."""
    attempt: int
    """How often it has begun its goal anew."""


class Watcher:
    """Asks the expert where an episode asked it, and keeps the scenes.

    Args:
        env: the task's.
        oracle: with the run's chunk length.
        actions: (T, 7) what was executed.
        replan_steps: control steps between two requests.
    """

    def __init__(self, env: Env, oracle: Oracle, actions: FloatArray, replan_steps: int) -> None:
        self._env, self._oracle, self._actions, self._replan_steps = env, oracle, actions, replan_steps
        self._state = b""
        self.scenes: list[SceneReading] = []
        self.closing: list[bool] = []
        self.told: list[Told] = []

    def see(self, sight: Sight) -> None:
        """Takes a step."""
        if sight.scene is None:
            raise AssertionError(sight)
        self.scenes.append(sight.scene)
        if sight.action is not None:
            self.closing.append(bool(sight.action[-1] > 0))
        if sight.step % self._replan_steps == 0:
            self._ask(sight)

    def _ask(self, sight: Sight) -> None:
        env = self._env
        seen = Observation(
            sight.observation,
            env.instruction,
            step=sight.step,
            environment_names=env.environment_names,
            policy_state=self._state,
        )
        (chunk,) = self._oracle.infer_batch([seen])
        executed = self._actions[sight.step : sight.step + self._replan_steps]
        answered = np.array([env.native_action(row) for row in chunk.actions[: len(executed)]])
        if not np.array_equal(answered.reshape(executed.shape), executed):
            raise AssertionError(f"step {sight.step}: another answer than was executed")
        self._state = chunk.policy_state
        memory = Memory.from_bytes(self._state)
        if memory.motion is None:
            raise AssertionError(memory)
        goal = goals_of(env.instruction, env.environment_names)[memory.goal]
        item = goal.item if isinstance(goal, Place) else ""
        for stage in memory.motion[: self._replan_steps, -1]:
            name = memory.stages[min(int(stage), len(memory.stages) - 1)].name
            self.told.append(Told(item, name, memory.attempt))

    def row(self, recorded: Recorded, control_hz: float) -> dict[str, Any]:
        """What is kept of the episode."""
        met: Counter[tuple[str, int]] = Counter()
        turns: list[tuple[str, int]] = []
        for item in {each.item for each in self.told} - {""}:
            stages = self._stages_of(item, control_hz)
            if stages is not None:
                pairs = zip(self.told, stages, strict=False)  # the last answer reached beyond the end
                met.update((each.phase, int(stage)) for each, stage in pairs if each.item == item)
                turns += self._turns(item, stages)
        return {
            "episode": recorded.result.spec.episode_id,
            "met": [[phase, stage, count] for (phase, stage), count in met.items()],
            "turns": turns,
        }

    def _stages_of(self, item: str, control_hz: float) -> list[Stage] | None:
        """An object's stage at each step; None where the goal has no condition about it, or several."""
        found = [index for index, each in enumerate(self.scenes[0].conjuncts) if each.item == item]
        if len(found) != 1:
            return None
        alone = [
            dataclasses.replace(
                scene,
                conjuncts=tuple(scene.conjuncts[index] for index in found),
                holds=tuple(scene.holds[index] for index in found),
                gaps_m=tuple(scene.gaps_m[index] for index in found),
            )
            for scene in self.scenes
        ]
        progress = judge(alone, self.closing, control_hz).progress
        return [Stage(round(share * Stage.PLACED)) for share in progress]

    def _turns(self, item: str, stages: Sequence[Stage]) -> Iterator[tuple[str, int]]:
        """For each turn of a first attempt: control steps from the stage to the expert's turn."""
        first = [step for step, each in enumerate(self.told) if each.item == item and not each.attempt]
        for phase, stage in TURNS.items():
            turn = next((step for step in first if self.told[step].phase == phase), None)
            reached = next((step for step, found in enumerate(stages) if found >= stage), None)
            if turn is not None and reached is not None:
                yield phase, turn - reached


def resolved_replan_steps(recording: Recording) -> int:
    """Control steps between two requests."""
    steps, chunk_len = recording.config.protocol.replan_steps, recording.config.policy.chunk_len  # type: ignore[union-attr]
    return min(steps, chunk_len) if isinstance(steps, int) else int(chunk_len)


def _task(recorded: Recorded) -> tuple[str, int]:
    return recorded.result.spec.suite, recorded.result.spec.task_id


def rows_of(recording: Recording, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row per episode, a task's one after the other."""
    spec = recording.env_spec
    settings = recording.env_settings(ObservationRecipe((STATE, ENVIRONMENT_STATE)))
    look = looking(Looks(has_observations=True, has_scene=True), spec.cameras, 0)
    episodes = recording.recorded(ids).values()
    section = recording.config.policy
    if not isinstance(section, OraclePolicy) or recording.config.execution.mode != "sync":
        raise SystemExit(f"{recording.path}: expected a run of the oracle in sync mode")
    oracle = Oracle(dataclasses.replace(section, images=False))
    replan_steps = resolved_replan_steps(recording)
    for (suite, task_id), group in itertools.groupby(episodes, key=_task):
        env = make_env(suite, task_id, settings)
        for recorded in group:
            actions = recorded.actions.array()
            watcher = Watcher(env, oracle, actions, replan_steps)
            retraced = replayed(env, recorded.result.spec, actions, watcher.see, look)
            if retraced.trajectory_sha256 != recorded.result.trajectory_sha256:
                raise AssertionError(f"{recorded.result.spec.episode_id}: another trajectory")
            yield watcher.row(recorded, spec.control_hz)
        env.close()


def main() -> None:
    """Runs, looks, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run of the expert on LIBERO, with actions")
    parser.add_argument("--episodes", nargs="+", help="of that run (default: all)")
    parser.add_argument(
        "--rows", type=Path, required=True, help="file that rows are added to; the table is of all in it"
    )
    asked = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in gl_environment("osmesa").items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **gl_environment("osmesa")})
    recording = Recording(asked.run)
    with asked.rows.open("a", encoding="utf-8") as file:
        for row in rows_of(recording, asked.episodes or list(recording.records)):
            file.write(json.dumps(row) + "\n")
            file.flush()
    _print([json.loads(line) for line in asked.rows.read_text(encoding="utf-8").splitlines()])


def _print(rows: Sequence[Mapping[str, Any]]) -> None:
    met: Counter[tuple[str, int]] = Counter()
    between: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        for phase, stage, count in row["met"]:
            met[phase, stage] += count
        for phase, steps in row["turns"]:
            between[phase].append(steps)
    print(f"{len(rows)} episodes\n| the expert's phase | {' | '.join(stage.name.lower() for stage in Stage)} |")
    for phase in PHASES:
        if any(met[phase, stage] for stage in Stage):
            print(f"| {phase} | {' | '.join(str(met[phase, stage] or '') for stage in Stage)} |")
    for phase, steps in between.items():
        low, middle, high = np.percentile(steps, [5, 50, 95])
        print(f"turn to {phase} after {TURNS[phase].name.lower()}: {len(steps)}, steps {low:g} / {middle:g} / {high:g}")


if __name__ == "__main__":
    main()

"""What the scripted expert was about, beside what the simulator's state says of it: its phase at each request.

    python benchmarks/oracle_phases.py runs/phases policy.chunk_len=1 suite=libero_object episodes_per_task=2
    python benchmarks/oracle_phases.py runs/late execution.mode=async execution.latency.steps=8 policy.chunk_len=32

Runs the expert, noting at every answer which phase of which goal it takes itself to be in: it judges that by its own
plan and its own thresholds. Then runs the recorded actions again and reads the stages and the class from the scenes.
Prints how often each phase met each stage of the object that it moves, how many steps lie between a stage and the
expert's turn to the phase that follows it, and in which phase the episodes of each class ended. Draws nothing.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

import ray_eval
from ray_eval.config import simulator_section
from ray_eval.driver.recording import Recorded, Recording
from ray_eval.driver.replay import no_policy
from ray_eval.envs.gl import gl_environment
from ray_eval.policies.oracle import Oracle
from ray_eval.policies.oracle.memory import Memory
from ray_eval.policies.oracle.plan import Place, goals_of
from ray_eval.rollout.replaying import Looks, ReplaySettings, Sight
from ray_eval.rollout.running import Rollout
from ray_eval.scene import SceneReading
from ray_eval.sections import OraclePolicy
from ray_eval.types import ActionChunk, EpisodeSpec, Observation
from ray_eval.watch.classes import Judgement, Stage, judge

PHASES = ("above", "descend", "close", "leave", "lift", "carry", "enter", "lower", "open", "retreat")
"""Phases of an object's carry, in order."""
TURNS = {"lift": Stage.GRASPED, "carry": Stage.LIFTED, "retreat": Stage.PLACED}
"""Phases that the expert enters when it holds a stage to be reached."""


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What the expert was about at one request."""

    item: str
    """The object that it moves; empty where it moves none."""
    phase: str
    """Its phase."""
    attempt: int
    """How often it has begun its goal anew."""


class NotingOracle(Oracle):
    """The expert, which writes down what it is about."""

    def __init__(self, section: OraclePolicy) -> None:
        super().__init__(section)
        self.told: dict[tuple[str, int, int, int], dict[int, Told]] = defaultdict(dict)

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """The expert's answers, noted."""
        chunks = super().infer_batch(observations)
        for seen, chunk in zip(observations, chunks, strict=True):
            memory = Memory.from_bytes(chunk.policy_state)
            goal = goals_of(seen.task, seen.environment_names)[memory.goal]
            item = goal.item if isinstance(goal, Place) else ""
            key = (seen.suite, seen.task_id, seen.init_state_id, seen.repeat)
            self.told[key][seen.step] = Told(item, memory.stages[memory.stage].name, memory.attempt)
        return chunks


class Seer:
    """Keeps the scenes of an episode."""

    def __init__(self) -> None:
        self.scenes: list[SceneReading] = []
        self.closing: list[bool] = []

    def see(self, sight: Sight) -> None:
        """Takes a step."""
        if sight.scene is None:
            raise AssertionError(sight)
        self.scenes.append(sight.scene)
        if sight.action is not None:
            self.closing.append(bool(sight.action[-1] > 0))

    def judged(self, control_hz: float) -> Judgement:
        """The episode's judgement."""
        return judge(self.scenes, self.closing, control_hz)

    def stages_of(self, item: str, control_hz: float) -> list[Stage] | None:
        """An object's stage at each step; None where no condition is about it, or several are."""
        (found, *others) = [index for index, each in enumerate(self.scenes[0].conjuncts) if each.item == item] or [None]
        if found is None or others:
            return None
        alone = [
            dataclasses.replace(
                scene,
                conjuncts=(scene.conjuncts[found],),
                holds=(scene.holds[found],),
                gaps_m=(scene.gaps_m[found],),
            )
            for scene in self.scenes
        ]
        progress = judge(alone, self.closing, control_hz).progress
        return [Stage(round(share * Stage.PLACED)) for share in progress]


def seen_again(recording: Recording) -> Iterator[tuple[Recorded, Seer]]:
    """Every episode of a run again, in this process."""
    rollout = Rollout(no_policy, simulator_section(recording.config))
    settings = ReplaySettings(recording.env_settings(), Looks(has_scene=True))
    for recorded in recording.recorded(list(recording.records)).values():
        seer = Seer()
        retraced = rollout.replay(recorded.result.spec, recorded.actions.array(), settings, seer.see)
        if retraced.trajectory_sha256 != recorded.result.trajectory_sha256:
            raise AssertionError(f"{recorded.result.spec.episode_id}: another trajectory")
        yield recorded, seer
    rollout.close()


def lags(told: Mapping[int, Told], stages: Sequence[Stage], item: str) -> Iterator[tuple[str, int]]:
    """For each turn of a first attempt: control steps from the stage to the expert's turn."""
    steps = [step for step, each in sorted(told.items()) if each.item == item and not each.attempt]
    for phase, stage in TURNS.items():
        turn = next((step for step in steps if told[step].phase == phase), None)
        reached = next((step for step, found in enumerate(stages) if found >= stage), None)
        if turn is not None and reached is not None:
            yield phase, turn - reached


def main() -> None:
    """Runs, looks, prints."""
    if any(os.environ.get(name) != value for name, value in gl_environment("osmesa").items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **gl_environment("osmesa")})
    out, *words = sys.argv[1:]
    chunk_len = next((int(word.partition("=")[2]) for word in words if word.startswith("policy.chunk_len=")), 1)
    oracle = NotingOracle(OraclePolicy(chunk_len=chunk_len, images=False))
    words = [word for word in words if not word.startswith("policy.")]
    ray_eval.evaluate(overrides=[*words, f"out={out}"], policy=oracle, progress=True, keep=False)
    recording = Recording(Path(out))
    met: dict[str, Counter[Stage]] = defaultdict(Counter)
    between: dict[str, list[int]] = defaultdict(list)
    ended: dict[str, Counter[str]] = defaultdict(Counter)
    for recorded, seer in seen_again(recording):
        spec, hz = recorded.result.spec, recording.env_spec.control_hz
        told = oracle.told[_key(spec)]
        for item in {each.item for each in told.values()} - {""}:
            stages = seer.stages_of(item, hz)
            if stages is None:
                continue
            for step, each in told.items():
                if each.item == item and step < len(stages):
                    met[each.phase][stages[step]] += 1
            for phase, lag in lags(told, stages, item):
                between[phase].append(lag)
        last = told[max(told)]
        again = " again" if last.attempt else ""
        ended[str(seer.judged(hz).failure or "success")][f"{last.phase}{again}"] += 1
    _print(met, between, ended)


def _key(spec: EpisodeSpec) -> tuple[str, int, int, int]:
    return spec.suite, spec.task_id, spec.init_state_id, spec.repeat


def _print(
    met: Mapping[str, Counter[Stage]], between: Mapping[str, Sequence[int]], ended: Mapping[str, Counter[str]]
) -> None:
    names = [stage.name.lower() for stage in Stage]
    print("| the expert's phase | " + " | ".join(names) + " |")
    for phase in PHASES:
        if met[phase]:
            print(f"| {phase} | " + " | ".join(str(met[phase][stage] or "") for stage in Stage) + " |")
    for phase, steps in between.items():
        low, middle, high = np.percentile(steps, [5, 50, 95])
        print(f"turn to {phase} after {TURNS[phase].name.lower()}: {len(steps)}, steps {low:g} / {middle:g} / {high:g}")
    for name, phases in ended.items():
        print(f"{name}: " + ", ".join(f"{phase} {count}" for phase, count in phases.most_common()))


if __name__ == "__main__":
    main()

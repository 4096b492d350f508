"""How much of a policy's forward async hides: sync and async, with a forward of 0 and of 100 ms, one worker.

python benchmarks/overlap.py OUT [--suite libero_object] [--tasks [0]] [--forward-ms 100] [--images]

A request that is d steps late can hide no more than what d simulated steps take, and those are far shorter than the
50 ms that they stand for. So async is measured at the d that matches the forward on a robot (100 ms: 2 steps), and at
the d whose simulated steps fill the forward, which is found first. Every mode asks at the same steps; `noop` never
succeeds, so all have the same steps as well, and each episode is compared with itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ray_eval.config import load_config
from ray_eval.driver.session import Session, open_session
from ray_eval.driver.sweep import Point, SweepPlan, create_sweep, open_part
from ray_eval.envs.libero.simulator import CONTROL_HZ
from ray_eval.report.ledger import read_ledger
from ray_eval.report.progress import ProgressView
from ray_eval.rollout.latency import steps_of_ms

CHUNK_LEN, REPLAN_STEPS = 128, 64
"""Rows of a chunk, and steps from one request to the next, in sync and in async at threshold 0.5 alike."""
SYNC = ("execution.mode=sync", f"protocol.replan_steps={REPLAN_STEPS}")


def latency(steps: int) -> tuple[str, ...]:
    return ("execution.mode=async", "execution.chunk_size_threshold=0.5", f"execution.latency.steps={steps}")


@dataclass(frozen=True)
class Timed:
    """What one mode's episodes took."""

    seconds: dict[str, float]
    """By episode."""
    requests: int
    """Of all episodes."""


class Bench:
    """One session with one worker, in which modes are timed one after the other."""

    def __init__(self, out: Path, words: list[str], session: Session) -> None:
        self._out = out
        self._words = words
        self._session = session

    def timed(self, name: str, forward_ms: float, modes: dict[str, tuple[str, ...]]) -> dict[str, Timed]:
        """Every mode's episodes with a forward of that length; a task's episodes of all modes in turn."""
        pause = f"serving.slowdown_ms=[{forward_ms:g},{forward_ms:g}]"
        points = tuple(
            Point(f"{name}/{index}", {"mode": mode}, load_config(None, [*self._words, *words, pause]))
            for index, (mode, words) in enumerate(modes.items())
        )
        create_sweep(SweepPlan({}, points), self._out, exist_ok=True)
        with contextlib.ExitStack() as stack:
            parts = [open_part(stack, self._out, point) for point in points]
            if self._session.execute(parts):
                raise SystemExit(f"overlap: expected {name} to be run to its end, got an interruption; start again")
        return {point.values["mode"]: read_timed(self._out / point.folder) for point in points}


def read_timed(folder: Path) -> Timed:
    records = read_ledger(folder).episodes
    others = {key: record["outcome"] for key, record in records.items() if record["outcome"] != "failure"}
    if others:
        raise SystemExit(f"overlap: expected failures alone, since noop does nothing, got {others}; see {folder}")
    requests = sum(record["requests"] for record in records.values())
    return Timed({key: record["wall_s"] for key, record in records.items()}, requests)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--suite", default="libero_object")
    parser.add_argument("--tasks", default="[0]")
    parser.add_argument("--forward-ms", type=float, default=100.0)
    parser.add_argument("--images", action="store_true", help="the policy asks for both images, rendered at requests")
    parser.add_argument("--max-steps", type=int, default=256)
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    words = [
        f"suite={asked.suite}",
        f"tasks={asked.tasks}",
        f"episodes_per_task={asked.episodes}",
        "policy=noop",
        f"policy.chunk_len={CHUNK_LEN}",
        f"policy.images={str(asked.images).lower()}",
        "workers=1",
        "ray.dashboard=false",
    ]
    with open_session(load_config(None, words), 1, ProgressView(Console(quiet=True))) as session:
        bench = Bench(asked.out, words, session)
        # Episodes of one request each, so that what a long one takes more is its steps'.
        lengths = {"warm-up": 64, "short": 4, "long": 64}
        alone = bench.timed("alone", 0.0, {name: (*SYNC, f"protocol.max_steps={n}") for name, n in lengths.items()})
        long, short = alone["long"].seconds, alone["short"].seconds
        step_ms = 1000 * statistics.median(long[i] - short[i] for i in long) / (lengths["long"] - lengths["short"])
        matching = steps_of_ms(asked.forward_ms, CONTROL_HZ)
        filling = min(math.ceil(asked.forward_ms / step_ms), REPLAN_STEPS)
        whole = f"protocol.max_steps={asked.max_steps}"
        steps = {"sync": 0} | {f"async, {d} steps": d for d in sorted({matching, filling})}
        modes = {mode: (*(SYNC if mode == "sync" else latency(d)), whole) for mode, d in steps.items()}
        rounds = [
            {ms: bench.timed(f"round-{index}-{ms:g}", ms, modes) for ms in (0.0, asked.forward_ms)}
            for index in range(asked.rounds)
        ]
    print(f"a simulated step takes {step_ms:.2f} ms, a forward {asked.forward_ms:g} ms")
    rows = [row(mode, rounds, asked.forward_ms, d * step_ms) for mode, d in steps.items()]
    for found in rows:
        print(
            f"{found['mode']:16} {found['episodes_per_hour']:6.0f} episodes/h, "
            f"{found['episodes_per_hour'] / rows[0]['episodes_per_hour']:.2f} of sync; "
            f"hidden {100 * found['hidden']:5.1f} % of the forwards, at most {100 * found['most']:5.1f} % can be"
        )
    (asked.out / "overlap.json").write_text(json.dumps({"step_ms": step_ms, "modes": rows}, indent=2) + "\n")


def row(mode: str, rounds: list[dict[float, dict[str, Timed]]], forward_ms: float, late_ms: float) -> dict[str, Any]:
    """The figures of a mode: medians over all episodes of all rounds, of what the forward adds to an episode.

    `late_ms` is what the steps take by which its requests are late, 0 in sync.
    """
    episodes = [(each[0.0][mode], each[forward_ms][mode], i) for each in rounds for i in each[0.0][mode].seconds]
    added_s = statistics.median(slow.seconds[i] - free.seconds[i] for free, slow, i in episodes)
    slow_s = statistics.median(slow.seconds[i] for _, slow, i in episodes)
    first = episodes[0][0]
    forwards_s = first.requests / len(first.seconds) * forward_ms / 1000
    return {
        "mode": mode,
        "episodes_per_hour": 3600 / slow_s,
        "hidden": 1 - added_s / forwards_s,
        "most": min(1.0, late_ms / forward_ms),
    }


if __name__ == "__main__":
    main()

"""How much of a policy's forward async hides: sync and async, with a forward of 0 and of 100 ms, one worker.

python benchmarks/overlap.py OUT [--suite libero_object] [--tasks [0,9]] [--forward-ms 100] [--latency-steps 2]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import ray

import ray_eval
from ray_eval.report.ledger import read_ledger


def measured(out: Path, forward_ms: float, *words: str) -> tuple[float, int, int]:
    """Seconds inside episodes, requests and episodes; builds and start-up left out."""
    pause = f"serving.slowdown_ms=[{forward_ms:g},{forward_ms:g}]"
    evaluation = ray_eval.evaluate(None, [*words, pause, "workers=1", "ray.dashboard=false", f"out={out}"])
    records = read_ledger(out).episodes.values()
    assert evaluation.is_complete
    return sum(record["wall_s"] for record in records), sum(record["requests"] for record in records), len(records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--suite", default="libero_object")
    parser.add_argument("--tasks", default="[0,9]")
    parser.add_argument("--forward-ms", type=float, default=100.0)
    parser.add_argument("--latency-steps", type=int, nargs="*", default=[2, 8])
    parser.add_argument("--max-steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    base = (f"suite={asked.suite}", f"tasks={asked.tasks}", "episodes_per_task=2", "policy=noop", "policy.images=false")
    common = (*base, f"protocol.max_steps={asked.max_steps}")
    # noop never succeeds, so every condition simulates the same number of steps.
    modes = {"sync": ("protocol.replan_steps=5",)}
    for steps in asked.latency_steps:
        queue = ("execution.mode=async", "execution.chunk_size_threshold=0.5", f"execution.latency.steps={steps}")
        modes[f"async, {steps} steps"] = queue
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    found: dict[str, dict[float, list[tuple[float, int, int]]]] = {
        name: {0.0: [], asked.forward_ms: []} for name in modes
    }
    for round_index in range(asked.rounds):
        for name, words in modes.items():
            for forward_ms in found[name]:
                out = asked.out / f"{name.replace(', ', '-').replace(' ', '-')}-{forward_ms:g}-{round_index}"
                found[name][forward_ms].append(measured(out, forward_ms, *common, *words))
    print(f"{time.strftime('%Y-%m-%d')}, median of {asked.rounds} rounds, {asked.forward_ms:g} ms per forward")
    rows = []
    for name, times in found.items():
        free_s, slow_s = (statistics.median(seconds for seconds, _, _ in times[ms]) for ms in times)
        _, requests, episodes = times[0.0][0]
        forwards_s = requests * asked.forward_ms / 1000
        hidden = 1 - (slow_s - free_s) / forwards_s
        episodes_per_hour = 3600 * episodes / slow_s
        rows.append({"mode": name, "free_s": free_s, "slow_s": slow_s, "requests": requests, "hidden": hidden})
        print(
            f"{name:16} {free_s:7.2f} s without, {slow_s:7.2f} s with it, {requests:4d} requests "
            f"({forwards_s:.1f} s of forwards), {episodes_per_hour:6.0f} episodes/h, hidden {100 * hidden:5.1f} %"
        )
    (asked.out / "overlap.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""The packaged experts in Meta-World's own loop, beside a run of ray-eval; runs in the simulator's own interpreter:

    ray-eval run suite=metaworld_mt50 policy=expert simulator.python=ITS_PYTHON out=OUT
    ITS_PYTHON benchmarks/metaworld_experts.py OUT [OUT ...]

Every episode of the runs is played again by the package alone: `MT1(task, seed)`, a new environment, `set_task`,
`reset`, and `step` until success or the budget. Prints k/n of both per task; exit code 0: the verdict and the steps of
each episode are the same; 1: some are not.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(folders: Sequence[str]) -> int:
    """Compares finished runs; the exit code."""
    warnings.simplefilter("ignore")
    ours = dict(found for folder in folders for found in _finished(Path(folder)))
    tasks: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    differing = 0
    for (task, goal, seed, budget), (is_success, steps) in ours.items():
        theirs = _played(task, goal, seed, budget)
        tasks[task].append((is_success, theirs[0]))
        if theirs != (is_success, steps):
            differing += 1
            print(f"{task} goal {goal}: ray-eval {is_success} after {steps} steps, the package {theirs}")
    for task, pairs in tasks.items():
        ours_count, theirs_count = (sum(pair[side] for pair in pairs) for side in (0, 1))
        print(f"{task:30} ray-eval {ours_count}/{len(pairs)}   package {theirs_count}/{len(pairs)}")
    totals = [sum(pair[side] for pairs in tasks.values() for pair in pairs) for side in (0, 1)]
    print(f"all: ray-eval {totals[0]}/{len(ours)}, the package {totals[1]}/{len(ours)}, {differing} episodes differ")
    return 1 if differing or not ours else 0


def _finished(folder: Path) -> Any:
    """Task, goal, seed and budget of each finished episode, with its verdict and its steps."""
    for line in (folder / "episodes.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record.get("outcome") in ("success", "failure"):
            key = (record["task"], record["init_state_id"], record["env_seed"], record["max_steps"])
            yield key, (record["outcome"] == "success", record["steps"])


_benchmarks: dict[tuple[str, int], Any] = {}


def _played(task: str, goal: int, seed: int, budget: int) -> tuple[bool, int]:
    """Whether the expert succeeds in the package's own loop, and after how many steps it was over."""
    import metaworld
    from metaworld.policies import ENV_POLICY_MAP

    if (task, seed) not in _benchmarks:
        _benchmarks[task, seed] = metaworld.MT1(task, seed=seed)
    benchmark, expert = _benchmarks[task, seed], ENV_POLICY_MAP[task]()
    env = benchmark.train_classes[task]()
    env.set_task(benchmark.train_tasks[goal])
    observation, _ = env.reset()
    is_success, steps = False, 0
    while not is_success and steps < budget:
        observation, _, _, _, info = env.step(expert.get_action(observation))
        is_success, steps = bool(info["success"]), steps + 1
    env.close()
    return is_success, steps


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

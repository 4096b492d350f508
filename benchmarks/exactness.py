"""LIBERO through ray-eval against plain LIBERO, bit for bit. Anyone can repeat it:

    python benchmarks/exactness.py                                      # 130 tasks x 2 init states: some hours
    python benchmarks/exactness.py --suites libero_goal --tasks 0 5     # a part
    python benchmarks/exactness.py --references DIR --images-every 10   # records once, compares whenever you like

Plain LIBERO plays each episode in a fresh environment, in a process that never builds one of ours; what it gave is
kept in DIR. Exit code 0: all equal; 1: some not. Works with any MuJoCo that the Python which runs it has.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from ray_eval.bench.exactness import (
    SUITES,
    Case,
    Comparison,
    Reference,
    Script,
    cases,
    compare,
    machine_canary,
    record,
    reference_path,
)
from ray_eval.envs.gl import choose_backend, gl_environment
from ray_eval.interfaces import Env
from ray_eval.rollout.running import installed_versions

EPISODES_PER_PROCESS = 8
"""After so many a process is replaced by a new one: LIBERO does not give back all of its memory."""

_last_env: Env | None = None


def record_into(path: Path, case: Case, script: Script) -> None:
    """In a recording process: plays the case in plain LIBERO and keeps what it gave, unless that is there."""
    if path.exists() and Reference.load(path).serves(case, script, machine_canary()):
        return
    record(case, script).save(path)


def compare_with(path: Path, case: Case, script: Script) -> Comparison:
    """In a comparing process: runs the case in a new env of ours, beside the env of the case before."""
    global _last_env  # noqa: PLW0603 -- lives as long as the process, as a worker's envs do
    comparison, env = compare(case, Reference.load(path), script, _last_env)
    if _last_env is not None:
        _last_env.close()
    _last_env = env
    return comparison


class Process:
    """One process at a time that runs functions, replaced every few episodes and when it dies."""

    def __init__(self) -> None:
        self._pool = self._start()

    def run(self, function: Callable[..., Any], *values: Any) -> Any:
        try:
            return self._pool.submit(function, *values).result()
        except BrokenProcessPool:
            self._pool = self._start()
            raise

    def close(self) -> None:
        self._pool.shutdown()

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=EPISODES_PER_PROCESS)


class Pair:
    """A recording process and a comparing one, of which one works at a time."""

    def __init__(self, folder: Path, script: Script, *, is_recording_only: bool) -> None:
        self._folder, self._script, self._is_recording_only = folder, script, is_recording_only
        self._recorder, self._comparer = Process(), Process()

    def run(self, case: Case) -> Comparison:
        try:
            path = reference_path(self._folder, case)
            self._recorder.run(record_into, path, case, self._script)
            if self._is_recording_only:
                return Comparison(case, (), 0, 0, has_success=bool(Reference.load(path).is_success.any()))
            return self._comparer.run(compare_with, path, case, self._script)
        except Exception as error:  # noqa: BLE001 -- a case that breaks is not equal, and the others go on
            return Comparison(case, (), 0, 0, has_success=False, error=f"{type(error).__name__}: {error}")

    def close(self) -> None:
        self._recorder.close()
        self._comparer.close()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", nargs="+", default=list(SUITES), help="default: LIBERO's five")
    parser.add_argument("--tasks", nargs="+", type=int, help="task indices in each suite; default: all")
    parser.add_argument("--init-states", nargs="+", type=int, default=[0, 1], help="default: 0 1")
    parser.add_argument("--actions", type=int, default=60, help="random actions of an episode (default: 60)")
    parser.add_argument("--settle-steps", type=int, default=10)
    parser.add_argument("--images-every", type=int, default=1, help="compare images at every N-th step (default: 1)")
    parser.add_argument("--processes", type=int, default=1, help="cases side by side, 2 to 4 GB of memory each")
    parser.add_argument("--references", type=Path, help="folder of recorded references; what lacks is recorded there")
    parser.add_argument("--record-only", action="store_true", help="only record what lacks in --references")
    parser.add_argument("--gl", choices=("auto", "egl", "osmesa"), default="auto")
    parser.add_argument("--json", type=Path, help="write the results there, rewritten after every case")
    return parser.parse_args()


def main() -> int:
    wanted = arguments()
    os.environ.update(gl_environment(choose_backend(wanted.gl).backend))
    script = Script(wanted.actions, wanted.settle_steps, wanted.images_every)
    chosen = list(cases(wanted.suites, wanted.tasks, wanted.init_states))
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder = wanted.references or Path(scratch)
        rows = []
        for row in run_all(
            chosen, wanted.processes, lambda: Pair(folder, script, is_recording_only=wanted.record_only)
        ):
            rows.append(row)
            print(f"[{len(rows)}/{len(chosen)}, {time.monotonic() - started:.0f} s] {line(row)}", flush=True)
            if wanted.json:
                wanted.json.write_text(json.dumps(report(rows, len(chosen), script), indent=1) + "\n")
    return summarise(rows, len(chosen), is_recording_only=wanted.record_only)


def run_all(chosen: Sequence[Case], process_count: int, make_pair: Callable[[], Pair]) -> Iterator[Comparison]:
    """Yields each case's comparison as it comes."""
    pairs = [make_pair() for _ in range(process_count)]
    try:
        with ThreadPoolExecutor(process_count) as threads:
            for row in as_completed([threads.submit(run_one, pairs, case) for case in chosen]):
                yield row.result()
    finally:
        for pair in pairs:
            pair.close()


def run_one(pairs: list[Pair], case: Case) -> Comparison:
    pair = pairs.pop()
    try:
        return pair.run(case)
    finally:
        pairs.append(pair)


def line(row: Comparison) -> str:
    if row.error:
        return f"{row.case}: ERROR {row.error}"
    if row.differences:
        return f"{row.case}: " + "; ".join(f"{d.env} env, step {d.step}, {d.what}: {d.detail}" for d in row.differences)
    if row.step_count == 0:
        return f"{row.case}: recorded"
    return f"{row.case}: bit-equal, {row.step_count} steps, {row.image_count} images"


def report(rows: Sequence[Comparison], planned_count: int, script: Script) -> dict[str, Any]:
    return {
        "versions": installed_versions(),
        "gl": os.environ["MUJOCO_GL"],
        "script": dataclasses.asdict(script),
        "planned": planned_count,
        "compared": len(rows),
        "equal": sum(row.is_equal for row in rows),
        "cases": [dataclasses.asdict(row) for row in rows],
    }


def summarise(rows: Sequence[Comparison], planned_count: int, *, is_recording_only: bool) -> int:
    broken = [row for row in rows if not row.is_equal]
    print(f"\n{'suite':<16} {'tasks':>5} {'cases':>5} {'equal':>5}")
    for suite in dict.fromkeys(row.case.suite for row in rows):
        own = [row for row in rows if row.case.suite == suite]
        tasks = {row.case.task_id for row in own}
        print(f"{suite:<16} {len(tasks):>5} {len(own):>5} {sum(row.is_equal for row in own):>5}")
    for row in broken:
        print(line(row))
    if is_recording_only:
        print(f"recorded {len(rows) - len(broken)} of {planned_count}")
    else:
        steps, images = sum(row.step_count for row in rows), sum(row.image_count for row in rows)
        reached = sum(row.has_success for row in rows)
        print(f"compared: {steps} steps, {images} images; the goal was reached in {reached} cases")
        print(f"bit-equal {len(rows) - len(broken)} of {planned_count}")
    return 1 if broken or len(rows) < planned_count else 0


if __name__ == "__main__":
    sys.exit(main())

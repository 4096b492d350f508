"""`bench build`: a task's environment in a new process, from the model cache and without it.

`python -m ray_eval.bench.build SUITE TASK_ID HOW` is that process; it prints the seconds. The imports and Numba's
code are loaded before the clock starts, in every variant.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from ray_eval.bench.rows import Row, interleaved, timed
from ray_eval.bench.tasks import ENV_SEED, BenchTask
from ray_eval.envs import make_env
from ray_eval.envs.libero.canary import run_canary
from ray_eval.envs.libero.reference import load_libero
from ray_eval.errors import SetupError

HOWS: Final = ("cached", "uncached", "plain")
"""From the model cache; compiled; plain LIBERO's, with both cameras."""


def bench_build(tasks: Sequence[BenchTask], repeats: int) -> list[Row]:
    """Construction and first reset, nothing settled and nothing drawn by ours."""
    return [row for task in tasks for row in _rows(task, repeats)]


def _rows(task: BenchTask, repeats: int) -> list[Row]:
    measured = {how: lambda how=how: _in_new_process(task, how) for how in HOWS}
    # The warm-up fills the cache.
    found = {name: sorted(values)[len(values) // 2] for name, values in interleaved(measured, repeats).items()}
    return [
        Row(str(task), "build from the cache", found["cached"], "s", repeats, "build without", found["uncached"]),
        Row(str(task), "build from the cache", found["cached"], "s", repeats, "LIBERO's", found["plain"]),
        Row(str(task), "build without", found["uncached"], "s", repeats, "LIBERO's", found["plain"]),
    ]


def _in_new_process(task: BenchTask, how: str) -> float:
    command = [sys.executable, "-m", __spec__.name, task.suite, str(task.task_id), how]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"build of {task}, {how}: expected its time, got {done.stderr.strip()[-500:]}")
    return float(done.stdout.splitlines()[-1])


def _build(task: BenchTask, how: str) -> None:
    if how == "plain":
        task.plain().reset(ENV_SEED, task.init_state())
        return
    settings = task.settings()
    if how == "uncached":
        settings = dataclasses.replace(settings, model_cache_bytes=0)
    make_env(task.suite, task.task_id, settings).reset(task.spec())


def _main(suite: str, task_id: str, how: str) -> None:
    load_libero()
    run_canary(has_pixels=False)
    task = BenchTask(suite, int(task_id))
    task.init_state()
    print(timed(lambda: _build(task, how)), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])

"""`bench memory`: what a worker's process holds after an episode with images of each of several tasks."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Sequence

from ray_eval.bench.rows import Row
from ray_eval.bench.tasks import BenchTask
from ray_eval.envs import make_env
from ray_eval.rollout.built_envs import BuiltEnvs, resident_bytes
from ray_eval.types import IMAGE, STATE, WRIST_IMAGE

STEPS = 10
"""Steps of each episode, both cameras drawn after the last."""


def bench_memory(tasks: Sequence[BenchTask], budget_bytes: int) -> list[Row]:
    """Resident memory, GB, with envs kept within the budget as a worker keeps them."""
    envs = BuiltEnvs(make_env)
    found = [("before the first", resident_bytes(), 0)]
    with contextlib.closing(envs):
        for task in tasks:
            env = envs.env_of(task.suite, task.task_id, task.settings((IMAGE, WRIST_IMAGE, STATE)), budget_bytes)
            env.reset(task.spec())
            for action in task.actions(STEPS):
                env.step(action)
            env.observe()
            found.append((str(task), resident_bytes(), len(envs)))
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return [
        *(_row(on, f"resident, {count} envs", size, budget_bytes) for on, size, count in found),
        _row("the whole time", "resident at most", peak_bytes, budget_bytes),
    ]


def _row(subject: str, what: str, size_bytes: int, budget_bytes: int) -> Row:
    return Row(subject, what, size_bytes / 1e9, "GB", 1, "limits.worker_memory_gb", budget_bytes / 1e9)

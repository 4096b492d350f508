"""`bench step`, `reset` and `render` of simulators other than LIBERO: what each costs, with nothing beside it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Literal

from ray_eval.bench.rows import Row, median_ms, timed
from ray_eval.bench.tasks import BenchTask
from ray_eval.envs.canary import fixed_actions
from ray_eval.envs.registry import simulator_for
from ray_eval.interfaces import Env
from ray_eval.sections import EnvSettings, ImageRecipe, ObservationRecipe, SimulatorSection
from ray_eval.types import EnvSpec, is_image

Part = Literal["step", "reset", "render"]


def bench_other(part: Part, tasks: Sequence[BenchTask], repeats: int) -> list[Row]:
    """One part of an episode for each task, in the simulator's default settings and cameras' own sizes.

    Raises:
        ConfigError: a suite or a task is unknown.
        SetupError: the simulator is not installed here.
    """
    return [row for task in tasks for row in _rows(part, task, repeats)]


def is_other(task: BenchTask) -> bool:
    """Whether a task is not LIBERO's, which is measured beside plain LIBERO."""
    return simulator_for(SimulatorSection(), task.suite).name not in ("libero", "fake")


def _rows(part: Part, task: BenchTask, repeats: int) -> list[Row]:
    simulator = simulator_for(SimulatorSection(), task.suite)
    simulator.check()
    spec = simulator.spec(task.suite, task.task_id)
    cameras = tuple(camera.key for camera in spec.cameras if camera.is_usual) if part == "render" else ()
    recipe = ObservationRecipe(cameras, images=ImageRecipe(None, image_size_px=None))
    with contextlib.closing(simulator.make_env(task.suite, task.task_id, EnvSettings(recipe))) as env:
        env.reset(task.spec())
        if part == "reset":
            durations = [timed(lambda: env.reset(task.spec())) for _ in range(repeats)]
            return [Row(str(task), "reset", median_ms(durations), "ms", repeats)]
        steps, images = _played(env, spec, task, repeats)
    if part == "step":
        return [Row(str(task), "control step", median_ms(steps), "ms", repeats)]
    what = ", ".join(key.rpartition(".")[2] for key in cameras if is_image(key))
    return [Row(str(task), f"images of {what}", median_ms(images), "ms", repeats)]


def _played(env: Env, spec: EnvSpec, task: BenchTask, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of each step, and of the observation after it; begun anew where the simulator ends or its budget does."""
    steps: list[float] = []
    images: list[float] = []
    budget, played = spec.most_steps or repeats, 0
    for action in fixed_actions(spec.action, repeats):
        started = time.perf_counter()
        result = env.step(action)
        steps.append(time.perf_counter() - started)
        images.append(timed(env.observe))
        played += 1
        if result.is_success or result.is_over or played == budget:
            env.reset(task.spec())
            played = 0
    return steps, images

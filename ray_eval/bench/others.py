"""Benches of simulators other than LIBERO: which one a task's words mean, and what a step, a reset or an image costs.

With `simulator.python` the measuring is done in that interpreter: `python -m ray_eval.bench.others JSON`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Literal

from ray_eval.bench.rows import Row, median_ms, timed
from ray_eval.bench.tasks import BenchTask
from ray_eval.config import load_config, simulator_section
from ray_eval.envs.canary import fixed_actions
from ray_eval.envs.registry import simulator_for
from ray_eval.errors import SetupError
from ray_eval.interfaces import Env
from ray_eval.interpreters import check_interpreter, environment
from ray_eval.rollout.hosted import KEY, NEEDED
from ray_eval.scratch import scratch_folder
from ray_eval.sections import EnvSettings, ImageRecipe, ObservationRecipe, SimulatorSection
from ray_eval.types import EnvSpec, EpisodeSpec, is_image

Part = Literal["step", "reset", "render"]


def section_of(task: BenchTask, words: Sequence[str]) -> SimulatorSection:
    """The simulator of a task, with what the command line says of it.

    Raises:
        ConfigError: a word is no key of it.
    """
    return simulator_section(load_config(None, ["policy=noop", f"suite={task.suite}", *words]))


def is_other(task: BenchTask) -> bool:
    """Whether a task is not LIBERO's, which is measured beside plain LIBERO."""
    return simulator_for(SimulatorSection(), task.suite).name not in ("libero", "fake")


def bench_other(part: Part, tasks: Sequence[BenchTask], repeats: int, words: Sequence[str] = ()) -> list[Row]:
    """One part of an episode for each task, with the cameras' own sizes.

    Args:
        part: What is measured.
        tasks: The tasks, of any simulators but LIBERO.
        repeats: How often.
        words: `simulator.key=value`.

    Raises:
        ConfigError: a suite, a task or a word is unknown.
        SetupError: the simulator is not installed here, or in the interpreter that is named.
    """
    rows = []
    for task in tasks:
        section = section_of(task, words)
        rows += _rows(part, task, repeats, section) if section.python is None else _there(part, task, repeats, words)
    return rows


def _there(part: Part, task: BenchTask, repeats: int, words: Sequence[str]) -> list[Row]:
    python = str(section_of(task, words).python)
    check_interpreter(python, KEY, NEEDED)
    asked = json.dumps([part, task.suite, task.task_id, repeats, list(words)])
    with scratch_folder() as scratch:
        command = [python, "-P", "-m", "ray_eval.bench.others", asked]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(scratch))
    if done.returncode:
        said = next(reversed(done.stderr.strip().splitlines()), "no word")
        raise SetupError(f"{KEY}={python}: expected a measurement there, got {said}")
    return [Row(**row) for row in json.loads(done.stdout.splitlines()[-1])]


def _rows(part: Part, task: BenchTask, repeats: int, section: SimulatorSection) -> list[Row]:
    simulator = simulator_for(section)
    simulator.check()
    spec = simulator.spec(task.suite, task.task_id)
    cameras = tuple(camera.key for camera in spec.cameras if camera.is_usual) if part == "render" else ()
    recipe = ObservationRecipe(cameras, images=ImageRecipe(None, image_size_px=None))
    with contextlib.closing(simulator.make_env(task.suite, task.task_id, EnvSettings(recipe, section))) as env:
        episode = task.spec(max_steps=spec.most_steps or repeats)
        env.reset(episode)
        if part == "reset":
            durations = [timed(lambda: env.reset(episode)) for _ in range(repeats)]
            return [Row(str(task), "reset", median_ms(durations), "ms", repeats)]
        steps, images = _played(env, spec, episode, repeats)
    if part == "step":
        return [Row(str(task), "control step", median_ms(steps), "ms", repeats)]
    what = ", ".join(key.rpartition(".")[2] for key in cameras if is_image(key))
    return [Row(str(task), f"images of {what}", median_ms(images), "ms", repeats)]


def _played(env: Env, spec: EnvSpec, episode: EpisodeSpec, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of each step, and of the observation after it; begun anew where the simulator ends or its budget does."""
    steps: list[float] = []
    images: list[float] = []
    played = 0
    for action in fixed_actions(spec.action, repeats):
        started = time.perf_counter()
        result = env.step(action)
        steps.append(time.perf_counter() - started)
        images.append(timed(env.observe))
        played += 1
        if result.is_success or result.is_over or played == episode.max_steps:
            env.reset(episode)
            played = 0
    return steps, images


def _main(asked: str) -> None:
    part, suite, task_id, repeats, words = json.loads(asked)
    task = BenchTask(suite, task_id)
    section = dataclasses.replace(section_of(task, words), python=None)
    print(json.dumps([dataclasses.asdict(row) for row in _rows(part, task, repeats, section)]))


if __name__ == "__main__":
    _main(sys.argv[1])

"""`bench step`, `reset` and `render`: our env and plain LIBERO's, in one process, in turn."""

from __future__ import annotations

import contextlib
import itertools
import statistics
from collections.abc import Sequence
from typing import Final

from ray_eval.bench.rows import Row, interleaved, median_ms, timed
from ray_eval.bench.tasks import ENV_SEED, BenchTask
from ray_eval.envs.libero.env import CAMERAS, LiberoEnv
from ray_eval.types import IMAGE, WRIST_IMAGE

WARMUPS: Final = 10
"""Untimed rounds of `bench step` at first."""
EPISODE_STEPS: Final = 280
"""Control steps of an episode of `bench render`."""


def bench_step(tasks: Sequence[BenchTask], repeats: int) -> list[Row]:
    """A control step without rendering, against the same number of bare `mj_step` and against plain LIBERO's step.

    The bare physics starts from the state before plain LIBERO's step, with the torques of its last substep. Each is
    timed right after an untimed one of its kind, so that nobody pays for the caches that the others have filled.
    """
    return [row for task in tasks for row in _step_rows(task, repeats)]


def _step_rows(task: BenchTask, repeats: int) -> list[Row]:
    env, plain = task.env(), task.plain(has_cameras=False)
    with contextlib.closing(env), contextlib.closing(plain):
        env.reset(task.spec())
        plain.reset(ENV_SEED, task.init_state())
        ours, theirs = (iter(task.actions(2 * (repeats + WARMUPS))) for _ in range(2))

        def our_step() -> float:
            env.step(next(ours))
            return timed(lambda: env.step(next(ours)))

        def plain_step() -> float:
            plain.env.step(next(theirs))
            plain.mark()
            return timed(lambda: plain.env.step(next(theirs)))

        def bare_step() -> float:
            plain.bare_physics_s()
            return plain.bare_physics_s()

        durations = interleaved(
            {
                "ours": our_step,
                "plain": plain_step,
                "bare": bare_step,
            },
            repeats,
            WARMUPS,
        )
    found = {name: median_ms(values) for name, values in durations.items()}
    return [
        Row(str(task), "control step", found["ours"], "ms", repeats, "25 x mj_step", found["bare"]),
        Row(str(task), "control step", found["ours"], "ms", repeats, "LIBERO's, cameras off", found["plain"]),
        Row(str(task), "LIBERO's step, cameras off", found["plain"], "ms", repeats, "25 x mj_step", found["bare"]),
    ]


def bench_reset(tasks: Sequence[BenchTask], repeats: int) -> list[Row]:
    """A reset to an init state, nothing settled, against plain LIBERO's hard reset."""
    return [row for task in tasks for row in _reset_rows(task, repeats)]


def _reset_rows(task: BenchTask, repeats: int) -> list[Row]:
    env, blind, seeing = task.env(), task.plain(has_cameras=False), task.plain()
    with contextlib.closing(env), contextlib.closing(blind), contextlib.closing(seeing):
        state = task.init_state()
        durations = interleaved(
            {
                "ours": lambda: timed(lambda: env.reset(task.spec())),
                "blind": lambda: timed(lambda: blind.reset(ENV_SEED, state)),
                "seeing": lambda: timed(lambda: seeing.reset(ENV_SEED, state)),
            },
            repeats,
        )
    found = {name: median_ms(values) for name, values in durations.items()}
    return [
        Row(str(task), "reset", found["ours"], "ms", repeats, "LIBERO's hard reset, cameras off", found["blind"]),
        Row(str(task), "reset", found["ours"], "ms", repeats, "LIBERO's hard reset, both cameras", found["seeing"]),
    ]


def bench_render(tasks: Sequence[BenchTask], repeats: int | None, strides: Sequence[int]) -> list[Row]:
    """Each camera's images of an episode at 256 px, against robosuite's of the same steps.

    Args:
        tasks: LIBERO's.
        repeats: Images of each camera; those of an episode of `EPISODE_STEPS` where None.
        strides: Control steps from one image to the next.
    """
    return [row for stride in strides for task in tasks for row in _render_rows(task, repeats, stride)]


def _render_rows(task: BenchTask, repeats: int | None, stride: int) -> list[Row]:
    """Means, so that what is made for later images counts; not the first wrist image, with which contexts are made."""
    env, plain = LiberoEnv(task.suite, task.task_id, task.settings((IMAGE, WRIST_IMAGE))), task.plain()
    count = repeats or EPISODE_STEPS // stride
    with contextlib.closing(env), contextlib.closing(plain):
        env.reset(task.spec())
        plain.reset(ENV_SEED, task.init_state(), is_sparse=True)
        env.picture(WRIST_IMAGE)
        plain.render(CAMERAS[WRIST_IMAGE])
        actions = iter(task.actions(count * stride))

        def ours(key: str) -> float:
            for action in itertools.islice(actions, stride if key == IMAGE else 0):
                env.step(action)
                plain.step(action, has_images=False)
            return timed(lambda: env.picture(key))

        measured = {}
        for key, camera in CAMERAS.items():
            measured[f"ours {camera}"] = lambda key=key: ours(key)
            measured[f"plain {camera}"] = lambda camera=camera: timed(lambda: plain.render(camera))
        durations = interleaved(measured, count, warmups=0)
    found = {name: statistics.mean(values) * 1000 for name, values in durations.items()}
    return [
        Row(
            str(task),
            f"{camera} image, one in {stride} steps, mean",
            found[f"ours {camera}"],
            "ms",
            count,
            "robosuite's",
            found[f"plain {camera}"],
        )
        for camera in CAMERAS.values()
    ]

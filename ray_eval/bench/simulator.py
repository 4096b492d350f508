"""`bench step`, `reset` and `render`: our env and plain LIBERO's, in one process, in turn."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

from ray_eval.bench.rows import Row, interleaved, median_ms, timed
from ray_eval.bench.tasks import ENV_SEED, BenchTask
from ray_eval.envs.libero.env import CAMERAS, LiberoEnv
from ray_eval.types import IMAGE, WRIST_IMAGE

WARMUPS: Final = 10
"""Untimed rounds of `bench step` at first."""


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


def bench_render(tasks: Sequence[BenchTask], repeats: int) -> list[Row]:
    """One image of each camera at 256 px, against robosuite's of the same step."""
    return [row for task in tasks for row in _render_rows(task, repeats)]


def _render_rows(task: BenchTask, repeats: int) -> list[Row]:
    env, plain = LiberoEnv(task.suite, task.task_id, task.settings((IMAGE, WRIST_IMAGE))), task.plain()
    keys = (IMAGE, WRIST_IMAGE)
    with contextlib.closing(env), contextlib.closing(plain):
        env.reset(task.spec())
        plain.reset(ENV_SEED, task.init_state(), is_sparse=True)
        actions = iter(task.actions(repeats + 2))

        def ours(key: str) -> float:
            if key == IMAGE:
                action = next(actions)
                env.step(action)
                plain.step(action, has_images=False)
            return timed(lambda: env.picture(key))

        measured = {}
        for key in keys:
            measured[f"ours {key}"] = lambda key=key: ours(key)
            measured[f"plain {key}"] = lambda key=key: timed(lambda: plain.render(CAMERAS[key]))
        durations = interleaved(measured, repeats, warmups=2)
    return [
        Row(
            str(task),
            f"{CAMERAS[key]} image",
            median_ms(durations[f"ours {key}"]),
            "ms",
            repeats,
            "robosuite's",
            median_ms(durations[f"plain {key}"]),
        )
        for key in keys
    ]

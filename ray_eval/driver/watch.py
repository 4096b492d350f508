"""Each new checkpoint of a training, evaluated on one and the same set of episodes; a sweep whose axis is the step."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ray_eval.config import load_config
from ray_eval.driver import kept
from ray_eval.driver.checkpoints import Checkpoint, checkpoints_in
from ray_eval.driver.checks import check_execution
from ray_eval.driver.fresh import made_folder
from ray_eval.driver.sweep import (
    MANIFEST_NAME,
    Point,
    SweepPlan,
    create_sweep,
    open_part,
    read_sweep,
    swept,
    write_sweep,
)
from ray_eval.driver.tune import ranges_of, tuning_plan
from ray_eval.errors import ConfigError
from ray_eval.report.progress import ProgressView, percent
from ray_eval.report.sweep import SweptPoint

STEP = "step"
"""Name of the axis."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What was asked for."""

    folder: Path
    """The training's folder."""
    source: str | None
    """The configuration; None where the words say all."""
    words: tuple[str, ...]
    """Overrides."""
    states: int
    """Init states of each task that are looked at, from the last one down."""


def watch(
    asked: Watched,
    out: Path,
    *,
    console: Console,
    is_once: bool = False,
    poll_s: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Evaluates what is there and what comes, until it is interrupted; whether it was, in the middle of episodes.

    Args:
        asked: what was asked for.
        out: the results' folder; one of an earlier watch is gone on with.
        console: what takes the words.
        is_once: whether it ends once what is there is evaluated.
        poll_s: seconds between two looks.
        sleep: waits.

    Raises:
        ConfigError: a checkpoint cannot be run as written, or too few init states are left beside the reported ones.
    """
    progress = ProgressView(console)
    points = list(read_sweep(out).points) if (out / MANIFEST_NAME).is_file() else []
    known = {point.values[STEP] for point in points if _is_finished(out, point)}
    try:
        while True:
            for checkpoint in checkpoints_in(asked.folder):
                if str(checkpoint.step) in known:
                    continue
                point = _point(asked, checkpoint)
                points = sorted(
                    [*(p for p in points if p.values != point.values), point], key=lambda p: int(p.values[STEP])
                )
                if _evaluate(points, point, out, progress):
                    return True
                known.add(point.values[STEP])
            if is_once:
                return False
            sleep(poll_s)
    except KeyboardInterrupt:
        return False
    finally:
        kept.release()


def _point(asked: Watched, checkpoint: Checkpoint) -> Point:
    """The checkpoint's run, on init states that the reported number does not use."""
    words = [*asked.words, f"policy.path={checkpoint.path}"]
    if asked.source is None and not any(word.startswith(("policy=", "policy.type=")) for word in words):
        words.append("policy=lerobot" if checkpoint.path.is_dir() else "policy=torch")
    reported = load_config(asked.source, words)
    chosen = sorted({spec.init_state_id for rung in tuning_plan(reported, asked.states) for spec in rung})
    states = f"init_states=[{','.join(map(str, chosen))}]"
    config = load_config(reported.resolved(), ["episodes_per_task=null", states, "repeats=1"])
    check_execution(config)
    return Point(f"points/{checkpoint.step:08d}", {STEP: str(checkpoint.step)}, config)


def _evaluate(points: Sequence[Point], point: Point, out: Path, progress: ProgressView) -> bool:
    """Runs one point, draws all; whether it was interrupted."""
    plan = SweepPlan({STEP: tuple(each.values[STEP] for each in points)}, tuple(points))
    create_sweep(plan, out, exist_ok=True)
    with contextlib.ExitStack() as stack:
        part = open_part(stack, out, point)
        is_interrupted = False
        if part.waiting_count:
            opened = kept.session_for(None, is_kept=True)
            with opened(point.config, part.waiting_count, progress) as session:
                is_interrupted = session.execute([part])
                session.film(is_interrupted=is_interrupted)
        progress.note(line_of(swept(point, part)))
    with contextlib.ExitStack() as stack:
        write_sweep(plan, [swept(each, open_part(stack, out, each)) for each in points], out)
    return is_interrupted


def _is_finished(out: Path, point: Point) -> bool:
    with contextlib.ExitStack() as stack:
        return open_part(stack, out, point).waiting_count == 0


def line_of(point: SweptPoint) -> str:
    """A checkpoint's rate with its interval."""
    rate = point.rate
    interval = f" ({100 * rate.interval[0]:.1f}-{100 * rate.interval[1]:.1f} %)" if rate.interval else ""
    return f"step {point.values[STEP]}: {rate.successes}/{rate.n}, {percent(rate.value)}{interval}"


def choice_lines(out: Path) -> list[str]:
    """The best checkpoint so far, and what its rate is not."""
    points = list(read_sweep(out).points)
    with contextlib.ExitStack() as stack:
        found = [(point, swept(point, open_part(stack, out, point))) for point in points]
    rated = [(point, each) for point, each in found if each.rate.n]
    if not rated:
        return []
    point, best = max(rated, key=lambda item: (item[1].rate.value or 0.0, int(item[0].values[STEP])))
    states = ranges_of(point.config.init_states or ())
    return [
        f"best of {len(rated)}: {line_of(best)}, on init states {states}",
        "a rate by which a checkpoint was chosen is too high; report the one on the other init states",
    ]


def new_folder(folder: Path) -> Path:
    """A new folder of results, named after the training's.

    Raises:
        ConfigError: none can be made.
    """
    return made_folder(f"watch-{re.sub(r'[^A-Za-z0-9_.=+-]', '_', folder.name)}")


def check_folder(folder: Path) -> None:
    """Passes when the training's folder is there.

    Raises:
        ConfigError: it is not.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: expected a training's folder, found none; check the path")

"""`bench e2e`: the same episodes and actions by `ray-eval run` and by loops like other evaluators', side by side.

With another checkout, its `ray-eval run` takes the loops' place, and the two run in turn.

Both are programs that start from nothing: imports, Ray, environments and the first episodes are in the figures.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ray_eval.bench.checkouts import Checkout
from ray_eval.bench.others import section_of
from ray_eval.bench.plain_loop import SIMULATORS
from ray_eval.bench.rows import Row
from ray_eval.bench.tasks import ENV_SEED, BenchTask
from ray_eval.envs.canary import fixed_actions
from ray_eval.envs.registry import simulator_for
from ray_eval.errors import ConfigError, SetupError
from ray_eval.interpreters import environment
from ray_eval.report.ledger import LEDGER_NAME
from ray_eval.scratch import scratch_folder
from ray_eval.sections import SimulatorSection
from ray_eval.types import Array

WORKERS: Final = 2
"""Workers of ray-eval, and loops beside them."""
POLL_S: Final = 0.05
"""How exactly the end of an episode is seen in the ledger."""
TIMEOUT_S: Final = 3600.0
"""A loop that finishes no episode for so long is ended."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The episodes that both sides run."""

    tasks: tuple[BenchTask, ...]
    """Tasks of one suite."""
    episodes_per_task: int
    """The first so many init states of each."""
    step_count: int
    """Actions of an episode."""
    words: tuple[str, ...] = ()
    """What the command line says of the simulator."""

    @property
    def simulator(self) -> SimulatorSection:
        """The tasks' simulator.

        Raises:
            ConfigError: a word is no key of it, or there is no plain loop for it.
        """
        section = section_of(self.tasks[0], self.words)
        if section.name not in ("libero", *SIMULATORS):
            known = ", ".join(("libero", *SIMULATORS))
            raise ConfigError(f"bench e2e: expected a task of {known}, which have a loop beside, got {section.name}'s")
        return section

    @property
    def names(self) -> list[str]:
        """Every episode, task by task."""
        return [
            f"{task.suite}/{task.task_id}/{init_state_id}"
            for task in self.tasks
            for init_state_id in range(self.episodes_per_task)
        ]

    def __str__(self) -> str:
        """As tables name it."""
        count = len(self.names)
        return f"{self.tasks[0].suite}, {len(self.tasks)} tasks, {count} episodes of {self.step_count} steps"

    def record(self, folder: Path) -> None:
        """Writes each episode's actions where the replay policy looks for them."""
        for task in self.tasks:
            for init_state_id in range(self.episodes_per_task):
                path = folder / task.suite / str(task.task_id) / f"{init_state_id}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, self._actions(task, init_state_id).astype(np.float32))

    def _actions(self, task: BenchTask, init_state_id: int) -> Array:
        if self.simulator.name == "libero":
            return task.actions(self.step_count, init_state_id)
        spec = simulator_for(dataclasses.replace(self.simulator, python=None)).spec(task.suite, task.task_id)
        rows = fixed_actions(spec.action, self.step_count)
        return rows[np.random.default_rng(init_state_id).permutation(self.step_count)]


@dataclass(frozen=True, slots=True)
class Finished:
    """When one side's episodes were done, in seconds from its start, in order."""

    times_s: tuple[float, ...]
    """One per episode."""

    @property
    def per_hour(self) -> float:
        """Episodes per hour from the start to the last one's end."""
        return len(self.times_s) / self.times_s[-1] * 3600

    @property
    def steady_per_hour(self) -> float:
        """Episodes per hour from the first one's end to the last one's: without the start."""
        return (len(self.times_s) - 1) / max(self.times_s[-1] - self.times_s[0], POLL_S) * 3600


def bench_e2e(workload: Workload, replan_steps: Sequence[int]) -> list[Row]:
    """Episodes per hour at each number of replanned steps, and the time to the first episode."""
    with scratch_folder() as scratch:
        actions = Path(scratch) / "actions"
        workload.record(actions)
        reference = _reference(workload, actions, Path(scratch))
        rows = []
        for steps in replan_steps:
            ours = _ours(workload, actions, steps, Path(scratch) / f"run-{steps}", Checkout.here())
            rows += _rows(workload, steps, ours, reference)
        return rows


def bench_e2e_against(
    workload: Workload, replan_steps: Sequence[int], checkouts: Sequence[Checkout], repeats: int
) -> list[Row]:
    """Medians of two checkouts, run in turn so many times at each number of replanned steps."""
    rows: list[Row] = []
    with scratch_folder() as scratch:
        actions = Path(scratch) / "actions"
        workload.record(actions)
        for steps in replan_steps:
            found: list[list[Finished]] = [[] for _ in checkouts]
            for turn in range(repeats):
                for side, (runs, checkout) in enumerate(zip(found, checkouts, strict=True)):
                    out = Path(scratch) / f"run-{steps}-{turn}-{side}"
                    runs.append(_ours(workload, actions, steps, out, checkout))
            rows += _rows_of_turns(f"{workload}, replan {steps}", checkouts[1].name, *found)
    return rows


def _rows_of_turns(subject: str, other: str, ours: Sequence[Finished], others: Sequence[Finished]) -> Iterator[Row]:
    figures: dict[tuple[str, str], Callable[[Finished], float]] = {
        ("episodes per hour", "1/h"): lambda run: run.per_hour,
        ("first episode done", "s"): lambda run: run.times_s[0],
    }
    if len(ours[0].times_s) > WORKERS:
        figures["after the first", "1/h"] = lambda run: run.steady_per_hour
    for (what, unit), figure in figures.items():
        one, beside = (statistics.median(map(figure, runs)) for runs in (ours, others))
        yield Row(subject, what, one, unit, len(ours), other, beside)


def _rows(workload: Workload, replan: int, ours: Finished, reference: Finished) -> list[Row]:
    subject, count = f"{workload}, replan {replan}", len(workload.names)
    name = workload.simulator.name
    loops = f"{WORKERS} loops over {'LIBERO' if name == 'libero' else f'plain {name}'}"
    first = ours.times_s[0]
    rows = [
        Row(subject, "episodes per hour", ours.per_hour, "1/h", count, loops, reference.per_hour),
        Row(subject, "first episode done", first, "s", 1, loops, reference.times_s[0]),
    ]
    if count > WORKERS:
        steady = ours.steady_per_hour, reference.steady_per_hour
        rows.append(Row(subject, "after the first", steady[0], "1/h", count - 1, loops, steady[1]))
    return rows


def _loop(workload: Workload, actions: Path, scratch: Path) -> tuple[list[str], dict[str, str]]:
    """A plain loop's command, to which episodes are added, and its variables."""
    section = workload.simulator
    if section.name == "libero":
        return [sys.executable, "-m", "ray_eval.bench.reference_loop", str(actions)], dict(os.environ)
    command = [section.python or sys.executable, "-P", "-m", "ray_eval.bench.plain_loop", str(section.name)]
    return [*command, str(actions)], environment(scratch)


def _reference(workload: Workload, actions: Path, scratch: Path) -> Finished:
    """Loops side by side, each with its share of the tasks, or of the episodes where there is one task."""
    names = workload.names
    if len(workload.tasks) >= WORKERS:
        shares = [[name for name in names if _index(workload, name) % WORKERS == loop] for loop in range(WORKERS)]
    else:
        shares = [names[loop::WORKERS] for loop in range(WORKERS)]
    command, variables = _loop(workload, actions, scratch)
    started = time.perf_counter()
    times: list[float] = []
    with tempfile.TemporaryFile("w+") as output:
        loops = [
            subprocess.Popen([*command, *share], stdout=output, stderr=subprocess.DEVNULL, env=variables)
            for share in shares
            if share
        ]
        try:
            while len(times) < len(names):
                idle_s = time.perf_counter() - started - (times[-1] if times else 0.0)
                _check_running([loop.poll() for loop in loops], idle_s, "reference loops")
                output.seek(0)
                done = output.read().count("finished ")
                times += [time.perf_counter() - started] * (done - len(times))
                time.sleep(POLL_S)
        finally:
            for loop in loops:
                loop.terminate()
                loop.wait()
    return Finished(tuple(times))


def _index(workload: Workload, name: str) -> int:
    return next(i for i, task in enumerate(workload.tasks) if name.startswith(f"{task.suite}/{task.task_id}/"))


def _ours(workload: Workload, actions: Path, replan_steps: int, out: Path, checkout: Checkout) -> Finished:
    first = workload.tasks[0]
    # Each at the size of the images in its loop; the packages draw Aloha's and PushT's in one size only.
    sizes = ("protocol.images.render_size_px=224", "protocol.images.image_size_px=224")
    own = {"libero": ("protocol=openpi",), "metaworld": sizes}.get(str(workload.simulator.name), ())
    words = [
        *own, *workload.words,
        "policy=replay", f"policy.path={actions}", f"policy.chunk_len={max(replan_steps, 10)}", "policy.images=true",
        f"suite={first.suite}", f"tasks=[{','.join(str(task.task_id) for task in workload.tasks)}]",
        f"episodes_per_task={workload.episodes_per_task}", f"protocol.env_seed={ENV_SEED}",
        f"protocol.replan_steps={replan_steps}", f"protocol.max_steps={workload.step_count}", f"workers={WORKERS}",
        "ray.dashboard=false",
    ]  # fmt: skip
    started = time.perf_counter()
    times: list[float] = []
    with tempfile.TemporaryFile("w+") as output:
        command, variables = checkout.command("run", *words, "--out", str(out)), checkout.environment()
        process = subprocess.Popen(command, env=variables, cwd=checkout.folder, stdout=output, stderr=output)
        try:
            while len(times) < len(workload.names):
                is_over = process.poll() is not None
                done = _recorded_episodes(out)
                times += [time.perf_counter() - started] * (done - len(times))
                if is_over and done < len(workload.names):
                    output.seek(0)
                    raise SetupError(f"bench e2e: expected {len(workload.names)} episodes, got {output.read()[-1000:]}")
                time.sleep(POLL_S)
            process.wait(timeout=60)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(timeout=60)
    return Finished(tuple(times))


def _recorded_episodes(out: Path) -> int:
    path = out / LEDGER_NAME
    return path.read_bytes().count(b'{"kind": "episode"') if path.exists() else 0


def _check_running(codes: Sequence[int | None], idle_s: float, what: str) -> None:
    broken = [code for code in codes if code not in (None, os.EX_OK)]
    if broken or idle_s > TIMEOUT_S:
        raise SetupError(
            f"bench e2e: expected the {what} to finish, got exit codes {list(codes)}, and no episode for {idle_s:.0f} s"
        )

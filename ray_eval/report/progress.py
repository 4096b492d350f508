"""What a person sees while a run goes on, and the table at its end; no terminal gets plain lines."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ray_eval.report.axes import axis_rows, mean_of_axes
from ray_eval.report.metrics import Rate, Told, by_suite, by_task, rate_of
from ray_eval.stats.intervals import DEFAULT_METHOD, IntervalMethod
from ray_eval.types import EpisodeResult, EpisodeSpec, Outcome

PLAIN_INTERVAL_S = 10.0
"""Seconds between two plain status lines."""
LIVE_INTERVAL_S = 0.25
"""Seconds between two pictures of a live view: its table is made of every result so far."""


@dataclass
class RunView:
    """The figures of a run that is going on."""

    plan: Sequence[EpisodeSpec]
    """Planned episodes."""
    done: dict[str, EpisodeResult] = field(default_factory=dict)
    """Results so far, those of a resumed run included."""
    controls: Collection[str] = frozenset()
    """Keys of episodes that are in no rate, as perturbed ones are held against them."""
    resumed_count: int = 0
    """Results that were there at the start."""
    retries: int = 0
    """Attempts that broke and are tried again."""
    late: int = 0
    """Results that came after their worker had been given up, and were refused."""
    policy: Mapping[str, Any] = field(default_factory=dict)
    """The policy actor's metrics."""
    is_stopping: bool = False
    """Whether it was told to stop, and waits for what runs."""
    started: float = field(default_factory=time.monotonic)
    """Monotonic start, s."""
    steps_here: int = 0
    """Control steps simulated by this process's workers, in finished episodes."""

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def steps_per_s(self) -> float:
        """Control steps per second over all workers, finished episodes only."""
        return self.steps_here / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds to go at the pace so far; None before the first result."""
        here = len(self.done) - self.resumed_count
        return self.elapsed_s / here * (len(self.plan) - len(self.done)) if here > 0 else None

    def status(self) -> str:
        """One line of figures."""
        rate = rate_of(result for key, result in self.done.items() if key not in self.controls)
        parts = [f"{len(self.done)}/{len(self.plan)} episodes", f"{rate.successes}/{rate.n} succeeded (provisional)"]
        parts.append(f"{self.steps_per_s:.1f} steps/s")
        batches = self.policy.get("batches", 0)
        if batches:
            forward_ms, batch_size = self.policy["forward_ms"] / batches, self.policy["requests"] / batches
            idle_ms = self.policy.get("idle_while_queued_ms", 0.0)
            idle = idle_ms / max(1e-9, idle_ms + self.policy["forward_ms"])
            parts.append(f"policy {forward_ms:.1f} ms, batch {batch_size:.1f}, idle {idle:.0%} while asked")
        errors = sum(result.outcome is Outcome.ERROR for result in self.done.values())
        if errors or self.retries:
            parts.append(f"{errors} errors, {self.retries} retries")
        if self.is_stopping:
            parts.append("stopping")
        elif self.eta_s is not None:
            parts.append(f"ETA {duration(self.eta_s)}")
        return " · ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as `1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class ProgressView:
    """Shows a run: live on a terminal, as plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._view: RunView | None = None
        self._last_shown = 0.0
        self._live: Live | None = None
        self._bar: Progress | None = None

    @contextlib.contextmanager
    def phase(self, text: str, *, is_told: bool = True) -> Iterator[None]:
        """Shows what is being waited for: a spinner, then how long it took, or one plain line at its beginning.

        Args:
            text: what it is.
            is_told: False where it was done before, and is there at once.
        """
        if not is_told:
            yield
            return
        if not self._console.is_terminal:
            self.note(text)
            yield
            return
        started = time.monotonic()
        with self._console.status(Text(text)):
            yield
        self._console.print(Text(f"{text}: {time.monotonic() - started:.1f} s", style="dim"), soft_wrap=True)

    def note(self, text: str) -> None:
        """One line that stays."""
        self._console.print(Text(text), soft_wrap=True)

    def start(self, view: RunView) -> None:
        """Begins to show the run."""
        self._view = view
        if self._console.is_terminal:
            self._bar = _bar(view)
            self._live = Live(self._render(), console=self._console, refresh_per_second=4)
            self._live.start()
        self._last_shown = time.monotonic()

    def tick(self) -> None:
        """Shows the present figures, if it is time to."""
        if self._view is None:
            return
        now = time.monotonic()
        if now - self._last_shown < (PLAIN_INTERVAL_S if self._live is None else LIVE_INTERVAL_S):
            return
        self._last_shown = now
        if self._live is not None:
            self._live.update(self._render())
        else:
            line = f"[{duration(self._view.elapsed_s)}] {self._view.status()}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def finished(self, result: EpisodeResult, label: str = "") -> None:
        """Tells of an episode, where lines are all there is, with the label of its run if there is one."""
        if self._live is None:
            seconds = f"{result.steps} steps, {result.wall_s:.1f} s"
            detail = result.error if result.outcome is Outcome.ERROR else seconds
            name = f"{label} {result.spec.episode_id}" if label else result.spec.episode_id
            line = f"{name}: {result.outcome} ({detail})"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        self.tick()

    def stop(self) -> None:
        """Ends the live view, its last state left on the screen."""
        if self._live is not None and self._view is not None:
            self._live.update(self._render())
            self._live.stop()
        self._live = None

    def _render(self) -> RenderableType:
        view, bar = self._view, self._bar
        if view is None or bar is None:
            return Text("")
        bar.update(bar.task_ids[0], completed=len(view.done))
        return Group(_provisional_table(view), bar, Text(view.status(), style="dim"))


def _bar(view: RunView) -> Progress:
    bar = Progress(TextColumn("episodes"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar.add_task("episodes", total=len(view.plan), completed=len(view.done))
    return bar


def _provisional_table(view: RunView, most_rows: int = 20) -> Table:
    table = Table(title="so far (provisional)", title_justify="left", box=None, pad_edge=False)
    for column in ("task", "k/n", "rate"):
        table.add_column(column, justify="left" if column == "task" else "right", no_wrap=True)
    groups = list(by_task(view.done.values()).items())
    for (suite, task_id), group in groups[-most_rows:]:
        rate = rate_of(group)
        table.add_row(f"{suite}/{task_id}", f"{rate.successes}/{rate.n}", percent(rate.value))
    return table


def percent(value: float | None) -> str:
    """A share as `93.3 %`, or a dash."""
    return "-" if value is None else f"{100 * value:.1f} %"


def result_table(
    title: str,
    results: Sequence[EpisodeResult],
    instructions: Callable[[str], Sequence[str]],
    method: IntervalMethod = DEFAULT_METHOD,
    *,
    has_total: bool = True,
) -> Table:
    """The final table: a row per task, per suite, and for all where there are several suites.

    A suite of very many tasks has a row of its own alone.

    Args:
        title: what was evaluated.
        results: results in plan order.
        instructions: the tasks of a suite in words, by task id.
        method: how intervals are made.
        has_total: whether all suites together mean anything.
    """
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    # Only a column that may wrap gives way in a narrow terminal, and its cells are cut short instead.
    table.add_column(_COLUMNS[0])
    for name in _COLUMNS[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    for section in _sections(results, instructions, method, has_total=has_total):
        for row in section:
            table.add_row(Text(row[0], no_wrap=True, overflow="ellipsis"), *row[1:])
        table.add_section()
    return table


MOST_TASKS = 100
"""Tasks of a suite that have a row each."""
_COLUMNS = ("task", "k/n", "rate", "95 % CI", "steps", "errors")


def _sections(
    results: Sequence[EpisodeResult],
    instructions: Callable[[str], Sequence[str]],
    method: IntervalMethod,
    *,
    has_total: bool,
) -> Iterator[list[tuple[str, ...]]]:
    """Rows of the final table: a suite's tasks, the suite, and in the end all suites if they are several."""
    for suite, suite_results in by_suite(results).items():
        names = instructions(suite)
        groups = by_task(suite_results)
        if len(groups) <= MOST_TASKS:
            rows = groups.items()
            yield [_cells(f"{task_id:>2} {names[task_id]}", rate_of(group, method)) for (_, task_id), group in rows]
        yield [_cells(suite, rate_of(suite_results, method))]
    if has_total and len(by_suite(results)) > 1:
        yield [_cells("all", rate_of(results, method))]


def _cells(name: str, rate: Rate) -> tuple[str, ...]:
    interval = rate.interval
    bounds = f"{100 * interval[0]:.1f}-{100 * interval[1]:.1f} %" if interval else "-"
    mean = "-" if rate.mean_steps is None else f"{rate.mean_steps:.1f}"
    return name, f"{rate.successes}/{rate.n}", percent(rate.value), bounds, mean, str(rate.errors)


def axes_table(
    results: Sequence[EpisodeResult], told: Told, method: IntervalMethod = DEFAULT_METHOD
) -> tuple[Table, str] | None:
    """A row per axis of perturbation and per level, beside the controls, and their mean in words; None without any.

    Args:
        results: every result of the run.
        told: what is perturbed.
        method: how intervals are made.
    """
    rows = axis_rows(results, told, method)
    if not rows:
        return None
    table = Table(title="by axis, beside the unperturbed episodes", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("axis", "k/n", "rate", "95 % CI", "control", "points", "lost", "gained"):
        table.add_column(name, justify="left" if name == "axis" else "right", no_wrap=True)
    for axis, levels in rows.items():
        for row in levels:
            name, *figures = _cells(axis if row.level is None else f"  level {row.level}", row.rate)
            pairs, difference = row.pairs, row.pairs.difference
            points = "-" if difference is None else f"{100 * difference:+.1f}"
            beside = (percent(row.control_rate), points, str(pairs.only_first), str(pairs.only_second))
            table.add_row(name, *figures[:3], *beside)
        table.add_section()
    return table, f"mean of the axes {', '.join(rows)}: {percent(mean_of_axes(rows))}"

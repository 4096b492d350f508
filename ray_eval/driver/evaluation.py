"""The result of a run, and how it prints."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from ray_eval.config import EvalConfig
from ray_eval.driver.simulators import instructions_of
from ray_eval.driver.titles import run_title
from ray_eval.report.metrics import Rate, Told, rate_of, without_controls
from ray_eval.report.progress import axes_table, result_table
from ray_eval.stats.intervals import DEFAULT_METHOD, IntervalMethod
from ray_eval.types import EpisodeResult, EpisodeSpec

TEXT_WIDTH = 100
"""Columns of a table that a result prints as."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of a run."""

    out: Path | str
    """Folder of the run, or its address in a store."""
    plan: tuple[EpisodeSpec, ...]
    """Every planned episode, in order."""
    results: tuple[EpisodeResult, ...]
    """The results that count, in plan order; as long as the plan unless the run was interrupted."""
    is_interrupted: bool
    """Whether a signal ended it early."""
    is_starved: bool = False
    """Whether every action arrived too late, so that the policy never acted."""
    machine_dependence: str | None = None
    """What its figures owe to the machine; None for the same figures on every machine."""
    interval: IntervalMethod = DEFAULT_METHOD
    """How its interval is made."""
    report: Path | str | None = None
    """The report of the run, or its address in a store; None where there is none."""
    perturbed: Told = field(default_factory=dict)
    """What of its tasks is perturbed; the controls beside them are in `results`, and in no overall rate."""
    config: EvalConfig | None = None
    """What was run, resolved."""

    def __str__(self) -> str:
        """The table of the results, with intervals, as `ray-eval run` prints it."""
        console = Console(file=io.StringIO(), width=TEXT_WIDTH, markup=False)
        show_table(console, self)
        return f"{console.file.getvalue().rstrip()}\nresults: {self.out}"  # type: ignore[attr-defined]

    def _repr_pretty_(self, printer: Any, _is_cycle: bool) -> None:
        """What a notebook shows."""
        printer.text(str(self))

    @property
    def rate(self) -> Rate:
        """Success rate over all episodes but controls."""
        return rate_of(without_controls(self.results, self.perturbed), self.interval)

    @property
    def is_complete(self) -> bool:
        """Whether every planned episode is a success or a failure."""
        return rate_of(self.results).n == len(self.plan)


def show_table(console: Console, evaluation: Evaluation) -> None:
    """Prints the table of a run's results, and one of what was perturbed where something was."""
    config, told = evaluation.config, evaluation.perturbed
    if config is None:
        raise AssertionError(evaluation.out)
    title = run_title(config) + (" · STARVED: every action came too late" if evaluation.is_starved else "")
    words, method = instructions_of(config), config.interval
    console.print(result_table(title, evaluation.results, words, method, has_total=not told))
    if (by_axis := axes_table(evaluation.results, told, method)) is not None:
        console.print(*by_axis, sep="", highlight=False)

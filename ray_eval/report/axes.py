"""Perturbed tasks by axis and level, beside the unperturbed episodes that they are paired with; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray_eval.report.metrics import Rate, Told, rate_of, rounded, task_key, without_controls
from ray_eval.report.paired import paired_counts
from ray_eval.stats.intervals import DEFAULT_METHOD, IntervalMethod
from ray_eval.stats.paired import PairedCounts
from ray_eval.types import EpisodeResult


@dataclass(frozen=True, slots=True)
class AxisRow:
    """The episodes of one axis, or of one of its levels."""

    axis: str
    """What is perturbed."""
    level: int | None
    """The level; None for all of the axis."""
    rate: Rate
    """Their success rate."""
    pairs: PairedCounts
    """The control first, the perturbed episode second; only pairs of which both count. Several may share a control."""

    @property
    def control_rate(self) -> float | None:
        """Success rate of the controls, one per pair; None without pairs."""
        return self.pairs.first_successes / self.pairs.n if self.pairs.n else None


def axis_rows(
    results: Sequence[EpisodeResult], told: Told, method: IntervalMethod = DEFAULT_METHOD
) -> dict[str, list[AxisRow]]:
    """Rows by axis, in the order in which axes first appear: all of the axis, then its levels ascending.

    Args:
        results: every result of the run.
        told: what is perturbed.
        method: how intervals are made.
    """
    by_id = {result.spec.episode_id: result for result in results}
    groups: dict[str, dict[int | None, list[EpisodeResult]]] = {}
    for result in without_controls(results, told) if told else []:
        about = told[task_key(result)]
        axis = groups.setdefault(str(about["axis"]), {None: []})
        axis[None].append(result)
        if about["level"] is not None:
            axis.setdefault(int(about["level"]), []).append(result)
    return {
        axis: [
            AxisRow(axis, level, rate_of(levels[level], method), _pairs(levels[level], by_id, told))
            for level in sorted(levels, key=_order)
        ]
        for axis, levels in groups.items()
    }


def mean_of_axes(rows: Mapping[str, Sequence[AxisRow]]) -> float | None:
    """The mean of the axes' success rates, each axis counting the same; None where one has no episode that counts."""
    rates = [levels[0].rate.value for levels in rows.values()]
    known = [rate for rate in rates if rate is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(rates) else None


def axes_values(
    results: Sequence[EpisodeResult], told: Told, method: IntervalMethod = DEFAULT_METHOD
) -> dict[str, Any] | None:
    """The section `axes` of `summary.json`; None where nothing is perturbed."""
    rows = axis_rows(results, told, method)
    if not rows:
        return None
    by_axis = {
        axis: {**_values(levels[0]), "levels": {str(row.level): _values(row) for row in levels[1:]}}
        for axis, levels in rows.items()
    }
    return {"axes": by_axis, "mean": rounded(mean_of_axes(rows))}


def _pairs(group: Sequence[EpisodeResult], by_id: Mapping[str, EpisodeResult], told: Told) -> PairedCounts:
    perturbed = {result.spec.episode_id: result for result in group}
    controls = {episode_id: by_id.get(_control_id(result, told)) for episode_id, result in perturbed.items()}
    return paired_counts({key: control for key, control in controls.items() if control is not None}, perturbed)


def _control_id(result: EpisodeResult, told: Told) -> str:
    """Id of the episode that a perturbed one is paired with: the control's, of the same start state and repetition."""
    task = task_key(result)
    return f"{told[task]['control']}{result.spec.episode_id.removeprefix(task)}"


def _order(level: int | None) -> int:
    return -1 if level is None else level


def _values(row: AxisRow) -> dict[str, Any]:
    interval = row.rate.interval
    return {
        "successes": row.rate.successes,
        "n": row.rate.n,
        "errors": row.rate.errors,
        "success_rate": rounded(row.rate.value),
        "interval_low": rounded(interval[0]) if interval else None,
        "interval_high": rounded(interval[1]) if interval else None,
        "pairs": row.pairs.n,
        "control_rate": rounded(row.control_rate),
        "difference": rounded(row.pairs.difference),
        "lost": row.pairs.only_first,
        "gained": row.pairs.only_second,
    }

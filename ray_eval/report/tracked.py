"""The figures that trackers are told: every rate with its interval and the number of episodes behind it; pure."""

from __future__ import annotations

from collections.abc import Iterable

from ray_eval.report.metrics import Rate, by_suite, rate_of
from ray_eval.stats.intervals import IntervalMethod
from ray_eval.types import EpisodeResult


def tracked_figures(results: Iterable[EpisodeResult], method: IntervalMethod) -> dict[str, float]:
    """Figures of all episodes, and of each suite where there are several: `success_rate`, `SUITE/success_rate`."""
    listed = list(results)
    figures = _figures("", rate_of(listed, method))
    suites = by_suite(listed)
    if len(suites) > 1:
        for suite, group in suites.items():
            figures |= _figures(f"{suite}/", rate_of(group, method))
    return figures


def _figures(prefix: str, rate: Rate) -> dict[str, float]:
    found: dict[str, float] = {f"{prefix}n": rate.n, f"{prefix}errors": rate.errors}
    if rate.value is not None and rate.interval is not None and rate.mean_steps is not None:
        found |= {
            f"{prefix}success_rate": rate.value,
            f"{prefix}success_rate_low": rate.interval[0],
            f"{prefix}success_rate_high": rate.interval[1],
            f"{prefix}mean_steps": rate.mean_steps,
        }
    return found

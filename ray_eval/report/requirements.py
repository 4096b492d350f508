"""Demands on a run's success rate, as they are written and as they are answered; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ray_eval.errors import ConfigError, did_you_mean
from ray_eval.report.metrics import Told, by_suite, rate_of, without_controls
from ray_eval.report.wording import gate_sentence
from ray_eval.stats.gates import GateResult, gate
from ray_eval.types import EpisodeResult

EVERY_SUITE = "suites"
"""Stands for each suite of a run."""
_FORM = re.compile(r"(?:(?P<suite>[\w.-]+)\.)?success\s*>=\s*(?P<least>[0-9.]+)\s*(?P<percent>%?)")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A demand `success >= least`, of all episodes or of one suite's."""

    suite: str | None
    """The suite; None for all episodes."""
    least: float
    """Rate that is demanded, in (0, 1]."""

    @property
    def name(self) -> str:
        """What is demanded of."""
        return "success" if self.suite is None else f"{self.suite}.success"


def read_requirements(texts: Sequence[str], suites: Sequence[str]) -> list[Requirement]:
    """Demands such as `success>=0.9`, `libero_goal.success>=85%` and `suites.success>=0.8`.

    Raises:
        ConfigError: one cannot be read, or names a suite that is not run.
    """
    return [requirement for text in texts for requirement in _read(text, suites)]


def _read(text: str, suites: Sequence[str]) -> list[Requirement]:
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"--require {text}: expected success>=0.9 or SUITE.success>=0.9, got another form")
    try:
        least = float(found["least"]) / (100 if found["percent"] else 1)
    except ValueError:
        least = 0.0
    if not 0 < least <= 1:
        raise ConfigError(f"--require {text}: expected a rate above 0, to 1, got {found['least']}{found['percent']}")
    suite = found["suite"]
    if suite == EVERY_SUITE:
        return [Requirement(name, least) for name in suites]
    if suite is not None and suite not in suites:
        known = ", ".join(suites)
        raise ConfigError(
            f"--require {text}: expected a suite of the run ({known}), got {suite!r}.{did_you_mean(suite, suites)}"
        )
    return [Requirement(suite, least)]


def answers(
    requirements: Sequence[Requirement], results: Sequence[EpisodeResult], told: Told | None = None
) -> list[GateResult]:
    """What the episodes say of each demand.

    Each is met at the level of 0.95, so all of them together are. That any is missed is said at 0.95 for all together:
    each of m demands is refuted at 1 - 0.05 / m. A demand on all episodes is none on controls.
    """
    groups, about = by_suite(results), without_controls(results, told or {})
    found = []
    for requirement in requirements:
        rate = rate_of(about if requirement.suite is None else groups.get(requirement.suite, []))
        found.append(gate(rate.successes, rate.n, requirement.least, count=len(requirements)))
    return found


def answer_lines(requirements: Sequence[Requirement], found: Sequence[GateResult]) -> list[str]:
    """A sentence for each demand."""
    return [gate_sentence(one.name, answer) for one, answer in zip(requirements, found, strict=True)]

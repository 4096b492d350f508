"""A run that stops as soon as its rate is known well enough, at a place that its outcomes alone decide."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from ray_eval.config import EvalConfig
from ray_eval.driver.evaluation import Evaluation
from ray_eval.driver.folder import opened_folder
from ray_eval.driver.interrupt import signals_interrupt
from ray_eval.driver.ordered import CompletePrefix, shuffled
from ray_eval.driver.part import Part, tracked
from ray_eval.driver.plan import asked_plan_of
from ray_eval.driver.rules import UNTIL_NAME, read_rule
from ray_eval.driver.run import place_of, with_report
from ray_eval.driver.session import open_session
from ray_eval.report.progress import ProgressView
from ray_eval.stats.sequential import rate_sequence


@dataclass(frozen=True, slots=True)
class UntilResult:
    """Where a run stopped."""

    evaluation: Evaluation
    """The run up to there."""
    planned: int
    """Episodes of the whole order."""
    is_met: bool
    """Whether the rule was reached."""
    broken: str | None
    """The episode that broke and stands in the way; None where none does."""


def until_text(kind: str, rule: str, order: Sequence[str], counted: int | None) -> str:
    """`until.json`: the rule, the order, and how much of it counts, once that is known."""
    values = {"schema_version": 1, "kind": kind, "rule": rule, "order": list(order), "counted": counted}
    return json.dumps(values, indent=1) + "\n"


def run_until(config: EvalConfig, rule: str, *, resume: Path | str | None, console: Console | None) -> UntilResult:
    """Runs a configuration in shuffled order until the confidence sequence of its rate is narrow enough.

    Raises:
        ConfigError: the configuration cannot be run as written.
        SetupError: the machine cannot run it.
        LedgerError: the folder cannot be read or written.
    """
    half_width, plan = read_rule(rule), shuffled(asked_plan_of(config), config.seed)
    order = [spec.episode_id for spec in plan]
    progress = ProgressView(console or Console(quiet=True))
    place = resume or place_of(config)
    with signals_interrupt(), opened_folder(place, config, is_resume=resume is not None) as folder:
        if resume is None:
            folder.write_whole(UNTIL_NAME, until_text("until", rule, order, None))
        prefix = CompletePrefix(order, [folder], lambda outcomes: _is_narrow(outcomes, half_width))
        part = Part(config, plan, folder)
        is_interrupted = False
        if not part.is_finished and not (prefix.is_enough() and prefix.broken is None):
            with open_session(config, part.waiting_count, progress) as session, tracked(part, progress):
                is_interrupted = session.execute(
                    [part], order=order, is_enough=prefix.is_enough, is_last=config.video is None
                )
                session.film(is_interrupted=is_interrupted)
        found = _settled(part, prefix, rule, half_width, is_interrupted=is_interrupted)
        return replace(found, evaluation=with_report(config, found.evaluation, folder, progress))


def _is_narrow(outcomes: Sequence[tuple[bool, ...]], half_width: float) -> bool:
    successes = sum(success for (success,) in outcomes)
    return rate_sequence(successes, len(outcomes)).half_width <= half_width


def _settled(part: Part, prefix: CompletePrefix, rule: str, half_width: float, *, is_interrupted: bool) -> UntilResult:
    counted = len(prefix.outcomes)
    planned, broken = len(part.plan), prefix.broken
    is_met = bool(counted) and _is_narrow(prefix.outcomes, half_width)
    if is_met or counted == planned:
        order = [spec.episode_id for spec in part.plan]
        part.folder.write_whole(UNTIL_NAME, until_text("until", rule, order, counted))
        part.plan = part.plan[:counted]
        part.write_summary(stopped_by=rule)
        is_interrupted = False
    return UntilResult(part.evaluation(is_interrupted=is_interrupted), planned, is_met, broken)

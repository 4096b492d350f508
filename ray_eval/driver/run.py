"""One run from its configuration to its result."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rich.console import Console

from ray_eval.config import EvalConfig, is_url
from ray_eval.driver.evaluation import Evaluation
from ray_eval.driver.folder import RunFolder, opened_folder
from ray_eval.driver.fresh import run_folder
from ray_eval.driver.interrupt import signals_interrupt
from ray_eval.driver.part import Part, tracked
from ray_eval.driver.plan import plan_of
from ray_eval.driver.readiness import folders
from ray_eval.driver.session import OpenSession, open_session
from ray_eval.report.progress import ProgressView


def run(
    config: EvalConfig,
    *,
    resume: Path | str | None = None,
    console: Console | None = None,
    opened: OpenSession | None = None,
) -> Evaluation:
    """Runs a configuration to its end, or goes on with the run in `resume`, a folder or an address in a store.

    Args:
        config: what is run.
        resume: the folder of a run to go on with.
        console: what takes the words; None for silence.
        opened: what gives it its session; a Ray of its own unless said.

    Raises:
        ConfigError: the configuration cannot be run as written.
        SetupError: the machine cannot run it.
        LedgerError: the folder cannot be read or written.
    """
    with signals_interrupt():
        return _run(config, resume, console, opened or open_session)


def place_of(config: EvalConfig) -> Path | str:
    """Where a new run's results go: as the configuration says, or to a new folder."""
    if config.out is None:
        return run_folder(config)
    return config.out if is_url(config.out) else Path(config.out)


def _run(config: EvalConfig, resume: Path | str | None, console: Console | None, opened: OpenSession) -> Evaluation:
    folders()
    plan = plan_of(config)
    progress = ProgressView(console or Console(quiet=True))
    with opened_folder(resume or place_of(config), config, is_resume=resume is not None) as folder:
        part = Part(config, plan, folder)
        if part.is_finished:
            progress.note(f"{folder.place}: every episode is finished already")
            part.write_summary()
            return with_report(config, part.evaluation(is_interrupted=False), folder, progress)
        with opened(config, part.waiting_count, progress) as session:
            with tracked(part, progress):
                is_interrupted = session.execute([part], is_last=config.video is None)
            session.film(is_interrupted=is_interrupted)
        evaluation = part.evaluation(is_interrupted=is_interrupted)
        if config.execution.mode != "sync":
            # Only here: drawing takes a second to be loaded.
            from ray_eval.report.figures import draw_queue_lengths
            from ray_eval.report.sweep import SweptPoint

            draw_queue_lengths([SweptPoint({}, len(plan), evaluation.results)], folder.path / "queue")
        return with_report(config, evaluation, folder, progress)


def with_report(config: EvalConfig, evaluation: Evaluation, folder: RunFolder, progress: ProgressView) -> Evaluation:
    """The evaluation with its report written; a report that cannot be made is said and takes nothing away."""
    if not config.report:
        return evaluation
    # Only here: what draws it is no part of what runs.
    from ray_eval.driver.reporting import report_quietly

    found = report_quietly(folder.path)
    if isinstance(found, Path):
        place = found if isinstance(folder.place, Path) else f"{folder.place}/{found.name}"
        return dataclasses.replace(evaluation, report=place)
    progress.note(f"WARNING: no report was written: {found}")
    return evaluation

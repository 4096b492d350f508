"""`ray-eval run`: a configuration to its result."""

from __future__ import annotations

import argparse
import contextlib
import json
import typing
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ray_eval.cli.decide import judge, show_until
from ray_eval.cli.words import (
    EXIT_COMPLETE,
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    Commands,
    near,
    place_option,
    show_errors,
    source_and_words,
    summary_in,
    typed,
    words_on_stderr,
)
from ray_eval.config import EvalConfig, is_file, load_config, to_yaml
from ray_eval.errors import ConfigError, require_eval_extra
from ray_eval.report.metrics import rate_of
from ray_eval.report.progress import ProgressView
from ray_eval.report.requirements import Requirement, read_requirements
from ray_eval.report.terminal import output_console
from ray_eval.types import EpisodeResult

if typing.TYPE_CHECKING:
    from ray_eval.driver.evaluation import Evaluation

_RUN_EPILOG = """\
examples:
  ray-eval run first_light
  ray-eval run policy=oracle suite=libero_spatial episodes_per_task=10 workers=4
  ray-eval run policy=oracle suite=[libero_goal,libero_10] tasks=[0,3] protocol=lerobot
  ray-eval run latency execution.latency.steps=8 --out runs/latency-8
  ray-eval run --resume runs/latency-8
every key with its default: ray-eval keys [PREFIX]; what may be chosen: ray-eval list --help
"""


def add_run(commands: Commands) -> None:
    """The parser of `run`."""
    run = commands.add_parser(
        "run",
        help="evaluate a policy",
        epilog=_RUN_EPILOG,
    )
    run.add_argument("words", nargs="*", metavar="[FILE_OR_NAME] key=value", help="a configuration, and overrides")
    run.add_argument(
        "--out",
        metavar="DIR",
        type=place_option,
        help="folder of the results, or s3://bucket/name; must not exist (default: under runs/)",
    )
    run.add_argument("--resume", metavar="DIR", type=place_option, help="go on with the run in DIR")
    run.add_argument(
        "--until", metavar="RULE", help="stop as soon as it is known well enough: halfwidth<=0.02, valid at every look"
    )
    run.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="DEMAND",
        help="success>=0.9, SUITE.success>=0.9 or suites.success>=0.9; exit 0 shown, 1 refuted, 3 neither",
    )
    run.add_argument(
        "--dry-run", action="store_true", help="print the resolved configuration and the plan; run nothing"
    )
    run.add_argument("--quiet", action="store_true", help="print the result alone, no progress")
    run.add_argument("--json", action="store_true", help="print summary.json alone; the words go to standard error")
    run.set_defaults(command=_run, parser=run, keeps_results=True)


def _run(parsed: argparse.Namespace) -> int:
    from ray_eval.driver.rules import chosen_rule

    with _recorded(parsed.resume) as folder:
        config = _run_config(parsed, folder)
        requirements = read_requirements(parsed.require, config.suite)
        rule = chosen_rule(parsed.until, folder, has_demands=bool(requirements))
    if parsed.dry_run:
        return _plan_as_json(config) if parsed.json else _show_plan(config)
    require_eval_extra()
    with words_on_stderr(is_wanted=parsed.json) as output:
        code, evaluation = _evaluated(parsed, config, requirements, rule)
        if parsed.json and evaluation.results:
            with _recorded(evaluation.out) as kept:
                output.write(summary_in(kept))
    return code


def _evaluated(
    parsed: argparse.Namespace, config: EvalConfig, requirements: Sequence[Requirement], rule: str | None
) -> tuple[int, Evaluation]:
    """Runs it and shows what came of it."""
    from ray_eval.driver.interrupt import signals_interrupt

    console = output_console()
    watching = Console(quiet=True) if parsed.quiet else console
    with signals_interrupt():
        with ProgressView(watching).phase("loading"):
            from ray_eval.driver.run import run
            from ray_eval.driver.until import run_until
        if rule is not None:
            found = run_until(config, rule, resume=parsed.resume, console=watching)
            return max(_show_result(console, config, found.evaluation), show_until(found, rule)), found.evaluation
        evaluation = run(config, resume=parsed.resume, console=watching)
    code = _show_result(console, config, evaluation)
    if requirements and code == EXIT_COMPLETE:
        code = judge(requirements, evaluation.results, evaluation.perturbed)
    return code, evaluation


def _recorded(resume: Path | str | None) -> contextlib.AbstractContextManager[Path | None]:
    """The folder of the run that is resumed, as far as it was written before the first episode."""
    if not isinstance(resume, str):
        return contextlib.nullcontext(resume)
    require_eval_extra()
    from ray_eval.driver.anywhere import recorded

    return recorded(resume)


def _run_config(parsed: argparse.Namespace, folder: Path | None) -> EvalConfig:
    source: str | Path | None
    source, words = source_and_words(parsed.words)
    if parsed.out is not None:
        words.append(f"out={parsed.out}")
    if folder is not None:
        if source is not None or any(word.startswith("out=") for word in words):
            raise ConfigError("--resume: expected neither a configuration nor --out beside it; the folder has its own")
        source = _recorded_config(folder)
    return load_config(source, words)


def _recorded_config(folder: Path) -> Path:
    path = folder / "config.yaml"
    if is_file(path):
        return path
    if is_file(folder / ".lock"):
        from ray_eval.driver.locks import Lock

        Lock(folder / ".lock").release()  # refused where the run is only beginning
        raise ConfigError(
            f"{folder}: expected a run to resume, got one that was ended before it began; start it again "
            f"by its own command, with --out {typed(folder)} if you like"
        )
    if is_file(folder / "sweep.json"):
        raise ConfigError(
            f"{folder}: expected a run's folder, got a sweep's; write ray-eval sweep --resume {typed(folder)}"
        )
    raise ConfigError(f"{folder}: expected a run's folder with config.yaml to resume, found none; check the path")


def _plan_as_json(config: EvalConfig) -> int:
    from ray_eval.driver.checks import check_execution
    from ray_eval.driver.plan import plan_of

    plan = plan_of(config)
    check_execution(config)
    print(json.dumps({"episodes": [spec.episode_id for spec in plan], "config": config.resolved()}, indent=2))
    return EXIT_COMPLETE


def _show_plan(config: EvalConfig) -> int:
    from ray_eval.driver.checks import check_execution
    from ray_eval.driver.plan import plan_of
    from ray_eval.driver.titles import unread_words
    from ray_eval.report.wording import many, plan_lines

    plan = plan_of(config)
    check_execution(config)
    print(f"# {many(len(plan), 'episode')}:")
    for spec in plan:
        print(f"#   {spec.episode_id}  env_seed {spec.env_seed}  max_steps {spec.max_steps}")
    for line in plan_lines(len(plan)):
        print(f"# {line}")
    if said := unread_words(config.policy):
        print(f"# {said}")
    print(to_yaml(config.resolved()), end="")
    return EXIT_COMPLETE


def _show_result(console: Console, config: EvalConfig, evaluation: Evaluation) -> int:
    from ray_eval.driver.evaluation import show_table

    if evaluation.results:
        show_table(console, evaluation)
    if evaluation.machine_dependence is not None:
        console.print(f"this number depends on the machine: {evaluation.machine_dependence}", highlight=False)
    if config.execution.mode == "realtime":
        console.print(_rate_held(config, evaluation.results), highlight=False)
    console.print(f"results: {near(evaluation.out)}", highlight=False, soft_wrap=True)
    show_errors(console, evaluation.results)
    if evaluation.report is not None:
        console.print(f"report: {near(evaluation.report)}", highlight=False, soft_wrap=True)
    if evaluation.is_interrupted:
        missing = len(evaluation.plan) - len(evaluation.results)
        console.print(f"interrupted, {missing} episodes to go; go on with:", highlight=False)
        console.print(f"  ray-eval run --resume {typed(evaluation.out)}", highlight=False, soft_wrap=True)
        return EXIT_INTERRUPTED
    if not evaluation.is_complete:
        console.print(
            f"incomplete: {rate_of(evaluation.results).errors} episodes ended in errors; run them again with:"
        )
        console.print(f"  ray-eval run --resume {typed(evaluation.out)}", highlight=False, soft_wrap=True)
        return EXIT_INCOMPLETE
    return EXIT_COMPLETE


def _rate_held(config: EvalConfig, results: Sequence[EpisodeResult]) -> str:
    """How well the episodes that count held the rate."""
    pacings = [result.pacing for result in results if result.pacing is not None]
    if not pacings:
        return f"by the clock: no episode held {config.execution.fps} fps"
    rates, missed = sorted(pacing.achieved_fps for pacing in pacings), sum(p.missed_ticks for p in pacings)
    return f"by the clock: {rates[0]:.1f} to {rates[-1]:.1f} of {config.execution.fps} fps, {missed} ticks missed"

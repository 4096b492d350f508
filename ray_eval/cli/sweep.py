"""`ray-eval sweep` and `ray-eval tune`: one policy under several settings."""

from __future__ import annotations

import argparse
import json
import typing
from pathlib import Path

from ray_eval.cli.words import (
    EXIT_COMPLETE,
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    Commands,
    near,
    path_option,
    show_errors,
    show_report,
    source_and_words,
    sources_and_words,
    summary_in,
    typed,
    without_out,
    words_on_stderr,
)
from ray_eval.config import load_config
from ray_eval.errors import ConfigError, require_eval_extra
from ray_eval.report.terminal import output_console

if typing.TYPE_CHECKING:
    from ray_eval.driver.sweep import SweepPlan

_SWEEP_EPILOG = """\
A key with several values, separated by commas, is swept; every combination is a run of its own. So are several
configurations, and arms: overrides that belong together, such as a policy and its own keys. Examples:
  ray-eval sweep latency execution.latency.steps=0,1,2,4,8,16 execution.chunk_size_threshold=0,0.5,0.8
  ray-eval sweep latency execution.aggregate=latest_only,weighted_average --out runs/aggregations
  ray-eval sweep pi0.yaml act.yaml episodes_per_task=10
  ray-eval sweep suite=libero_object --arm "policy=oracle" --arm "policy=lerobot policy.path=outputs/act"
  ray-eval sweep policy=openpi suite=libero_10 policy.addresses=[gpu1:8000],[gpu2:8000]
  ray-eval sweep --resume runs/aggregations workers=4
"""

_TUNE_EPILOG = """\
Keys with several values, separated by commas, are searched; without any, threshold, aggregation and actions per chunk
(in sync mode the steps between two requests).
The search uses the last init states of every task, the result the ones of the configuration. Examples:
  ray-eval tune latency execution.latency.ms=190 episodes_per_task=20
  ray-eval tune latency execution.chunk_size_threshold=0,0.5,1 execution.underrun=hold,noop --trials 6 --tune-states 4
"""


def add_sweep(commands: Commands) -> None:
    """The parser of `sweep`."""
    sweep = commands.add_parser(
        "sweep",
        help="evaluate a policy under several settings, and draw the success rate against one of them",
        epilog=_SWEEP_EPILOG,
    )
    sweep.add_argument(
        "words", nargs="*", metavar="[FILE_OR_NAME ...] key=a,b,c", help="configurations, and overrides of all"
    )
    sweep.add_argument(
        "--arm", action="append", default=[], metavar="WORDS", help="overrides that belong together; may be repeated"
    )
    sweep.add_argument("--out", metavar="DIR", type=path_option, help="folder of the results (default: under runs/)")
    sweep.add_argument(
        "--resume", metavar="DIR", type=path_option, help="go on with the sweep in DIR, or draw it again"
    )
    sweep.add_argument("--dry-run", action="store_true", help="print the points; run nothing")
    sweep.add_argument("--json", action="store_true", help="print summary.json alone; the words go to standard error")
    sweep.set_defaults(command=_sweep, parser=sweep, keeps_results=True)


def add_tune(commands: Commands) -> None:
    """The parser of `tune`."""
    tune = commands.add_parser(
        "tune",
        help="find the execution settings that suit a policy at a latency, by Ray Tune",
        epilog=_TUNE_EPILOG,
    )
    tune.add_argument("words", nargs="*", metavar="[FILE_OR_NAME] key=a,b,c", help="a configuration, and overrides")
    tune.add_argument("--out", metavar="DIR", type=path_option, help="folder of the results (default: under runs/)")
    tune.add_argument("--trials", metavar="N", type=int, default=20, help="most settings tried (default: %(default)s)")
    tune.add_argument(
        "--tune-states", metavar="N", type=int, default=5, help="init states per task to tune on (default: %(default)s)"
    )
    tune.set_defaults(command=_tune, parser=tune, keeps_results=True)


def _sweep(parsed: argparse.Namespace) -> int:
    require_eval_extra()
    from ray_eval.driver.fresh import sweep_folder
    from ray_eval.driver.sweep import create_sweep, plan_sweep, read_sweep

    sources, words = sources_and_words(parsed.words)
    words, parsed.out = without_out(words, parsed.out)
    if parsed.resume is not None:
        if sources or parsed.arm or parsed.out is not None:
            raise ConfigError("--resume: expected neither a configuration nor --out beside it; the folder has its own")
        plan, out = read_sweep(parsed.resume, words), parsed.resume
    else:
        plan = plan_sweep(sources or None, words, parsed.arm)
        out = parsed.out
    if parsed.dry_run:
        return _show_points(plan, as_json=parsed.json)
    if parsed.resume is None:
        out = out or sweep_folder(plan.points[0].config)
        create_sweep(plan, out)
    with words_on_stderr(is_wanted=parsed.json) as output:
        code = _swept(plan, out)
        if parsed.json:
            output.write(summary_in(out))
    return code


def _show_points(plan: SweepPlan, *, as_json: bool) -> int:
    from ray_eval.driver.plan import plan_of

    count = sum(len(plan_of(point.config)) for point in plan.points)
    if as_json:
        points = [{"folder": str(point.folder), "values": dict(point.values)} for point in plan.points]
        print(json.dumps({"episodes": count, "points": points}, indent=2))
        return EXIT_COMPLETE
    print(f"# {len(plan.points)} runs, {count} episodes in all:")
    for point in plan.points:
        print(f"{point.folder}  {' '.join(f'{key}={value}' for key, value in point.values.items())}")
    return EXIT_COMPLETE


def _swept(plan: SweepPlan, out: Path) -> int:
    """Runs a sweep and shows what came of it."""
    from ray_eval.driver.sweep import run_sweep, title_of
    from ray_eval.report.sweep import sweep_table

    console = output_console()
    result = run_sweep(plan, out, console)
    console.print(sweep_table(title_of(plan), result.points, console.width))
    figures = ", ".join(str(near(path)) for path in (out / "success.png", out / "queue.png") if path.exists())
    files = f"{near(out)}, table: {near(out / 'points.csv')}, figures: {figures}"
    console.print(f"results: {files}", highlight=False, soft_wrap=True)
    show_errors(console, [found for point in result.points for found in point.results])
    show_report(console, plan.points[0].config, out)
    if result.is_complete:
        return EXIT_COMPLETE
    console.print(f"not complete; go on with: ray-eval sweep --resume {typed(out)}", highlight=False, soft_wrap=True)
    return EXIT_INTERRUPTED if result.is_interrupted else EXIT_INCOMPLETE


def _tune(parsed: argparse.Namespace) -> int:
    require_eval_extra()
    from ray_eval.driver.sweep import split_axes
    from ray_eval.driver.tune import default_space, tune
    from ray_eval.report.sweep import sweep_table, trials_table

    for option, value in (("--trials", parsed.trials), ("--tune-states", parsed.tune_states)):
        if value < 1:
            raise ConfigError(f"{option}: expected at least 1, got {value}")
    source, words = source_and_words(parsed.words)
    words, parsed.out = without_out(words, parsed.out)
    plain, space = split_axes(words)
    config = load_config(source, plain)
    console = output_console()
    result = tune(
        config,
        space or default_space(config),
        parsed.out,
        trial_count=parsed.trials,
        states_per_task=parsed.tune_states,
        console=console,
    )
    if not result.trials:
        console.print("interrupted before the search; start anew, with another --out", highlight=False)
        return EXIT_INTERRUPTED
    console.print(trials_table(result.trials))
    console.print(sweep_table("on the reported init states", result.points, console.width))
    if not result.trials[0]["success_rate"]:
        console.print("no trial had a success: the best one is as good as any", highlight=False)
    best = " ".join(f"{key}={value}" for key, value in result.best.items())
    console.print(f"best on the tuning init states: {best}", highlight=False, soft_wrap=True)
    console.print(
        f"results: {near(result.out)}, trials: {near(result.out / 'trials.csv')}", highlight=False, soft_wrap=True
    )
    if all(point.rate.n == point.planned for point in result.points):
        return EXIT_COMPLETE
    return EXIT_INTERRUPTED if result.is_interrupted else EXIT_INCOMPLETE

"""The command line: argument parsing, and the words on the terminal; everything else is behind it."""

from __future__ import annotations

import argparse
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ray_eval import __version__
from ray_eval.cli_decide import add_compare, add_duel, add_export, add_power, judge, list_published, show_until
from ray_eval.config import (
    AUTO_ADDRESS,
    EvalConfig,
    checked_text,
    is_file,
    load_config,
    load_policy,
    preset_names,
    to_yaml,
    user_path,
)
from ray_eval.errors import ConfigError, LedgerError, RayEvalError, SetupError, require_eval_extra
from ray_eval.install.command import EPILOG, add_words, install
from ray_eval.messages import one_line, quoted
from ray_eval.places import check_working_folder
from ray_eval.report.metrics import error_groups
from ray_eval.report.progress import ProgressView, result_table
from ray_eval.report.requirements import read_requirements
from ray_eval.report.terminal import never_failing_output, output_console
from ray_eval.types import EpisodeResult

if typing.TYPE_CHECKING:
    from ray_eval.driver.run import Evaluation

EXIT_COMPLETE, EXIT_INCOMPLETE, EXIT_USER_ERROR, EXIT_INTERRUPTED = 0, 1, 2, 130
"""Exit codes: every episode has its outcome; some ended as errors; the user can mend it; a signal ended it."""

SERVE_ADDRESS = "127.0.0.1:8000"
"""Where `ray-eval serve` listens unless told."""

_RUN_EPILOG = """\
examples:
  ray-eval run first_light
  ray-eval run policy=oracle suite=libero_spatial episodes_per_task=10 workers=4
  ray-eval run policy=oracle suite=[libero_goal,libero_10] tasks=[0,3] protocol=lerobot
  ray-eval run latency execution.latency.steps=8 --out runs/latency-8
  ray-eval run --resume runs/latency-8
"""

_SWEEP_EPILOG = """\
A key with several values, separated by commas, is swept; every combination is a run of its own. Examples:
  ray-eval sweep latency execution.latency.steps=0,1,2,4,8,16 execution.chunk_size_threshold=0,0.5,0.8
  ray-eval sweep latency execution.aggregate=latest_only,weighted_average --out runs/aggregations
  ray-eval sweep --resume runs/aggregations workers=4
"""

_TUNE_EPILOG = """\
Keys with several values, separated by commas, are searched; without any, threshold, aggregation and actions per chunk
(in sync mode the steps between two requests).
The search uses the last init states of every task, the result the ones of the configuration. Examples:
  ray-eval tune latency execution.latency.ms=190 episodes_per_task=20
  ray-eval tune latency execution.chunk_size_threshold=0,0.5,1 execution.underrun=hold,noop --trials 6 --tune-states 4
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    with never_failing_output() as output:
        parsed = _parsed(arguments)
        code = _commanded(parsed)
        if output is not None:
            output.flush()
        if output is None or not output.is_cut_short:
            return code
        # A run's results are in its folder; of the others the words were all there is.
        is_kept = parsed.command in (_run, _sweep, _tune)
        said = f"ray-eval: standard output: expected it to take what is printed, got {output.failure}; free some space"
        return _complain(said, code if is_kept else max(code, EXIT_INCOMPLETE))


def _commanded(parsed: argparse.Namespace) -> int:
    command: Callable[[argparse.Namespace], int] = parsed.command
    try:
        if command not in (_list, _doctor):
            check_working_folder()
        return command(parsed)
    except (ConfigError, SetupError, LedgerError) as error:
        return _complain(f"ray-eval: {error}", EXIT_USER_ERROR)
    except RayEvalError as error:
        return _complain(f"ray-eval: {error}", EXIT_INCOMPLETE)
    except KeyboardInterrupt:
        return _complain("ray-eval: interrupted", EXIT_INTERRUPTED)


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command and its words; argparse itself takes no word that stands behind an option behind words."""
    parsed, behind = _parser().parse_known_args(arguments)
    if parsed.command is _bench:
        parsed.options = [*behind, *parsed.options]
        return parsed
    words: list[str] | None = getattr(parsed, "words", None)
    unknown = [word for word in behind if words is None or word.startswith("-")]
    if unknown:
        hints = [f"; write {word[2:]}=..." for word in unknown if word.startswith("--") and words is not None][:1]
        parsed.parser.error(f"unrecognized arguments: {' '.join(unknown)}{''.join(hints)}")
    if words is not None:
        parsed.words = [*words, *behind]
    return parsed


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> typing.NoReturn:
        """Ends the program; argparse itself prints the usage before it."""
        self.exit(EXIT_USER_ERROR, f"{self.prog}: error: {one_line(message)}; see {self.prog} --help\n")


def _path(text: str) -> Path:
    """An option's path, `~` expanded and absolute."""
    try:
        return user_path(checked_text(text, "path"), "path")
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("path: ")) from error


def _near(path: Path) -> Path:
    """The path as it is typed here: relative where it is below the working folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _typed(path: Path) -> str:
    """The path as a shell takes it."""
    return quoted(_near(path))


def _complain(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(prog="ray-eval", description="Success rates of robot policies on LIBERO.")
    parser.add_argument("--version", action="version", version=f"ray-eval {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands)
    _add_sweep(commands)
    _add_tune(commands)
    add_compare(commands)
    add_power(commands)
    add_duel(commands)
    add_export(commands)
    _add_episode(commands)
    _add_serve(commands)
    _add_list(commands)
    _add_install(commands)
    _add_bench(commands)
    doctor = commands.add_parser("doctor", help="check this machine and say what to mend")
    doctor.set_defaults(command=_doctor, parser=doctor)
    return parser


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        "run",
        help="evaluate a policy",
        epilog=_RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("words", nargs="*", metavar="[FILE_OR_NAME] key=value", help="a configuration, and overrides")
    run.add_argument(
        "--out", metavar="DIR", type=_path, help="folder of the results; must not exist (default: under runs/)"
    )
    run.add_argument("--resume", metavar="DIR", type=_path, help="go on with the run in DIR")
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
    run.set_defaults(command=_run, parser=run)


def _add_sweep(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sweep = commands.add_parser(
        "sweep",
        help="evaluate a policy under several settings, and draw the success rate against one of them",
        epilog=_SWEEP_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sweep.add_argument("words", nargs="*", metavar="[FILE_OR_NAME] key=a,b,c", help="a configuration, and overrides")
    sweep.add_argument("--out", metavar="DIR", type=_path, help="folder of the results (default: under runs/)")
    sweep.add_argument("--resume", metavar="DIR", type=_path, help="go on with the sweep in DIR, or draw it again")
    sweep.add_argument("--dry-run", action="store_true", help="print the points; run nothing")
    sweep.set_defaults(command=_sweep, parser=sweep)


def _add_tune(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    tune = commands.add_parser(
        "tune",
        help="find the execution settings that suit a policy at a latency, by Ray Tune",
        epilog=_TUNE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tune.add_argument("words", nargs="*", metavar="[FILE_OR_NAME] key=a,b,c", help="a configuration, and overrides")
    tune.add_argument("--out", metavar="DIR", type=_path, help="folder of the results (default: under runs/)")
    tune.add_argument("--trials", metavar="N", type=int, default=20, help="most settings tried (default: %(default)s)")
    tune.add_argument(
        "--tune-states", metavar="N", type=int, default=5, help="init states per task to tune on (default: %(default)s)"
    )
    tune.set_defaults(command=_tune, parser=tune)


def _add_episode(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    episode = commands.add_parser("episode", help="run one episode of a run again, here, without Ray")
    episode.add_argument("run", type=_path, metavar="RUN", help="the run's folder")
    episode.add_argument("episode_id", metavar="EPISODE_ID", help="for instance libero_object/3/17")
    episode.add_argument("--video", type=_path, metavar="FILE", help="write what the agentview camera sees, for people")
    episode.add_argument("--trace", type=_path, metavar="FILE", help="write a row per control step, as Parquet")
    episode.add_argument("--pdb", action="store_true", help="stop in the debugger where it breaks")
    episode.set_defaults(command=_episode, parser=episode)


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser("serve", help="serve a policy over gRPC, without Ray")
    serve.add_argument("policy", metavar="POLICY", help="a preset (ray-eval list policies), or a YAML file")
    serve.add_argument("words", nargs="*", default=[], metavar="policy.key=value", help="overrides")
    serve.add_argument("--address", help=f"host:port or unix:/path (default: serving.address, else {SERVE_ADDRESS})")
    serve.add_argument("--token-file", type=_path, metavar="FILE", help="file of the bearer token that calls carry")
    serve.add_argument("--certificate", type=_path, metavar="FILE", help="TLS certificate, PEM")
    serve.add_argument("--private-key", type=_path, metavar="FILE", help="key of the certificate, PEM")
    serve.add_argument("--stop-with-stdin", action="store_true", help="stop when standard input is closed")
    serve.set_defaults(command=_serve, parser=serve)


def _add_list(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    listing = commands.add_parser("list", help="what there is to choose from")
    listing.add_argument(
        "what", choices=("simulators", "suites", "tasks", "policies", "protocols", "evaluations", "published")
    )
    listing.add_argument("suite", nargs="?", help="the suite whose tasks are listed")
    listing.set_defaults(command=_list, parser=listing)


def _add_install(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    installing = commands.add_parser(
        "install",
        help="make an environment beside this one, for a package that pins other versions",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_words(installing)
    installing.set_defaults(command=install, parser=installing)


def _add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    bench = commands.add_parser("bench", help="measure this machine against plain LIBERO", add_help=False)
    bench.add_argument("options", nargs=argparse.REMAINDER)
    bench.set_defaults(command=_bench, parser=bench)


# --- run ---


def _run(parsed: argparse.Namespace) -> int:
    config = _run_config(parsed)
    from ray_eval.driver.rules import chosen_rule

    requirements = read_requirements(parsed.require, config.suite)
    rule = chosen_rule(parsed.until, parsed.resume, has_demands=bool(requirements))
    if parsed.dry_run:
        return _show_plan(config)
    require_eval_extra()
    from ray_eval.driver.interrupt import sigterm_interrupts

    console = output_console()
    with sigterm_interrupts():
        with ProgressView(console).phase("loading"):
            from ray_eval.driver.run import run
            from ray_eval.driver.until import run_until
        if rule is not None:
            found = run_until(config, rule, resume=parsed.resume, console=console)
            return max(_show_result(console, config, found.evaluation), show_until(found, rule))
        evaluation = run(config, resume=parsed.resume, console=console)
    code = _show_result(console, config, evaluation)
    return judge(requirements, evaluation.results) if requirements and code == EXIT_COMPLETE else code


def _source_and_words(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The configuration in front, if there is one, and the overrides behind it."""
    has_source = bool(words) and ("=" not in words[0] or is_file(Path(words[0])))
    return (words[0], list(words[1:])) if has_source else (None, list(words))


def _run_config(parsed: argparse.Namespace) -> EvalConfig:
    source: str | Path | None
    source, words = _source_and_words(parsed.words)
    if parsed.out is not None:
        words.append(f"out={parsed.out}")
    if parsed.resume is not None:
        if source is not None or any(word.startswith("out=") for word in words):
            raise ConfigError("--resume: expected neither a configuration nor --out beside it; the folder has its own")
        source = _recorded_config(parsed.resume)
    return load_config(source, words)


def _recorded_config(folder: Path) -> Path:
    path = folder / "config.yaml"
    if is_file(path):
        return path
    if is_file(folder / ".lock"):
        raise ConfigError(
            f"{folder}: expected a run to resume, got one that was ended before it began; start it again "
            f"by its own command, with --out {_typed(folder)} if you like"
        )
    if is_file(folder / "sweep.json"):
        raise ConfigError(
            f"{folder}: expected a run's folder, got a sweep's; write ray-eval sweep --resume {_typed(folder)}"
        )
    raise ConfigError(f"{folder}: expected a run's folder with config.yaml to resume, found none; check the path")


def _show_plan(config: EvalConfig) -> int:
    from ray_eval.driver.checks import check_execution
    from ray_eval.driver.plan import plan_of
    from ray_eval.report.wording import plan_lines

    plan = plan_of(config)
    check_execution(config)
    print(f"# {len(plan)} episodes:")
    for spec in plan:
        print(f"#   {spec.episode_id}  env_seed {spec.env_seed}  max_steps {spec.max_steps}")
    for line in plan_lines(len(plan)):
        print(f"# {line}")
    print(to_yaml(config.resolved()), end="")
    return EXIT_COMPLETE


def _show_result(console: Console, config: EvalConfig, evaluation: Evaluation) -> int:
    from ray_eval.driver.simulators import instructions_of

    title = f"{config.policy_type} · protocol {config.protocol.name} · {config.execution.mode}"
    title += " · STARVED: every action came too late" if evaluation.is_starved else ""
    if evaluation.results:
        console.print(result_table(title, evaluation.results, instructions_of(config), config.interval))
    if evaluation.machine_dependence is not None:
        console.print(f"this number depends on the machine: {evaluation.machine_dependence}", highlight=False)
    if config.execution.mode == "realtime":
        console.print(_rate_held(config, evaluation.results), highlight=False)
    console.print(f"results: {_near(evaluation.out)}", highlight=False, soft_wrap=True)
    _show_errors(console, evaluation.results)
    if evaluation.is_interrupted:
        missing = len(evaluation.plan) - len(evaluation.results)
        console.print(f"interrupted, {missing} episodes to go; go on with:", highlight=False)
        console.print(f"  ray-eval run --resume {_typed(evaluation.out)}", highlight=False, soft_wrap=True)
        return EXIT_INTERRUPTED
    if not evaluation.is_complete:
        console.print(f"incomplete: {evaluation.rate.errors} episodes ended in errors; run them again with:")
        console.print(f"  ray-eval run --resume {_typed(evaluation.out)}", highlight=False, soft_wrap=True)
        return EXIT_INCOMPLETE
    return EXIT_COMPLETE


def _rate_held(config: EvalConfig, results: Sequence[EpisodeResult]) -> str:
    """How well the episodes that count held the rate."""
    pacings = [result.pacing for result in results if result.pacing is not None]
    if not pacings:
        return f"by the clock: no episode held {config.execution.fps} fps"
    rates, missed = sorted(pacing.achieved_fps for pacing in pacings), sum(p.missed_ticks for p in pacings)
    return f"by the clock: {rates[0]:.1f} to {rates[-1]:.1f} of {config.execution.fps} fps, {missed} ticks missed"


def _show_errors(console: Console, results: Sequence[EpisodeResult]) -> None:
    """What went wrong, each reason once."""
    for group in error_groups(results):
        where = group.first_episode_id if group.count == 1 else f"{group.first_episode_id} and {group.count - 1} more"
        line = Text.assemble(("error", "bold red"), f" in {where}: {group.reason}")
        console.print(line, soft_wrap=True)


# --- sweep ---


def _sweep(parsed: argparse.Namespace) -> int:
    require_eval_extra()
    from ray_eval.driver.fresh import sweep_folder
    from ray_eval.driver.sweep import create_sweep, plan_sweep, read_sweep, run_sweep, title_of
    from ray_eval.report.sweep import sweep_table

    source, words = _source_and_words(parsed.words)
    if any(word.startswith("out=") for word in words):
        raise ConfigError("out: expected a sweep's folder by --out DIR; every point has its own below it")
    if parsed.resume is not None:
        if source is not None or parsed.out is not None:
            raise ConfigError("--resume: expected neither a configuration nor --out beside it; the folder has its own")
        plan, out = read_sweep(parsed.resume, words), parsed.resume
    else:
        plan = plan_sweep(source, words)
        out = parsed.out
    if parsed.dry_run:
        for point in plan.points:
            print(f"{point.folder}  {' '.join(f'{key}={value}' for key, value in point.values.items())}")
        return EXIT_COMPLETE
    if parsed.resume is None:
        out = out or sweep_folder(plan.points[0].config)
        create_sweep(plan, out)
    console = output_console()
    result = run_sweep(plan, out, console)
    console.print(sweep_table(title_of(plan), result.points, console.width))
    figures = ", ".join(str(_near(path)) for path in (out / "success.png", out / "queue.png") if path.exists())
    files = f"{_near(out)}, table: {_near(out / 'points.csv')}, figures: {figures}"
    console.print(f"results: {files}", highlight=False, soft_wrap=True)
    _show_errors(console, [found for point in result.points for found in point.results])
    if result.is_complete:
        return EXIT_COMPLETE
    console.print(f"not complete; go on with: ray-eval sweep --resume {_typed(out)}", highlight=False, soft_wrap=True)
    return EXIT_INTERRUPTED if result.is_interrupted else EXIT_INCOMPLETE


# --- tune ---


def _tune(parsed: argparse.Namespace) -> int:
    require_eval_extra()
    from ray_eval.driver.sweep import split_axes
    from ray_eval.driver.tune import default_space, tune
    from ray_eval.report.sweep import sweep_table, trials_table

    for option, value in (("--trials", parsed.trials), ("--tune-states", parsed.tune_states)):
        if value < 1:
            raise ConfigError(f"{option}: expected at least 1, got {value}")
    source, words = _source_and_words(parsed.words)
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
        f"results: {_near(result.out)}, trials: {_near(result.out / 'trials.csv')}", highlight=False, soft_wrap=True
    )
    if all(point.rate.n == point.planned for point in result.points):
        return EXIT_COMPLETE
    return EXIT_INTERRUPTED if result.is_interrupted else EXIT_INCOMPLETE


# --- the others ---


def _episode(parsed: argparse.Namespace) -> int:
    require_eval_extra()
    from ray_eval.driver.episode import run_again

    return run_again(parsed.run, parsed.episode_id, video=parsed.video, trace=parsed.trace, is_debugged=parsed.pdb)


def _serve(parsed: argparse.Namespace) -> int:
    from ray_eval.sections import ListenSection
    from ray_eval.serving.standalone import serve_section, stop_with_stdin

    if parsed.stop_with_stdin:
        stop_with_stdin()
    section, serving = load_policy(parsed.policy, parsed.words)
    listen = ListenSection(
        address=_serve_address(parsed.address, serving.address),
        token=_contents(parsed.token_file).strip() if parsed.token_file else None,
        certificate_pem=_contents(parsed.certificate).encode() if parsed.certificate else None,
        private_key_pem=_contents(parsed.private_key).encode() if parsed.private_key else None,
    )
    serve_section(section, listen, serving.batching())
    return EXIT_COMPLETE


def _serve_address(option: str | None, key: str) -> str:
    if option is not None and key not in (AUTO_ADDRESS, option):
        raise ConfigError(f"--address {option}: expected one address, got serving.address={key} too; leave one out")
    return option or (SERVE_ADDRESS if key == AUTO_ADDRESS else key)


def _contents(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable file, got {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected a text file, got bytes that are no UTF-8") from error


def _list(parsed: argparse.Namespace) -> int:
    if parsed.suite is not None and parsed.what != "tasks":
        raise ConfigError(f"list {parsed.what}: expected nothing behind it, got {parsed.suite!r}")
    if parsed.what == "tasks":
        return _list_tasks(parsed.suite)
    if parsed.what == "published":
        list_published()
        return EXIT_COMPLETE
    for name in _names(parsed.what):
        print(name)
    return EXIT_COMPLETE


def _names(what: str) -> tuple[str, ...]:
    if what == "suites":
        from ray_eval.driver.simulators import defect_of_libero, installed_suites

        installed = installed_suites()
        if "libero" not in installed and (reason := defect_of_libero()):
            print(f"ray-eval: LIBERO's suites are left out: {reason}", file=sys.stderr)
        suites = [suite for names in installed.values() for suite in names]
        return (*suites, *(f"{group} (group)" for group in preset_names("suites")))
    if what == "simulators":
        from ray_eval.driver.simulators import told_simulators

        return tuple(f"{name}: {said}" for name, said in told_simulators())
    if what == "protocols":
        from ray_eval.driver.simulators import own_protocols

        owned = [f"{name} ({simulator})" for simulator, names in own_protocols().items() for name in names]
        return (*preset_names(what), *owned)
    return preset_names({"evaluations": "."}.get(what, what))


def _list_tasks(suite: str | None) -> int:
    from ray_eval.driver.simulators import instructions

    if suite is None:
        raise ConfigError("list tasks: expected a suite, got none; write for instance ray-eval list tasks libero_goal")
    if suite in preset_names("suites"):
        members = ", ".join(load_config(None, ["policy=noop", f"suite={suite}"]).suite)
        raise ConfigError(f"list tasks: expected a suite, got the group {suite!r}; write one of {members}")
    table = Table("id", "task", box=None)
    for task_id, instruction in enumerate(instructions(suite)):
        table.add_row(str(task_id), instruction)
    output_console().print(table)
    return EXIT_COMPLETE


def _bench(parsed: argparse.Namespace) -> int:
    require_eval_extra()
    from ray_eval.bench.command import bench_parser, run_bench

    run_bench(bench_parser().parse_args(parsed.options))
    return EXIT_COMPLETE


def _doctor(_parsed: argparse.Namespace) -> int:
    from ray_eval.driver.doctor import examine

    return examine(output_console())

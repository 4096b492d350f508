"""The command line: argument parsing, and the words on the terminal; everything else is behind it."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence

from ray_eval import __version__
from ray_eval.cli.chaos import add_chaos
from ray_eval.cli.choose import add_list
from ray_eval.cli.decide import add_compare, add_duel, add_export, add_power
from ray_eval.cli.init import add_init
from ray_eval.cli.keys import add_completion, add_keys, complete, complete_words
from ray_eval.cli.look import add_replay, add_video
from ray_eval.cli.others import add_bench, add_doctor, add_episode, add_install, add_serve
from ray_eval.cli.plan import add_plan
from ray_eval.cli.report import add_dashboard, add_report
from ray_eval.cli.run import add_run
from ray_eval.cli.submit import add_submit
from ray_eval.cli.sweep import add_sweep, add_tune
from ray_eval.cli.watch import add_watch
from ray_eval.cli.words import (
    EXIT_COMPLETE,
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    EXIT_USER_ERROR,
    Commands,
    Parser,
    complain,
)
from ray_eval.config import EvalConfig
from ray_eval.errors import ConfigError, LedgerError, RayEvalError, SetupError, nearest, require_linux
from ray_eval.places import check_working_folder
from ray_eval.report.terminal import never_failing_output

DESCRIPTION = "Success rates of robot policies in simulation. Every key of a configuration: ray-eval keys."
"""What `ray-eval --help` begins with."""
EPILOG = "To begin: ray-eval doctor, then ray-eval run first_light, then ray-eval init for a policy of your own."
"""What `ray-eval --help` ends with."""

__all__ = ["EXIT_COMPLETE", "EXIT_INCOMPLETE", "EXIT_INTERRUPTED", "EXIT_USER_ERROR", "main"]


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
        is_kept = getattr(parsed, "keeps_results", False)
        said = f"ray-eval: standard output: expected it to take what is printed, got {output.failure}; free some space"
        return complain(said, code if is_kept else max(code, EXIT_INCOMPLETE))


def _commanded(parsed: argparse.Namespace) -> int:
    command: Callable[[argparse.Namespace], int] = parsed.command
    try:
        if not getattr(parsed, "is_for_any_system", False):
            require_linux()
        if getattr(parsed, "needs_folder", True):
            check_working_folder()
        return command(parsed)
    except (ConfigError, SetupError, LedgerError) as error:
        return complain(f"ray-eval: {error}", EXIT_USER_ERROR)
    except RayEvalError as error:
        return complain(f"ray-eval: {error}", EXIT_INCOMPLETE)
    except KeyboardInterrupt:
        return complain("ray-eval: interrupted", EXIT_INTERRUPTED)


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command and its words; argparse itself takes no word that stands behind an option behind words."""
    parsed, behind = _parser().parse_known_args(arguments)
    if hasattr(parsed, "options"):
        parsed.options = [*behind, *parsed.options]
        return parsed
    words: list[str] | None = getattr(parsed, "words", None)
    unknown = [word for word in behind if words is None or word.startswith("-")]
    if unknown:
        hints = [_as_key(word[2:]) for word in unknown if word.startswith("--") and words is not None]
        hint = parsed.parser.meant(unknown) or "".join(hints[:1])
        parsed.parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    if words is not None:
        parsed.words = [*words, *behind]
    return parsed


def _as_key(option: str) -> str:
    """How to write as a key what was written as an option."""
    name, _, value = option.partition("=")
    if "." not in name:
        name = nearest(name, [item.name for item in dataclasses.fields(EvalConfig)]) or name
    return f"; write {name}={value or '...'}"


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = Parser(
        prog="ray-eval", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.HelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"ray-eval {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add_init(commands)
    add_run(commands)
    add_sweep(commands)
    add_tune(commands)
    add_watch(commands)
    add_compare(commands)
    add_power(commands)
    add_duel(commands)
    add_export(commands)
    add_plan(commands)
    add_episode(commands)
    add_replay(commands)
    add_video(commands)
    add_report(commands)
    add_dashboard(commands)
    add_serve(commands)
    add_list(commands)
    add_keys(commands)
    add_submit(commands)
    add_install(commands)
    add_bench(commands)
    add_chaos(commands)
    add_doctor(commands)
    add_completion(commands)
    _complete_words(parser, commands)
    return parser


def _complete_words(parser: argparse.ArgumentParser, commands: Commands) -> None:
    """Tells a shell that asks which words of a configuration a command takes."""
    for command in commands.choices.values():
        for action in command._actions:  # noqa: SLF001 - argparse has no public list of its arguments
            if action.dest in ("words", "prefix"):
                action.completer = complete_words  # type: ignore[attr-defined]
    complete(parser)

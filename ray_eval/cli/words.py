"""What every command shares: exit codes, the words of a command, and how things are said on the terminal."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ray_eval.config import EvalConfig, checked_text, is_file, is_url, user_path
from ray_eval.errors import ConfigError, did_you_mean, nearest
from ray_eval.messages import one_line, quoted
from ray_eval.report.metrics import error_groups
from ray_eval.types import EpisodeResult

EXIT_COMPLETE, EXIT_INCOMPLETE, EXIT_USER_ERROR, EXIT_INTERRUPTED = 0, 1, 2, 130
"""Exit codes: every episode has its outcome; some ended as errors; the user can mend it; a signal ended it."""

Commands: typing.TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - argparse has no public name
"""Where each command adds its parser."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the examples below its help keep their lines."""

    def __init__(self, *args: typing.Any, **kwargs: typing.Any) -> None:
        super().__init__(*args, **{"formatter_class": argparse.RawDescriptionHelpFormatter, **kwargs})

    def parsed(self, args: Sequence[str] | None = None) -> argparse.Namespace:
        """As `parse_args`; of an option that there is not, the one that was meant is said."""
        parsed, unknown = self.parse_known_args(args)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self.meant(unknown)}")
        return parsed

    def meant(self, unknown: Sequence[str]) -> str:
        """The option that the first unknown one is like; empty where none is."""
        names = [word.partition("=")[0] for word in unknown if word.startswith("--")]
        known = [name for name in self._option_string_actions if name.startswith("--")]
        near = nearest(names[0], known) if names else None
        return "" if near is None else f"; did you mean {near}?"

    def error(self, message: str) -> typing.NoReturn:
        """Ends the program; argparse itself prints the usage before it."""
        choice = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        hint = "" if choice is None else did_you_mean(choice[1], re.findall(r"'(.*?)'", choice[2]))
        said = f"{one_line(message)}.{hint} See" if hint else f"{one_line(message)}; see"
        self.exit(EXIT_USER_ERROR, f"{self.prog}: error: {said} {self.prog} --help\n")


def path_option(text: str) -> Path:
    """An option's path, `~` expanded and absolute."""
    if is_url(text):
        raise argparse.ArgumentTypeError(
            f"expected a path of this machine, got {text}; only a run's --out and --resume take an address"
        )
    try:
        return user_path(checked_text(text, "path"), "path")
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("path: ")) from error


def run_option(text: str) -> str:
    """A run's folder, or another name of one, that is read here."""
    if is_url(text):
        raise argparse.ArgumentTypeError(f"expected a folder of this machine, got {text}; copy it here first")
    return text


def place_option(text: str) -> Path | str:
    """An option's path, or an address in a store as it is."""
    return text if is_url(text) else path_option(text)


def near(path: Path | str) -> Path | str:
    """The path as it is typed here: relative where it is below the working folder; an address as it is."""
    if isinstance(path, str):
        return path
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def typed(path: Path | str) -> str:
    """The path as a shell takes it."""
    return quoted(near(path))


def complain(text: str, code: int) -> int:
    """Says it on standard error, and gives the code back."""
    print(text, file=sys.stderr)
    return code


@contextlib.contextmanager
def words_on_stderr(*, is_wanted: bool) -> Iterator[typing.TextIO]:
    """Within, what is printed goes to standard error if that is wanted; yields standard output, for the result."""
    output = sys.stdout
    with contextlib.redirect_stdout(sys.stderr) if is_wanted else contextlib.nullcontext():
        yield output


def summary_in(folder: Path | None) -> str:
    """The summary of a finished run or sweep; empty where it was ended before it had one."""
    path = folder / "summary.json" if folder is not None else None
    return path.read_text(encoding="utf-8") if path is not None and path.is_file() else ""


def source_and_words(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The configuration in front, if there is one, and the overrides behind it."""
    has_source = bool(words) and ("=" not in words[0] or is_file(Path(words[0])))
    return (words[0], list(words[1:])) if has_source else (None, list(words))


def without_out(words: Sequence[str], out: Path | None) -> tuple[list[str], Path | None]:
    """The overrides of what has several runs, and its folder, which is taken in either way, as a run takes it.

    Raises:
        ConfigError: it is named twice, or is an address.
    """
    named = [word.removeprefix("out=") for word in words if word.startswith("out=")]
    if not named:
        return list(words), out
    if out is not None or len(named) > 1:
        raise ConfigError(f"out={named[-1]}: expected one folder of the results, got --out beside it; leave one out")
    try:
        return [word for word in words if not word.startswith("out=")], path_option(named[0])
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"out: {error}") from error


def show_report(console: Console, config: EvalConfig, out: Path) -> None:
    """Writes the report of what was just run into its folder, and says where it is, or why there is none."""
    if config.report:
        from ray_eval.driver.reporting import report_quietly

        found = report_quietly(out)
        said = f"report: {near(found)}" if isinstance(found, Path) else f"WARNING: no report was written: {found}"
        console.print(said, highlight=False, soft_wrap=True)


def sources_and_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The configurations in front, and the overrides behind them."""
    sources: list[str] = []
    source, rest = source_and_words(words)
    while source is not None:
        sources.append(source)
        source, rest = source_and_words(rest)
    return sources, rest


def show_errors(console: Console, results: Sequence[EpisodeResult]) -> None:
    """What went wrong, each reason once."""
    for group in error_groups(results):
        where = group.first_episode_id if group.count == 1 else f"{group.first_episode_id} and {group.count - 1} more"
        line = Text.assemble(("error", "bold red"), f" in {where}: {group.reason}")
        console.print(line, soft_wrap=True)

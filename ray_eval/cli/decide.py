"""`ray-eval compare`, `duel`, `power` and `export`: what runs show beside each other."""

from __future__ import annotations

import argparse
import sys
import typing
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ray_eval.cli.words import EXIT_INTERRUPTED, Commands, path_option, run_option, show_report, without_out
from ray_eval.config import check_writable, is_file, load_config
from ray_eval.errors import ConfigError, LedgerError, RayEvalError, SetupError, require_eval_extra
from ray_eval.foreign import told_with_traceback
from ray_eval.messages import quoted
from ray_eval.published import PREFIX, published_row, published_rows
from ray_eval.report.comparison import Verdict
from ray_eval.report.comparison_output import Report, comparison_table, flip_lines, written
from ray_eval.report.metrics import Told
from ray_eval.report.requirements import Requirement, answer_lines, answers
from ray_eval.report.terminal import output_console
from ray_eval.report.wording import difference_lines, duel_sentence, many, power_lines, refusal_lines, until_sentence
from ray_eval.stats.power import ALPHA, MOST_PAIRS
from ray_eval.types import EpisodeResult

if typing.TYPE_CHECKING:
    from ray_eval.driver.compare import Asked, Refusal
    from ray_eval.driver.duel import DuelPlan
    from ray_eval.driver.until import UntilResult

EXIT_AS_GOOD, EXIT_WORSE, EXIT_MISTAKE, EXIT_CANNOT_TELL, EXIT_NOT_COMPARABLE = 0, 1, 2, 3, 4
"""Exit codes of a comparison: B is as good or better; worse; the user can mend it; cannot tell; no question."""

_COMPARE_EPILOG = """\
exit codes: 0 B is better, or as good within --margin; 1 worse; 2 your mistake; 3 cannot tell; 4 not comparable.
With three or more, each is compared with the first; the worst answer counts. Examples:
  ray-eval compare runs/sync runs/latency-4
  ray-eval compare runs/aggregations                    # a sweep stands for its points
  ray-eval compare runs/old runs/new --margin 3 --html compare.html
  ray-eval compare runs/mujoco-3.2 runs/mujoco-3.17 --unpaired
  ray-eval compare runs/pi05 published:pi05_libero      # ray-eval list published
"""
_DUEL_EPILOG = """\
Both run the same episodes, in an order that is written down first; after every pair it is asked whether that decides.
exit codes: 0 B is better; 1 A is; 2 your mistake; 3 cannot tell; 4 no question; 130 interrupted. Examples:
  ray-eval duel pi0.yaml pi05.yaml
  ray-eval duel latency episodes_per_task=50 --a execution.aggregate=average --b execution.aggregate=latest_only
"""
_POWER_EPILOG = """\
Points are percentage points. Examples:
  ray-eval power runs/pilot --difference 5              # as if the two outcomes of an episode were independent
  ray-eval power runs/sync runs/latency-4               # from the pairs of two pilot runs
  ray-eval power --rate 90 --discordant 10 --difference 4 --episodes 500
"""


def answering(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """The command, of which whatever breaks is exit code 2: the codes of answers are for answers."""

    def answered(parsed: argparse.Namespace) -> int:
        try:
            return command(parsed)
        except (ConfigError, SetupError, LedgerError):
            raise
        except RayEvalError as error:
            raise SetupError(str(error)) from error
        except Exception as error:
            said = f"ray-eval {parsed.parser.prog.split()[-1]}: expected an answer, got {told_with_traceback(error)}"
            raise SetupError(f"{said}; please report it") from error

    return answered


def add_compare(commands: Commands) -> None:
    """The parser of `compare`."""
    compare = commands.add_parser(
        "compare",
        help="A or B? what two runs or more show, with a verdict",
        epilog=_COMPARE_EPILOG,
    )
    told = "run folders, sweeps, or published:NAME; A comes first"
    compare.add_argument("runs", nargs="+", type=run_option, metavar="RUN", help=told)
    compare.add_argument("--unpaired", action="store_true", help="compare counts, as those of other episodes")
    compare.add_argument(
        "--allow", action="append", default=[], metavar="KEY", help="let KEY differ; the result says so"
    )
    compare.add_argument("--margin", type=float, metavar="POINTS", help="how much worse B may be")
    compare.add_argument(
        "--difference", type=float, default=5.0, metavar="POINTS", help="what `cannot tell` speaks of (default: 5)"
    )
    compare.add_argument("--alpha", type=float, default=ALPHA, help="level of the tests (default: %(default)s)")
    for kind in ("json", "csv", "html"):
        compare.add_argument(
            f"--{kind}", type=path_option, metavar="FILE", help=f"write the result as {kind.upper()} too"
        )
    compare.set_defaults(command=answering(run_compare), parser=compare)


def run_compare(parsed: argparse.Namespace) -> int:
    """Compares runs, prints what was shown, and returns the exit code that says it."""
    require_eval_extra()
    from ray_eval.driver.compare import Asked, Refusal, compare, folders_of, read_arms

    _check_numbers(parsed)
    margin = None if parsed.margin is None else parsed.margin / 100
    asked = Asked(tuple(parsed.allow), not parsed.unpaired, margin, parsed.alpha, parsed.difference / 100)
    published = [word for word in parsed.runs if word.startswith(PREFIX)]
    paths = folders_of([word for word in parsed.runs if word not in published])
    if published:
        found = _beside_published(parsed.runs, paths, asked)
    elif len(paths) < 2:
        raise ConfigError("compare: expected two runs or more, got one; write ray-eval compare RUN_A RUN_B")
    else:
        found = compare(read_arms(paths), asked)
    if isinstance(found, Refusal):
        print("\n".join(found.lines), file=sys.stderr)
        return EXIT_NOT_COMPARABLE
    _show(found)
    _write(parsed, found, paths)
    return exit_code([pair.verdict for pair in found.pairs])


def _beside_published(words: Sequence[str], paths: Sequence[Path], asked: Asked) -> Report | Refusal:
    from ray_eval.driver.compare import read_arms
    from ray_eval.driver.published import compare_published

    if len(words) != 2 or len(paths) != 1:
        raise ConfigError("compare: expected one run beside a published row, got other words; name one of each")
    (row,) = (published_row(word) for word in words if word.startswith(PREFIX))
    return compare_published(read_arms(paths)[0], row, asked, is_first=words[0].startswith(PREFIX))


def _check_numbers(parsed: argparse.Namespace) -> None:
    for name, value, low, high in (
        ("--margin", parsed.margin, 0, 100),
        ("--difference", parsed.difference, 0, 100),
        ("--alpha", parsed.alpha, 0, 0.5),
    ):
        if value is not None and not low < value <= high:
            raise ConfigError(f"{name}: expected above {low}, to {high}, got {value:g}")
    for kind in ("json", "csv", "html"):
        if getattr(parsed, kind) is not None:
            check_writable(getattr(parsed, kind), f"--{kind}")


def _show(report: Report) -> None:
    console = output_console()
    for pair in report.pairs:
        console.print(comparison_table(pair, console.width))
        for line in (*difference_lines(pair.question.differences), *_flipped(flip_lines(pair))):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
    for line in (*report.remarks, *report.sentences):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _flipped(lines: Sequence[str]) -> list[str]:
    return ["flipped (A -> B), by task and init state:", *lines] if lines else []


def _write(parsed: argparse.Namespace, report: Report, paths: Sequence[Path]) -> None:
    from ray_eval.driver.compare import read_arms
    from ray_eval.driver.reporting import comparison_page

    kinds = [kind for kind in ("json", "csv") if getattr(parsed, kind) is not None]
    texts = written(report, kinds)
    if parsed.html is not None:
        texts["html"] = comparison_page(report, read_arms(paths), paths, parsed.html)
    for kind, text in texts.items():
        getattr(parsed, kind).write_text(text, encoding="utf-8")


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """The code of the worst answer."""
    if Verdict.WORSE in verdicts:
        return EXIT_WORSE
    return EXIT_CANNOT_TELL if Verdict.CANNOT_TELL in verdicts else EXIT_AS_GOOD


def told_published() -> dict[str, str]:
    """The published rows by name, with their rates and where they are from."""
    told = {}
    for row in published_rows().values():
        rates = ", ".join(f"{suite.removeprefix('libero_')} {rate:g}" for suite, rate in row.rates.items())
        told[row.name] = f"{row.model}, {rates} % of {row.n}; {row.protocol or 'protocol not known'}; {row.source}"
    return told


# --- gates ---


def judge(requirements: Sequence[Requirement], results: Sequence[EpisodeResult], told: Told | None = None) -> int:
    """Prints what the episodes say of each demand, and returns the exit code that says it."""
    found = answers(requirements, results, told)
    for line in answer_lines(requirements, found):
        print(line)
    verdicts = {answer.verdict for answer in found}
    if "missed" in verdicts:
        return EXIT_WORSE
    return EXIT_CANNOT_TELL if "cannot_tell" in verdicts else EXIT_AS_GOOD


def show_until(found: UntilResult, rule: str) -> int:
    """Says where a run stopped; 1 where an episode that broke stands in its way."""
    rate = found.evaluation.rate
    n = len(found.evaluation.plan) if found.is_met else rate.n
    print(until_sentence(rule, rate.successes, rate.n, found.planned, is_met=found.is_met and n == rate.n))
    return EXIT_AS_GOOD if found.broken is None else EXIT_WORSE


# --- duel ---


def add_duel(commands: Commands) -> None:
    """The parser of `duel`."""
    duel = commands.add_parser(
        "duel",
        help="A or B? runs both in pairs, and stops as soon as it is decided",
        epilog=_DUEL_EPILOG,
    )
    duel.add_argument(
        "words", nargs="*", metavar="A [B] key=value", help="one configuration or two, and overrides of both"
    )
    for side in ("a", "b"):
        text = f"an override of {side.upper()} alone; may be repeated"
        duel.add_argument(f"--{side}", action="append", default=[], metavar="KEY=VALUE", help=text)
    duel.add_argument("--alpha", type=float, default=ALPHA, help="chance of a wrong winner (default: %(default)s)")
    duel.add_argument("--out", type=path_option, metavar="DIR", help="folder of the results (default: under runs/)")
    duel.add_argument("--resume", type=path_option, metavar="DIR", help="go on with the duel in DIR")
    duel.add_argument("--dry-run", action="store_true", help="print the order; run nothing")
    duel.set_defaults(command=answering(run_duel_command), parser=duel)


def run_duel_command(parsed: argparse.Namespace) -> int:
    """Runs a duel, prints what it showed, and returns the exit code that says it."""
    require_eval_extra()
    from ray_eval.driver.duel import create_duel, read_duel, run_duel
    from ray_eval.driver.fresh import sweep_folder

    if parsed.resume is not None:
        plan, out = read_duel(parsed.resume, parsed.words), parsed.resume
    else:
        found = _new_duel(parsed)
        if isinstance(found, int):
            return found
        plan, out = found, parsed.out or sweep_folder(found.configs[0], "duel")
    if parsed.dry_run:
        print("\n".join(plan.ids))
        return EXIT_AS_GOOD
    if parsed.resume is None:
        create_duel(plan, out)
    console = output_console()
    result = run_duel(plan, out, console)
    said = duel_sentence(result.outcome, *plan.names, len(plan.order), plan.alpha)
    for line in (f"results: {out}", said):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    show_report(console, plan.configs[0], out)
    if result.outcome.is_over:
        return {"second": EXIT_AS_GOOD, "first": EXIT_WORSE, None: EXIT_CANNOT_TELL}[result.outcome.winner]
    reason = "interrupted" if result.broken is None else f"{result.broken} ended in an error"
    console.print(f"{reason}; go on with: ray-eval duel --resume {quoted(out)}", highlight=False, soft_wrap=True)
    return EXIT_INTERRUPTED if result.is_interrupted else EXIT_MISTAKE


def _new_duel(parsed: argparse.Namespace) -> DuelPlan | int:
    """The duel of the words, or the exit code of one that is no question."""
    from ray_eval.driver.duel import no_question, plan_duel

    if not 0 < parsed.alpha <= 0.5:
        raise ConfigError(f"--alpha: expected above 0, to 0.5, got {parsed.alpha:g}")
    sources = [word for word in parsed.words[:2] if "=" not in word or is_file(Path(word))]
    if not parsed.words:
        raise ConfigError("duel: expected a configuration or two, got none; write ray-eval duel A.yaml B.yaml")
    words = parsed.words[len(sources) :]
    words, parsed.out = without_out(words, parsed.out)
    if any(word.startswith("out=") for word in (*parsed.a, *parsed.b)):
        raise ConfigError("out: expected the duel's folder by --out DIR; each side has its own below it")
    first, second = (sources[0], sources[-1]) if sources else (None, None)
    one, other = load_config(first, [*words, *parsed.a]), load_config(second, [*words, *parsed.b])
    stems = [Path(source).stem for source in sources]
    names = (stems[0], stems[1]) if len(set(stems)) == 2 else ("A", "B")
    refused = no_question((one, other))
    if refused:
        print("\n".join(refusal_lines(names[0], names[1], refused, is_paired=True)[:-1]), file=sys.stderr)
        return EXIT_NOT_COMPARABLE
    return plan_duel((one, other), (names[0], names[1]), parsed.alpha)


# --- export ---


def add_export(commands: Commands) -> None:
    """The parser of `export`."""
    export = commands.add_parser("export", help="write runs in the formats of other tools")
    export.add_argument("runs", nargs="+", type=run_option, metavar="RUN", help="run folders, or sweeps")
    formats = "eval_info, robostats, verdikt, fieldtrial, arisole, csv, parquet or lerobot (a data set, by replay)"
    export.add_argument("--to", required=True, metavar="FORMAT", help=formats)
    export.add_argument(
        "--out", type=path_option, metavar="DIR", help="folder of the files (default: RUN/export/FORMAT)"
    )
    export.add_argument(
        "--which",
        nargs="+",
        metavar="CHOICE",
        help="of --to lerobot: failures, successes, all, first:N or episode ids (default: successes)",
    )
    export.set_defaults(command=answering(run_export), parser=export)


def run_export(parsed: argparse.Namespace) -> int:
    """Writes runs in a format, and says what was left out."""
    require_eval_extra()
    from ray_eval.driver.compare import folders_of
    from ray_eval.driver.dataset import LEROBOT
    from ray_eval.driver.exporting import export

    if parsed.to == LEROBOT:
        return _export_dataset(parsed)
    if parsed.which is not None:
        raise ConfigError(f"--which: expected nothing beside --to {parsed.to}, which has all episodes; leave it out")
    found = export(folders_of(parsed.runs), parsed.to, parsed.out)
    for path in found.files:
        print(path)
    left = [
        f"{many(count, 'episode')} {what}"
        for count, what in ((found.errors, "ended in errors, which are no outcome"), (found.missing, "not run yet"))
        if count
    ]
    print("; ".join([many(found.episodes, "episode"), *left]))
    return EXIT_AS_GOOD


def _export_dataset(parsed: argparse.Namespace) -> int:
    from ray_eval.driver.compare import folders_of
    from ray_eval.driver.dataset import export_dataset

    folders = folders_of(parsed.runs)
    if len(folders) != 1:
        raise ConfigError(f"--to lerobot: expected one run, got {len(folders)}; make a data set of each")
    made = export_dataset(folders[0], parsed.which or ["successes"], parsed.out, console=output_console())
    for line in made.left_out:
        print(f"left out: {line}", file=sys.stderr)
    print(made.root)
    print(many(made.episodes, "episode"))
    return EXIT_AS_GOOD


# --- power ---


def add_power(commands: Commands) -> None:
    """The parser of `power`."""
    power = commands.add_parser(
        "power",
        help="how many episodes show a difference",
        epilog=_POWER_EPILOG,
    )
    power.add_argument("runs", nargs="*", type=run_option, metavar="RUN", help="one or two pilot runs")
    power.add_argument("--difference", type=float, default=5.0, metavar="POINTS", help="to be shown (default: 5)")
    power.add_argument("--rate", type=float, metavar="PERCENT", help="success rate, where there is no pilot")
    power.add_argument("--discordant", type=float, metavar="PERCENT", help="share of pairs whose outcomes differ")
    power.add_argument("--episodes", type=int, metavar="N", help="size of the run that is planned")
    power.add_argument("--alpha", type=float, default=ALPHA, help="level of the test (default: %(default)s)")
    power.set_defaults(command=answering(run_power), parser=power)


def run_power(parsed: argparse.Namespace) -> int:
    """Prints how many pairs show a difference, and what the planned number shows."""
    require_eval_extra()
    from ray_eval.driver.compare import folders_of, read_arms
    from ray_eval.driver.pilots import pilot_of

    target = parsed.difference / 100
    for name, value, high in (("--difference", target, 1.0), ("--alpha", parsed.alpha, 0.5)):
        if not 0 < value <= high:
            raise ConfigError(f"{name}: expected above 0, to {high:g} (points: to 100), got {value:g}")
    if parsed.discordant is not None and not 0 <= parsed.discordant <= 100:
        raise ConfigError(f"--discordant: expected 0 to 100, got {parsed.discordant:g}")
    if parsed.episodes is not None and not 1 <= parsed.episodes <= MOST_PAIRS:
        raise ConfigError(f"--episodes: expected at least 1, to {MOST_PAIRS}, got {parsed.episodes}")
    rate, discordant = (None if percent is None else percent / 100 for percent in (parsed.rate, parsed.discordant))
    pilot = pilot_of(read_arms(folders_of(parsed.runs)), rate, discordant, target)
    if parsed.episodes is not None:
        pilot = replace(pilot, n=parsed.episodes)
    for line in power_lines(pilot, target, parsed.alpha):
        print(line)
    return EXIT_AS_GOOD

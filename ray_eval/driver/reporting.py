"""Reports of runs, sweeps, duels and folders of runs: read from their ledgers, written as HTML; starts nothing."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ray_eval.config import EvalConfig, load_config
from ray_eval.config.schema import flattened
from ray_eval.driver.compare import DUEL, MANIFEST, Asked, Refusal, compare, folders_of, read_arm, read_arms, read_json
from ray_eval.driver.published import protocol_differences
from ray_eval.driver.simulators import instructions_of
from ray_eval.errors import ConfigError, LedgerError, RayEvalError
from ray_eval.messages import one_line, quoted
from ray_eval.published import PublishedRow, published_rows
from ray_eval.report.comparison_output import Report
from ray_eval.report.findings import FINDINGS_NAME
from ray_eval.report.html.index_page import index_page, index_row
from ray_eval.report.html.run_page import run_page
from ray_eval.report.html.seen import seen_in, sheets_in
from ray_eval.report.html.several_page import SeveralRuns, several_page
from ray_eval.report.html.shown import PublishedBeside, ShownRun
from ray_eval.report.ledger import LEDGER_NAME, read_ledger, write_atomically
from ray_eval.report.looking import VIDEOS
from ray_eval.report.question import Arm
from ray_eval.report.wording import duel_sentence
from ray_eval.stats.intervals import DEFAULT_METHOD
from ray_eval.stats.sequential import duel_outcome
from ray_eval.types import Outcome

REPORT_NAME = "report.html"
"""File name of a report in the folder that it is of."""
AXIS_KEYS = ("policy.", "execution.", "serving.", "protocol.", "simulator.", "seed", "task_text", "suite")
"""Keys of a configuration in which runs may differ on purpose."""


def report(words: Sequence[str | Path], out: Path | None = None) -> Path:
    """Writes the report of one run, of several, or the index over a folder of runs; where it was written.

    Args:
        words: a run's folder; a sweep's or a duel's; several of these; or a folder with runs somewhere below it.
        out: the file; None puts it into the one folder that was named, else into the working folder.

    Raises:
        ConfigError: there is no run.
        LedgerError: a run cannot be read, or the report not be written.
    """
    paths = [Path(word) for word in words]
    place = out or (paths[0] if len(paths) == 1 else Path.cwd()) / REPORT_NAME
    if len(paths) == 1 and (paths[0] / LEDGER_NAME).is_file():
        text = run_page(shown_run(paths[0]), place)
    elif len(paths) == 1 and not _is_several(paths[0]):
        text = _index(paths[0], place)
    else:
        text = _several(paths, place)
    write_atomically(place, text, retry="write the report again")
    return place


def report_quietly(folder: Path) -> Path | str:
    """The report of what has just been run, or why there is none: it never takes a run's result away."""
    try:
        return report([folder])
    except RayEvalError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - what a report cannot show is no reason to lose a run over
        return one_line(f"{type(error).__name__}: {error}")


def _is_several(path: Path) -> bool:
    return (path / MANIFEST).is_file() or (path / DUEL).is_file()


# --- one run ---


def shown_run(path: Path, arm: Arm | None = None) -> ShownRun:
    """What there is to show of a run.

    Args:
        path: its folder.
        arm: the same run as read for a comparison; None reads it.

    Raises:
        LedgerError: the folder holds no run that can be read.
    """
    arm = arm or read_arm(path, path.resolve().name)
    ledger = read_ledger(path)
    config = _config_of(ledger.header)
    results = list(arm.results.values())
    return ShownRun(
        arm,
        path,
        ledger.header,
        ledger.episodes,
        ledger.sessions,
        ledger.served,
        _instructions(config, results),
        _published(arm),
        seen_in(path, results, ledger.episodes),
        sheets_in(path, results),
        _commands(path, arm, config, ledger.episodes),
        DEFAULT_METHOD if config is None else config.interval,
    )


def _config_of(header: Mapping[str, Any]) -> EvalConfig | None:
    """The run's configuration; None where it cannot be read here any more."""
    try:
        return load_config(header["config"])
    except (RayEvalError, ImportError):
        return None


def _instructions(config: EvalConfig | None, results: Sequence[Any]) -> dict[tuple[str, int], str]:
    """Tasks in words, as far as their simulator is here."""
    if config is None:
        return {}
    found = {}
    for suite in dict.fromkeys(result.spec.suite for result in results):
        try:
            words = instructions_of(config)(suite)
        except (RayEvalError, ImportError):
            continue
        found.update({(suite, task_id): text for task_id, text in enumerate(words)})
    return found


def _commands(
    path: Path, arm: Arm, config: EvalConfig | None, records: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    folder = _typed(path)
    commands = {
        "again": f"ray-eval run {folder}/config.yaml --out NEW_FOLDER",
        "report": f"ray-eval report {folder}",
        "trace": f"ray-eval episode {folder} {{}} --trace queue.parquet",
        "video": f"ray-eval episode {folder} {{}} --video look.mp4",
    }
    if any(record.get("has_actions") for record in records.values()):
        commands["replay"] = f"ray-eval replay {folder} {{}}"
        commands["video"] = f"ray-eval video {folder} --which {{}}"
        if not (path / FINDINGS_NAME).exists():
            commands["classes"] = f"ray-eval replay {folder} && ray-eval report {folder}"
        if not (path / VIDEOS).exists():
            commands["videos"] = f"ray-eval video {folder} --which failures && ray-eval report {folder}"
    if arm.planned is None or len(arm.ended) < arm.planned:
        commands["resume"] = arm.finish if _typed(path) == quoted(path) else arm.finish.replace(quoted(path), folder)
    if config is not None and config.execution.mode == "sync":
        del commands["trace"]
    return commands


def _typed(path: Path) -> str:
    """The folder as a shell takes it: relative where it is below the working folder."""
    absolute = path.resolve()
    return quoted(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute)


def _published(arm: Arm) -> list[PublishedBeside]:
    """Protocols under which rates were published on the run's suites, with what the run does otherwise."""
    suites = list(dict.fromkeys(result.spec.suite for result in arm.results.values()))
    groups: dict[str, list[PublishedRow]] = {}
    for row in published_rows().values():
        if row.protocol is not None and any(suite in row.rates for suite in suites):
            groups.setdefault(row.protocol, []).append(row)
    return [
        PublishedBeside(
            protocol,
            tuple(_published_row(row, suites) for row in rows),
            tuple((d.key, d.first, d.second) for d in protocol_differences(arm, rows[0], suites)),
        )
        for protocol, rows in groups.items()
    ]


def _published_row(row: PublishedRow, suites: Sequence[str]) -> tuple[str, str, str, str]:
    rates = ", ".join(f"{suite} {row.rates[suite]:g} % of {row.n}" for suite in suites if suite in row.rates)
    return row.name, f"{row.model} ({row.checkpoint})", rates, f"{row.source}; read {row.read}"


# --- several ---


def _several(paths: Sequence[Path], place: Path) -> str:
    folders = folders_of([str(path) for path in paths])
    arms = read_arms(folders)
    found: Report | Refusal = (
        compare(arms, Asked()) if len(arms) > 1 else Refusal(("only one run; nothing to compare",))
    )
    for folder in folders:
        # Linked to where it is there; a folder of somebody else's need not take it.
        with contextlib.suppress(RayEvalError):
            _write_if_older(folder)
    command = f"ray-eval report {' '.join(_typed(path) for path in paths)}"
    if len(paths) > 1:
        command += f" --out {_typed(place)}"
    title = ", ".join(arm.name for arm in arms) if len(arms) <= 3 else f"{len(arms)} runs compared"
    again = [("make this page again", command)]
    said = [] if len(paths) > 1 else duel_sentences(paths[0], arms)
    if said:
        # Its own test looks after every pair; compare's would be of a size that its outcomes chose.
        found = Refusal(())
    return comparison_page(found, arms, folders, place, title=title, commands=again, sentences=said)


def duel_sentences(path: Path, arms: Sequence[Arm]) -> list[str]:
    """What a duel showed, from the order that it wrote down first; nothing where the folder is none's."""
    if not (path / DUEL).is_file():
        return []
    values = read_json(path / DUEL)
    order, alpha = values["order"], float(values["alpha"])
    first, second = map(str, values["names"])
    one, other = (arm.ended for arm in arms)
    counted = list(itertools.takewhile(lambda key: key in one and key in other, order))
    pairs = ((one[key].outcome is Outcome.SUCCESS, other[key].outcome is Outcome.SUCCESS) for key in counted)
    return [duel_sentence(duel_outcome(pairs, len(order), alpha), first, second, len(order), alpha)]


def comparison_page(
    found: Report | Refusal,
    arms: Sequence[Arm],
    folders: Sequence[Path],
    place: Path,
    *,
    title: str = "ray-eval compare",
    commands: Sequence[tuple[str, str]] = (),
    sentences: Sequence[str] = (),
) -> str:
    """The page of a comparison, or of runs that are not compared, with their rates.

    Args:
        found: what `compare` says.
        arms: the runs.
        folders: their folders.
        place: where the page is to be.
        title: what it is about.
        commands: what to type to make it again.
        sentences: what is shown of them by another way than `compare`'s.
    """
    runs = [_rates_of(folder, arm) for folder, arm in zip(folders, arms, strict=True)]
    links = [_link(folder / REPORT_NAME, place) for folder in folders]
    shown = SeveralRuns(runs, axes_of(runs), links, commands, sentences)
    return several_page(title, found.lines if isinstance(found, Refusal) else found, shown)


def _rates_of(path: Path, arm: Arm) -> ShownRun:
    """As much of a run as a table of runs shows."""
    ledger = read_ledger(path)
    config = _config_of(ledger.header)
    interval = DEFAULT_METHOD if config is None else config.interval
    return ShownRun(arm, path, ledger.header, ledger.episodes, ledger.sessions, interval=interval)


def _link(page: Path, place: Path) -> str | None:
    """A page's address from another one; None where it is not there."""
    return quote(os.path.relpath(page.resolve(), place.resolve().parent)) if page.is_file() else None


def axes_of(runs: Sequence[ShownRun]) -> dict[str, list[str]]:
    """What runs differ in on purpose: every key of their configurations that is not the same in all of them.

    Of paths only what differs is told, so that checkpoints are called by their steps.
    """
    flat = [dict(flattened(run.config)) for run in runs]
    keys = [key for key in flat[0] if key.startswith(AXIS_KEYS)] if flat else []
    values_of = {key: [values.get(key) for values in flat] for key in keys}
    texts = {key: ["-" if each is None else str(each) for each in found] for key, found in values_of.items()}
    return {key: _without_common(found) for key, found in texts.items() if len(set(found)) > 1}


def _without_common(texts: Sequence[str]) -> list[str]:
    """Paths without the folders that all of them have; other texts as they are."""
    parts = [text.split("/") for text in texts]
    if any(len(each) != len(parts[0]) for each in parts) or len(parts[0]) == 1:
        return list(texts)
    differing = [i for i in range(len(parts[0])) if len({each[i] for each in parts}) > 1]
    return ["/".join(each[i] for i in differing) for each in parts]


# --- the index ---


def _index(root: Path, place: Path) -> str:
    """The index over the runs below a folder; each gets its own page where that is missing or older than its ledger."""
    folders = list(_runs_below(root))
    if not folders:
        raise ConfigError(f"{root}: expected a run, a sweep, a duel, or a folder of runs, found none; check the path")
    rows, unread = [], []
    for folder in folders:
        name = str(folder.relative_to(root))
        try:
            run = _rates_of(folder, read_arm(folder, folder.name))
        except (LedgerError, ConfigError) as error:
            unread.append(str(error))
            continue
        with contextlib.suppress(RayEvalError):
            _write_if_older(folder)
        rows.append(index_row(run, name, _link(folder / REPORT_NAME, place)))
    rows.sort(key=lambda row: row.cells[-1], reverse=True)
    return index_page(str(root), rows, unread)


def _runs_below(root: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(root):
        below.sort()
        if LEDGER_NAME in files:
            below.clear()
            yield Path(folder)


def _write_if_older(folder: Path) -> None:
    """A run's own page, where there is none that is as new as what it is made of."""
    page = folder / REPORT_NAME
    sources = [folder / name for name in (LEDGER_NAME, FINDINGS_NAME, VIDEOS)]
    newest = max((source.stat().st_mtime for source in sources if source.exists()), default=0.0)
    if not page.is_file() or page.stat().st_mtime < newest:
        report([folder])

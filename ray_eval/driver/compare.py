"""Runs read from their folders for a comparison, and published rows; runs in the driver, starts nothing."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_eval.config import load_config
from ray_eval.driver.identity_keys import with_former_values
from ray_eval.driver.plan import plan_of
from ray_eval.driver.rules import UNTIL_NAME
from ray_eval.errors import ConfigError, LedgerError, SetupError
from ray_eval.messages import quoted
from ray_eval.report.comparison import PairComparison, adjusted_pairs, compare_pair, compare_several
from ray_eval.report.comparison_output import Report
from ray_eval.report.evidence import about, on_shared, once
from ray_eval.report.ledger import LEDGER_NAME, has_header, read_ledger, result_of
from ray_eval.report.metrics import machine_dependence
from ray_eval.report.question import Arm, Difference, Question, question_of
from ray_eval.report.wording import refusal_lines
from ray_eval.stats.power import ALPHA
from ray_eval.types import EpisodeResult

MANIFEST = "sweep.json"
"""File that makes a folder a sweep's."""
DUEL = "duel.json"
"""File that makes a folder a duel's."""
SIDES = ("a", "b")
"""Folders of a duel's two runs."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How runs are to be compared."""

    allowed: tuple[str, ...] = ()
    """Keys that may differ."""
    is_paired: bool = True
    """Whether by episode, or as counts of others."""
    margin: float | None = None
    """How much worse the second may be."""
    alpha: float = ALPHA
    """Level of the tests."""
    target: float = 0.05
    """Difference that `cannot tell` speaks of."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why runs are not compared."""

    lines: tuple[str, ...]
    """What to print."""


def folders_of(words: Sequence[str]) -> list[Path]:
    """Run folders; a sweep's stands for its points, a duel's for its two sides.

    Raises:
        ConfigError: a sweep's or a duel's file cannot be read.
    """
    found: list[Path] = []
    for word in words:
        path = Path(word)
        if (path / MANIFEST).is_file():
            found += [path / folder for folder in _point_folders(path / MANIFEST)]
        elif (path / DUEL).is_file():
            found += [path / side for side in SIDES]
        else:
            found.append(path)
    return found


def _point_folders(path: Path) -> list[str]:
    points = read_json(path).get("points")
    if not isinstance(points, list) or not all(isinstance(each, dict) and each.get("folder") for each in points):
        raise ConfigError(f"{path}: expected points, each with its folder, got others; name the points' own folders")
    return [str(each["folder"]) for each in points]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a sweep's or a duel's file.

    Raises:
        ConfigError: there is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: expected a JSON object, got {error}; take a run's own folder") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: expected a JSON object, got another value; take a run's own folder")
    return found


def read_arms(paths: Sequence[Path]) -> list[Arm]:
    """The runs of some folders, called by as little of their paths as tells them apart.

    Raises:
        LedgerError: a folder holds no run that can be read.
        ConfigError: one is given twice.
    """
    resolved = [path.resolve() for path in paths]
    for index, path in enumerate(resolved):
        if path in resolved[:index]:
            raise ConfigError(f"{paths[index]}: expected runs that differ, got one twice; name another folder")
    return [read_arm(path, name) for path, name in zip(paths, _names(resolved), strict=True)]


def _names(paths: Sequence[Path]) -> list[str]:
    """The sides of a duel have its names where no other run is called so, the others the ends of their paths."""
    ends = [_end(path, paths) for path in paths]
    names = [_duel_name(path) or end for path, end in zip(paths, ends, strict=True)]
    return [end if names.count(name) > 1 else name for name, end in zip(names, ends, strict=True)]


def _end(path: Path, paths: Sequence[Path]) -> str:
    """As few of a path's last parts as no other path ends with."""
    counts = range(1, len(path.parts) + 1)
    ends = (path.parts[-count:] for count in counts)
    return next(("/".join(end) for end in ends if sum(p.parts[-len(end) :] == end for p in paths) == 1), str(path))


def _duel_name(path: Path) -> str | None:
    """What a duel calls this folder, if it is one of its two."""
    if path.name not in SIDES or not (path.parent / DUEL).is_file():
        return None
    names = read_json(path.parent / DUEL).get("names")
    is_pair = isinstance(names, list) and len(names) == len(SIDES) and all(names)
    return str(names[SIDES.index(path.name)]) if isinstance(names, list) and is_pair else None


def read_arm(path: Path, name: str) -> Arm:
    """The run of a folder.

    Raises:
        LedgerError: it holds none, or one of another version of the ledger.
    """
    if path.is_dir() and (path / LEDGER_NAME).is_file() and not has_header(path):
        raise LedgerError(f"{path}: expected a run, got one that was ended before its first episode; run it again")
    content = read_ledger(path)
    header = _checked_header(content.header, path)
    try:
        results = {key: result_of(record) for key, record in content.episodes.items()}
    except LedgerError as error:
        raise LedgerError(f"{path / LEDGER_NAME}: {error}") from error
    identity = with_former_values(header)
    plan, stopping = _plan(header), _stopping(path)
    planned = None if plan is None else len(plan)
    if stopping is not None:
        results = {key: results[key] for key in stopping.counted if key in results}
        planned = len(stopping.counted)
    return Arm(
        name,
        identity,
        _ordered(results, plan),
        planned,
        bool(header.get("is_starved")),
        machine_dependence(identity),
        None if stopping is None or not stopping.is_finished else stopping.rule,
        _finish(path),
        quoted(path),
    )


def _finish(path: Path) -> str:
    is_side = path.name in SIDES and (path.parent / DUEL).is_file()
    return f"ray-eval duel --resume {quoted(path.parent)}" if is_side else f"ray-eval run --resume {quoted(path)}"


def _checked_header(header: dict[str, Any], path: Path) -> dict[str, Any]:
    for key in ("identity", "config"):
        if not isinstance(header.get(key), dict):
            raise LedgerError(
                f"{path / LEDGER_NAME}, line 1: expected a header with its {key}, got {header.get(key)!r} there; "
                "take the file from a copy, or run it again"
            )
    return header


@dataclass(frozen=True, slots=True)
class _Stopping:
    """What `until.json` says of a run that stops of itself."""

    rule: str
    """When it stops."""
    counted: tuple[str, ...]
    """Ids of the episodes that count, in order; all that may yet be run where it has not stopped."""
    is_finished: bool
    """Whether it has stopped."""


def _stopping(path: Path) -> _Stopping | None:
    """How a run stops of itself; None of one of a fixed size."""
    file = path / UNTIL_NAME
    if not file.is_file():
        return None
    values = read_json(file)
    rule, order, counted = (values.get(key) for key in ("rule", "order", "counted"))
    is_known = isinstance(rule, str) and isinstance(order, list) and all(isinstance(key, str) for key in order)
    if not is_known or not (counted is None or isinstance(counted, int)):
        raise LedgerError(
            f"{file}: expected a rule, an order and how much of it counts, got others; take it from a copy"
        )
    return _Stopping(str(rule), tuple((order or [])[:counted]), counted is not None)


def _plan(header: Mapping[str, Any]) -> list[str] | None:
    """Ids of the episodes that a run plans; None where its configuration cannot be read here any more."""
    try:
        return [spec.episode_id for spec in plan_of(load_config(header["config"]))]
    except (ConfigError, SetupError, ImportError):
        return None


def _ordered(results: Mapping[str, EpisodeResult], plan: Sequence[str] | None) -> dict[str, EpisodeResult]:
    if plan is not None and set(results) <= set(plan):
        return {key: results[key] for key in plan if key in results}
    specs = {key: result.spec for key, result in results.items()}
    order = sorted(specs, key=lambda key: (specs[key].suite, specs[key].task_id, specs[key].init_state_id, key))
    return {key: results[key] for key in order}


def compare(arms: Sequence[Arm], asked: Asked) -> Report | Refusal:
    """Each of the others against the first, and all at once where they are three or more.

    Every two of them must be comparable, and the tests of every two are one family for Holm.

    Raises:
        ConfigError: an allowed key is none in which they differ.
    """
    sides = list(itertools.combinations(arms, 2))
    questions = [question_of(*pair, asked.allowed, is_paired=asked.is_paired) for pair in sides]
    check_allowed(asked.allowed, [d for question in questions for d in question.differences])
    lines = _refusals(sides, questions)
    shared, remarks = _evidence(arms, is_shared=asked.is_paired or "episodes" in asked.allowed)
    if not lines and not all(arm.ended for arm in shared):
        ended = "no episode ended on both sides; finish the runs by ray-eval run --resume"
        common = "they have no episode in common; run the same suites, tasks and init states"
        is_other = all(arm.results for arm in arms) and not any(arm.results for arm in shared)
        lines = [f"not comparable: {common if is_other else ended}"]
    if lines:
        return Refusal(tuple(lines))
    found = adjusted_pairs(
        [
            compare_pair(*pair, question, asked.alpha, asked.margin)
            for pair, question in zip(itertools.combinations(shared, 2), questions, strict=True)
        ]
    )
    several = compare_several(shared, asked.alpha) if len(arms) > 2 and asked.is_paired else None
    # The first pairs are those with the first run.
    count = len(arms) - 1
    remarks = [*remarks, *_allowed_remarks(found[count:])]
    places = {arm.name: arm.place or arm.name for arm in arms}
    return Report(found[:count], several, tuple(remarks), asked.target, places)


def _evidence(arms: Sequence[Arm], *, is_shared: bool) -> tuple[list[Arm], list[str]]:
    """The episodes that count, and remarks about those that do not."""
    arms = [about(arm) for arm in arms]
    if is_shared:
        found, said = once(on_shared(arms))
        return found, [said] if said else []
    each = [once([arm]) for arm in arms]
    return [alone for (alone,), _ in each], [
        f"{arm.name}: {said}" for arm, (_, said) in zip(arms, each, strict=True) if said
    ]


def _refusals(sides: Sequence[tuple[Arm, Arm]], questions: Sequence[Question]) -> list[str]:
    """Lines about every two that are not compared; what was said of one run is not said again."""
    lines: list[str] = []
    said: list[Difference] = []
    for (first, second), question in zip(sides, questions, strict=True):
        fresh = [d for d in question.refused if d.first not in (first.name, second.name) or d not in said]
        if fresh:
            lines += refusal_lines(first.name, second.name, fresh, is_paired=question.is_paired)
        said += fresh
    return lines


def _allowed_remarks(pairs: Sequence[PairComparison]) -> list[str]:
    """What was allowed to differ between two runs of which no table is shown."""
    return [
        f"{pair.first} and {pair.second}: allowed to differ: {', '.join(pair.question.allowed)}"
        for pair in pairs
        if pair.question.allowed
    ]


def check_allowed(allowed: Sequence[str], found: Sequence[Difference]) -> None:
    """Passes where every key that may differ does.

    Raises:
        ConfigError: one is none in which the runs differ.
    """
    for key in allowed:
        if not any(d.key == key or d.key.startswith(f"{key}.") for d in found):
            keys = ", ".join(dict.fromkeys(d.key for d in found)) or "nothing"
            raise ConfigError(f"--allow {key}: expected a key in which the runs differ ({keys}), got another; drop it")

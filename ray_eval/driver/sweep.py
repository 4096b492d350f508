"""A sweep: one configuration with some keys over lists of values, every point a run of its own in one session."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ray_eval.config import EvalConfig, load_config, simulator_section, to_yaml
from ray_eval.driver.anywhere import CONFIG_NAME
from ray_eval.driver.checks import TRUSTED_KEYS, check_execution
from ray_eval.driver.folder import RunFolder, check_identity
from ray_eval.driver.part import Part, tracked
from ray_eval.driver.plan import plan_of
from ray_eval.driver.replicas import actor_cpus
from ray_eval.driver.session import Session, open_session
from ray_eval.errors import ConfigError
from ray_eval.messages import quoted
from ray_eval.report.figures import draw_queue_lengths, draw_success
from ray_eval.report.ledger import write_atomically
from ray_eval.report.progress import ProgressView
from ray_eval.report.sweep import SweptPoint, sweep_csv_text, sweep_summary_text

MANIFEST_NAME = "sweep.json"
"""File in a sweep's folder that names its axes and points."""
CONFIGURATION, ARM = "configuration", "arm"
"""Names of the axes of several configurations, and of overrides that belong together."""
MOST_POINTS = 1000
"""Most points of a sweep."""


@dataclass(frozen=True, slots=True)
class Point:
    """One configuration of a sweep."""

    folder: str
    """Folder of its run, relative to the sweep's."""
    values: Mapping[str, str]
    """Value of each swept key, as it was written."""
    config: EvalConfig
    """The whole configuration."""


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """Every point of a sweep, in order: the first axis changes slowest."""

    axes: Mapping[str, tuple[str, ...]]
    """Swept keys and their values, as they were written."""
    points: tuple[Point, ...]
    """The points."""


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What came out of a sweep."""

    out: Path
    """Folder of the sweep."""
    points: tuple[SweptPoint, ...]
    """Every point with its results so far."""
    is_interrupted: bool
    """Whether a signal ended it early."""

    @property
    def is_complete(self) -> bool:
        """Whether every planned episode of every point is a success or a failure."""
        return all(point.is_complete for point in self.points)


def split_axes(words: Iterable[str]) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Plain overrides, and the keys that are given several values: `key=a,b` or `key=[0,1],[2]`.

    Raises:
        ConfigError: a swept key is given twice, or a value twice.
    """
    plain: list[str] = []
    axes: dict[str, tuple[str, ...]] = {}
    for word in words:
        key, separator, text = word.partition("=")
        values = _outer_split(text) if separator else (text,)
        if len(values) == 1:
            plain.append(word)
            continue
        if key in axes or any(other.startswith(f"{key}=") for other in plain):
            raise ConfigError(f"{word}: expected {key} once, got it twice; leave one out")
        if len(set(values)) < len(values) or "" in values:
            raise ConfigError(f"{word}: expected values that differ, separated by commas, got {text!r}")
        axes[key] = values
    return plain, axes


def _outer_split(text: str) -> tuple[str, ...]:
    """The parts between the commas that stand outside brackets."""
    depths = itertools.accumulate((character == "[") - (character == "]") for character in text)
    cuts = [
        index
        for index, (character, depth) in enumerate(zip(text, depths, strict=True))
        if (character, depth) == (",", 0)
    ]
    return tuple(text[start + 1 : end] for start, end in itertools.pairwise([-1, *cuts, len(text)]))


Source = str | Path | Mapping[str, Any] | None
"""A configuration: a file, a name, a mapping; None where the words say all."""


def plan_sweep(source: Source | Sequence[Source], words: Sequence[str], arms: Sequence[str] = ()) -> SweepPlan:
    """The points of one configuration or several, with overrides, some of them lists.

    Args:
        source: what each point begins with; several are an axis of their own.
        words: overrides of every point; those with several values are axes.
        arms: overrides that belong together, as one text each (`policy=lerobot policy.path=A`); an axis of their own.

    Raises:
        ConfigError: nothing is swept, a point cannot be run as written, two points are the same run, or they need more
            than one simulator.
    """
    plain, axes = split_axes(words)
    sources = {str(each): each for each in (source if isinstance(source, (list, tuple)) else (source,))}
    named = {CONFIGURATION: tuple(sources) if len(sources) > 1 else (), ARM: tuple(arms)}
    _check_that_values_differ(named, source)
    axes = {**{key: values for key, values in named.items() if values}, **axes}
    if not axes:
        raise ConfigError(
            "sweep: expected a key with several values, got none; write execution.mode=async "
            "execution.latency.steps=0,2,4,8"
        )
    combinations = list(itertools.islice(itertools.product(*axes.values()), MOST_POINTS + 1))
    if len(combinations) > MOST_POINTS:
        raise ConfigError(f"sweep: expected at most {MOST_POINTS} points, got more; leave some values out")
    points = []
    for index, combination in enumerate(combinations):
        values = dict(zip(axes, combination, strict=True))
        config = load_config(sources[values.get(CONFIGURATION, next(iter(sources)))], [*plain, *_words_of(values)])
        points.append(Point(_folder_name(index, len(combinations), values), values, config))
        if not index or (TRUSTED_KEYS | named.keys()) & values.keys():
            check_execution(config)
    _check_that_points_differ(points)
    _check_one_simulator(points)
    return SweepPlan(axes, tuple(points))


def _words_of(values: Mapping[str, str]) -> Iterator[str]:
    """The overrides of a point, an arm's first."""
    try:
        yield from shlex.split(values.get(ARM, ""))
    except ValueError as error:
        raise ConfigError(f"--arm {values[ARM]!r}: expected words as a shell takes them, got {error}") from error
    yield from (f"{key}={value}" for key, value in values.items() if key not in (CONFIGURATION, ARM))


def _check_that_values_differ(named: Mapping[str, Sequence[str]], source: Source | Sequence[Source]) -> None:
    for key, values in {**named, CONFIGURATION: source if isinstance(source, (list, tuple)) else ()}.items():
        if len({str(value) for value in values}) < len(values):
            raise ConfigError(f"sweep: expected each {key} once, got one twice")


def _check_one_simulator(points: Sequence[Point]) -> None:
    """Passes when one session can run all points."""
    names = list(dict.fromkeys(simulator_section(point.config).name or "" for point in points))
    pythons = {point.config.simulator.python for point in points}
    if len(names) > 1 or len(pythons) > 1:
        raise ConfigError(
            f"sweep: expected points of one simulator, got {' and '.join(names)}"
            f"{'' if len(names) > 1 else ' in several interpreters'}; make a sweep of each, and compare them"
        )


def _folder_name(index: int, count: int, values: Mapping[str, str]) -> str:
    text = "-".join(f"{key.removeprefix('execution.')}={value}" for key, value in values.items())
    return f"points/{index:0{len(str(count - 1))}d}-{re.sub(r'[^A-Za-z0-9_.=+-]', '_', text)[:80]}"


def _check_that_points_differ(points: Sequence[Point]) -> None:
    seen: dict[str, Point] = {}
    for point in points:
        # What answers at another address may be another policy.
        asked = {"policy.addresses": getattr(point.config.policy, "addresses", None)}
        identity = json.dumps(point.config.identity() | asked, sort_keys=True)
        if identity in seen:
            raise ConfigError(
                f"sweep: expected points that differ in their results, got {dict(seen[identity].values)} and "
                f"{dict(point.values)}, which are one; sweep keys that change a result"
            )
        seen[identity] = point


def create_sweep(plan: SweepPlan, out: Path, *, exist_ok: bool = False) -> None:
    """Makes the sweep's folder, with a folder and a configuration for each point that has none yet.

    Raises:
        ConfigError: the folder exists, and must not.
    """
    if not exist_ok and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: expected no such folder, found one; go on with it by --resume {quoted(out)}")
    for point in plan.points:
        try:
            (out / point.folder).mkdir(parents=True, exist_ok=exist_ok)
        except OSError as error:
            raise ConfigError(
                f"{out}: expected a folder that can be made, got {error.strerror}; choose another --out"
            ) from error
        write_atomically(out / point.folder / CONFIG_NAME, to_yaml(point.config.resolved()))
    points = [{"folder": point.folder, "values": point.values} for point in plan.points]
    write_atomically(out / MANIFEST_NAME, json.dumps({"axes": plan.axes, "points": points}, indent=2) + "\n")


def read_sweep(out: Path, overrides: Sequence[str] = ()) -> SweepPlan:
    """The plan of a sweep's folder, with operational overrides for every point.

    Raises:
        ConfigError: the folder holds no sweep, or an override would change what a point is.
    """
    try:
        manifest = json.loads((out / MANIFEST_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        hint = f"; that is a run: ray-eval run --resume {quoted(out)}" if (out / CONFIG_NAME).is_file() else ""
        raise ConfigError(
            f"{out}: expected a sweep's folder with {MANIFEST_NAME} to resume, got {reason}{hint}"
        ) from error
    points = tuple(
        Point(entry["folder"], entry["values"], _recorded(out / entry["folder"], overrides))
        for entry in manifest["points"]
    )
    return SweepPlan({key: tuple(values) for key, values in manifest["axes"].items()}, points)


def point_folders(out: Path) -> list[Path]:
    """The folders of a sweep's runs, in order.

    Raises:
        ConfigError: the folder holds no sweep.
    """
    return [out / point.folder for point in read_sweep(out).points]


def _recorded(folder: Path, overrides: Sequence[str]) -> EvalConfig:
    """A point's configuration with operational overrides; others would make it a point that its values do not name."""
    path = folder / CONFIG_NAME
    config = load_config(path, overrides)
    check_identity(load_config(path).identity(), config.identity(), folder)
    return config


def run_sweep(plan: SweepPlan, out: Path, console: Console | None = None) -> SweepResult:
    """Runs what is not finished of a sweep's folder, and writes its summary, table and figures.

    Raises:
        ConfigError: a point cannot be run as written.
        SetupError: the machine cannot run it.
        LedgerError: a folder cannot be read or written.
    """
    progress = ProgressView(console or Console(quiet=True))
    with contextlib.ExitStack() as stack:
        parts = [open_part(stack, out, point) for point in plan.points]
        is_interrupted = _run_parts(parts, progress)
        for part in parts:
            with tracked(part, progress):
                pass
        points = tuple(swept(point, part) for point, part in zip(plan.points, parts, strict=True))
    write_sweep(plan, points, out)
    return SweepResult(out, points, is_interrupted)


def write_sweep(plan: SweepPlan, points: Sequence[SweptPoint], out: Path) -> None:
    """Writes the summary, the table and the figures of a sweep's folder."""
    write_atomically(out / "summary.json", sweep_summary_text(plan.axes, points))
    write_atomically(out / "points.csv", sweep_csv_text(points))
    draw_success(plan.axes, points, out / "success", title_of(plan))
    draw_queue_lengths(points, out / "queue")


def title_of(plan: SweepPlan) -> str:
    """What is swept, in one line."""
    config = plan.points[0].config
    return f"{config.policy_type} on {', '.join(config.suite)}"


def open_part(stack: contextlib.ExitStack, out: Path, point: Point) -> Part:
    """The point's part with its folder, held until the stack is left."""
    folder = stack.enter_context(contextlib.closing(RunFolder(out / point.folder, is_resume=True)))
    return Part(point.config, plan_of(point.config), folder, label=Path(point.folder).name)


def _run_parts(parts: Sequence[Part], progress: ProgressView) -> bool:
    """Runs the parts that have something to do, one policy after the other; whether it was interrupted."""
    waiting = [part for part in parts if part.waiting_count]
    if not waiting:
        progress.note("every episode of every point is finished already")
        return False
    # Room for the policy that takes most; in all else that changes no result the first point's word stands.
    most = max(actor_cpus(part.config) for part in waiting)
    largest = next(part.config for part in waiting if actor_cpus(part.config) == most)
    configs, count = [part.config for part in waiting], sum(part.waiting_count for part in waiting)
    with open_session(largest, count, progress, others=configs) as session:
        # A policy is loaded once, whatever the order of its points.
        return any(_executed(session, group) for group in _by_policy(waiting))


def _executed(session: Session, group: Sequence[Part]) -> bool:
    """Runs parts, and films what they ask for; whether it was interrupted."""
    is_interrupted = session.execute(group)
    session.film(is_interrupted=is_interrupted)
    return is_interrupted


def _by_policy(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Parts that one policy actor can serve: of one policy, in forwards of one kind."""
    groups: dict[Any, list[Part]] = {}
    for part in parts:
        groups.setdefault((part.config.policy, part.config.serving.batching()), []).append(part)
    yield from groups.values()


def swept(point: Point, part: Part) -> SweptPoint:
    """The point with what its part has found so far."""
    header, found = part.header, part.evaluation(is_interrupted=False)
    return SweptPoint(
        values=point.values,
        planned=len(part.plan),
        results=found.results,
        identity_sha256=None if header is None else header["identity_sha256"],
        machine_dependence=found.machine_dependence,
        interval=point.config.interval,
        perturbed=found.perturbed,
    )

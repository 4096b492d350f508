"""What a report is told of a run: its results, where and when they came about, and what was seen of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray_eval.report.metrics import PERTURBED_KEY, Told, without_controls
from ray_eval.report.question import Arm
from ray_eval.stats.intervals import DEFAULT_METHOD, IntervalMethod
from ray_eval.types import EpisodeResult, Outcome


@dataclass(frozen=True, slots=True)
class Seen:
    """What a replay saw of an episode; every field may be empty."""

    video: Path | None = None
    """H.264 file."""
    picture: Path | None = None
    """JPEG of its last frame."""
    failure_class: str | None = None
    """Class of its failure."""
    why: str = ""
    """The class in a sentence about this episode."""
    progress: tuple[float, ...] = ()
    """Share of the task that was done, at each step from 0 on, in [0, 1]."""
    facts: tuple[tuple[str, str], ...] = ()
    """What was measured: how far each object came, which conditions held, path, force and the like."""


@dataclass(frozen=True, slots=True)
class PublishedBeside:
    """A protocol under which others published rates on a run's suites."""

    protocol: str
    """Its name."""
    rows: tuple[tuple[str, str, str, str], ...]
    """Of each published row: name, model, its rates by suite as text, source with the day on which it was read."""
    differences: tuple[tuple[str, str, str], ...]
    """Choices that differ: key, value of the run, value of the protocol."""


@dataclass(frozen=True, slots=True)
class ShownRun:
    """One run as a report shows it."""

    arm: Arm
    """Its name, identity and results."""
    path: Path
    """Its folder."""
    header: Mapping[str, Any]
    """The ledger's header."""
    records: Mapping[str, Mapping[str, Any]]
    """Ledger lines that count, by episode id: worker, start, wall time, attempt."""
    sessions: Sequence[Mapping[str, Any]] = ()
    """Provenance of each process that ran some of it."""
    served: Sequence[Mapping[str, Any]] = ()
    """What the policy actors counted, of each session that ended by itself or by a signal."""
    instructions: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """Tasks in words, by suite and task id; a task that is missing here is called by its name."""
    published: Sequence[PublishedBeside] = ()
    """Protocols of published rates on its suites."""
    seen: Mapping[str, Seen] = field(default_factory=dict)
    """What replays saw, by episode id."""
    sheets: Mapping[tuple[str, int], Path] = field(default_factory=dict)
    """Contact sheets, by suite and task id."""
    commands: Mapping[str, str] = field(default_factory=dict)
    """What to type: `again`, `resume`, and `video`, `replay`, `trace` with `{}` for an episode's id."""
    interval: IntervalMethod = DEFAULT_METHOD
    """How its intervals are made."""

    @property
    def results(self) -> list[EpisodeResult]:
        """Results that count, in plan order."""
        return list(self.arm.results.values())

    @property
    def perturbed(self) -> Told:
        """What of its tasks is perturbed."""
        told: Told = self.arm.identity.get(PERTURBED_KEY, {})
        return told

    @property
    def about(self) -> list[EpisodeResult]:
        """Results that the run is about: all but controls."""
        return without_controls(self.results, self.perturbed)

    @property
    def failures(self) -> list[EpisodeResult]:
        """Episodes that spent their budget."""
        return [result for result in self.results if result.outcome is Outcome.FAILURE]

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved configuration."""
        found: Mapping[str, Any] = self.header["config"]
        return found

    @property
    def mode(self) -> str:
        """`sync`, `async` or `realtime`."""
        return str(self.arm.identity.get("execution.mode", "sync"))

    @property
    def suites(self) -> list[str]:
        """Its suites, in order."""
        return list(dict.fromkeys(result.spec.suite for result in self.results)) or [*self.config["suite"]]

    def task_words(self, suite: str, task_id: int, name: str = "") -> str:
        """A task in words."""
        return self.instructions.get((suite, task_id)) or name.replace("_", " ") or f"task {task_id}"

    def finding(self, episode_id: str) -> Seen:
        """What was seen of an episode."""
        return self.seen.get(episode_id, _NOTHING)


_NOTHING = Seen()

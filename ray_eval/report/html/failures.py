"""What went wrong, grouped: failures by their class or, without one, by task, and errors by reason; pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from ray_eval.report.html.media import Embedder, Medium
from ray_eval.report.html.shown import ShownRun
from ray_eval.report.html.words import CLASSES
from ray_eval.report.metrics import ErrorGroup, error_groups
from ray_eval.types import EpisodeResult

MOST_CARDS = 12
"""Episodes of a group that are shown with a picture; the others are named."""


@dataclass(frozen=True, slots=True)
class Card:
    """One episode that failed."""

    episode_id: str
    """Which one."""
    words: str
    """Its task in words."""
    told: str
    """What happened, in a sentence."""
    video: Medium | None
    """What it looked like."""
    picture: Medium | None
    """Its last frame."""
    commands: tuple[tuple[str, str], ...]
    """What to type to look closer: purpose and command."""
    facts: tuple[tuple[str, str], ...] = ()
    """What was measured in the simulator's state, as names and figures."""


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures of one kind."""

    name: str
    """Class, or the task where no replay has looked."""
    count: int
    """How many there are."""
    cards: tuple[Card, ...]
    """The first of them."""
    others: tuple[str, ...]
    """Ids of the others."""

    @property
    def meaning(self) -> str:
        """What the class says; empty for a task."""
        return CLASSES.get(self.name, "")

    @property
    def is_seen(self) -> bool:
        """Whether there is anything to look at, or to say, of one of them."""
        return any(card.video or card.picture or card.facts for card in self.cards)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all of them."""
        return (*(card.episode_id for card in self.cards), *self.others)


@dataclass(frozen=True, slots=True)
class Failures:
    """Everything that went wrong in a run."""

    groups: tuple[FailureGroup, ...]
    """Failures, the largest group first."""
    errors: tuple[ErrorGroup, ...]
    """Errors, the most frequent first."""
    has_classes: bool
    """Whether any failure has a class."""

    @property
    def unseen(self) -> list[tuple[str, str, str, str]]:
        """Of the groups of which there is nothing to look at: name, number, episodes, and a command for the first."""
        return [
            (group.name, str(group.count), _some(group.ids), next((c for _, c in group.cards[0].commands), ""))
            for group in self.groups
            if not group.is_seen
        ]

    @property
    def error_rows(self) -> list[tuple[str, str, str]]:
        """Reason, number and first episode of each group of errors."""
        return [(group.reason, str(group.count), group.first_episode_id) for group in self.errors]


def failures_of(run: ShownRun, embedder: Embedder) -> Failures:
    """What went wrong in a run, its media taken into the page in turns over the groups."""
    has_classes = any(run.finding(result.spec.episode_id).failure_class for result in run.failures)
    groups: dict[str, list[EpisodeResult]] = {}
    for result in run.failures:
        groups.setdefault(_group_name(run, result, has_classes=has_classes), []).append(result)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    _place(run, [group[:MOST_CARDS] for _, group in ordered], embedder)
    found = tuple(
        FailureGroup(
            name,
            len(group),
            tuple(_card(run, result, embedder) for result in group[:MOST_CARDS]),
            tuple(result.spec.episode_id for result in group[MOST_CARDS:]),
        )
        for name, group in ordered
    )
    return Failures(found, tuple(error_groups(run.results)), has_classes)


def _some(ids: Sequence[str], most: int = 5) -> str:
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return f"{', '.join(ids[:most])}{more}"


def _group_name(run: ShownRun, result: EpisodeResult, *, has_classes: bool) -> str:
    if has_classes:
        return run.finding(result.spec.episode_id).failure_class or "not looked at"
    return run.task_words(result.spec.suite, result.spec.task_id, result.task)


def _place(run: ShownRun, groups: Sequence[Sequence[EpisodeResult]], embedder: Embedder) -> None:
    """One of each group, then another one: every picture before any video."""
    turns = [result for turn in itertools.zip_longest(*groups) for result in turn if result is not None]
    seen = [run.finding(result.spec.episode_id) for result in turns]
    # On screen below the video's controls, and on paper in its place.
    embedder.take((each.picture for each in seen), times=2)
    embedder.take(each.video for each in seen)


def _card(run: ShownRun, result: EpisodeResult, embedder: Embedder) -> Card:
    episode_id = result.spec.episode_id
    seen = run.finding(episode_id)
    told = seen.why or f"spent its {result.spec.max_steps} steps"
    names = (("look", "video"), ("replay", "replay"), ("queue, step by step", "trace"))
    commands = tuple((name, run.commands[key].replace("{}", episode_id)) for name, key in names if key in run.commands)
    return Card(
        episode_id,
        run.task_words(result.spec.suite, result.spec.task_id, result.task),
        told,
        embedder.medium(seen.video),
        embedder.medium(seen.picture),
        commands,
        seen.facts,
    )

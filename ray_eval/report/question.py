"""What two runs differ in, and whether the difference is the question that is asked; pure."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ray_eval.types import EpisodeResult, Outcome


class Kind(enum.StrEnum):
    """What a difference between two runs means for their comparison."""

    QUESTION = "question"
    """It is what is compared: the policy, or how its chunks become actions."""
    PAIRING = "pairing"
    """Episodes of the same name are not the same; counts may still be compared as those of others (`--unpaired`)."""
    CONFOUNDER = "confounder"
    """What is measured is not the same; no difference of the rates could be told from it."""
    NOTE = "note"
    """Good to know, and no reason to refuse."""


QUESTION_KEYS = (
    "policy",
    "execution",
    "serving",
    "task_text",
    "protocol.replan_steps",
    "protocol.images",
    "protocol.state_format",
    "protocol.gripper",
    "protocol.control",
    "protocol.instruction",
    "environment.policy",
    "environment.aggregate_sha256",
    "environment.calibrated_latency_ms",
    "environment.is_reproducible",
)
"""Keys of the policy's side: the policy, what it is shown, how it is served, and how its answers become actions."""
PAIRING_KEYS = ("seed", "protocol.env_seed", "protocol.init_states", "environment")
"""Keys that decide what an episode of a given name is: seeds, start states, simulator, renderer, machine."""
PIXEL_KEYS = ("environment.renderer", "environment.canary_pixels", "environment.pillow")
"""Keys that only a policy which asks for images has."""
EPISODE_KEYS = (
    "suite",
    "tasks",
    "init_states",
    "episodes_per_task",
    "repeats",
    "simulator.name",
    "protocol.max_steps",
    "protocol.name",
)
"""Keys that are compared by what came of them: which episodes were run, with which budgets."""
CONTENT_KEYS = ("environment.content",)
"""Digests over the files of a run's own tasks: of other tasks they are others."""
SPEC_KEY = "environment.simulator.spec"
"""What the simulator takes and gives, the kind of control that the policy wants included."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which two runs differ."""

    key: str
    """Key of the identity, or a word such as `incomplete`."""
    first: str
    """Its value in the first, as text."""
    second: str
    """Its value in the second, as text."""
    kind: Kind
    """What it means."""
    remedy: str = ""
    """What to do about it."""
    is_allowable: bool = True
    """Whether there is anything to compare where it is allowed."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One of the runs that are compared."""

    name: str
    """What it is called in tables and sentences."""
    identity: Mapping[str, Any]
    """Identity of its run."""
    results: Mapping[str, EpisodeResult]
    """The results that count, by episode id, in plan order."""
    planned: int | None = None
    """Episodes that its configuration plans; None where that cannot be told here."""
    is_starved: bool = False
    """Whether the policy never acted."""
    machine_dependence: str | None = None
    """What its figures owe to the machine."""
    stopped_by: str | None = None
    """Rule by which it stopped of itself before its plan's end."""
    finish: str = "ray-eval run --resume RUN"
    """What to type to finish it."""
    place: str = ""
    """Its folder as a shell takes it."""

    @property
    def ended(self) -> dict[str, EpisodeResult]:
        """Episodes that are a success or a failure, by id."""
        return {key: result for key, result in self.results.items() if result.outcome is not Outcome.ERROR}

    @property
    def is_mixed(self) -> bool:
        """Whether its episodes come from machines that compute other bits."""
        return len({result.canary for result in self.ended.values()}) > 1


def differences(first: Arm, second: Arm) -> list[Difference]:
    """Everything in which two runs differ, the states that they are in included."""
    keys = sorted(first.identity.keys() | second.identity.keys())
    found = [_difference(key, first.identity, second.identity) for key in keys]
    episodes = _episodes(first, second)
    told = [_seen_among(d, found, has_others=bool(episodes)) for d in found if d is not None]
    return [*told, *_budgets(first, second), *episodes, *states(first), *states(second)]


def _seen_among(difference: Difference, found: Sequence[Difference | None], *, has_others: bool) -> Difference:
    """The difference as a note where it follows from another one: other tasks, or another control."""
    has_other_control = any(d is not None and d.key == "protocol.control" for d in found)
    follows = has_others and is_under(difference.key, CONTENT_KEYS)
    follows = follows or (difference.key == SPEC_KEY and has_other_control)
    return replace(difference, kind=Kind.NOTE) if follows else difference


def _difference(key: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Difference | None:
    one, other = (recorded_text(identity, key) for identity in (first, second))
    if one == other or is_under(key, EPISODE_KEYS):
        return None
    return Difference(key, one, other, kind_of(key, first, second))


def recorded_text(identity: Mapping[str, Any], key: str) -> str:
    """A run's value as JSON, in which true is not 1, and as a configuration has it."""
    return json.dumps(identity[key], sort_keys=True) if key in identity else "not recorded"


def kind_of(key: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Kind:
    """What a difference in a key means."""
    if is_under(key, ("protocol",)) and (key not in first or key not in second):
        # An older version did not know it, or another simulator has no such choice: nobody asked about it.
        return Kind.NOTE
    if is_under(key, QUESTION_KEYS):
        return Kind.QUESTION
    if key in PIXEL_KEYS and (first.get(key) is None or second.get(key) is None):
        return Kind.NOTE
    if key not in first or key not in second:
        # An older version did not know it.
        return Kind.NOTE
    return Kind.PAIRING if is_under(key, PAIRING_KEYS) else Kind.CONFOUNDER


def is_under(key: str, parents: Iterable[str]) -> bool:
    """Whether a dotted key is one of some others or below it; `environment.policy` has `environment.policy_sha256`."""
    return any(
        key == parent or key.startswith((f"{parent}.", f"{parent}_" if "." in parent else f"{parent}."))
        for parent in parents
    )


def _budgets(first: Arm, second: Arm) -> list[Difference]:
    """Suites that both ran, with other budgets."""
    one, other = _budget_by_suite(first), _budget_by_suite(second)
    return [
        Difference(f"protocol.max_steps.{suite}", str(one[suite]), str(other[suite]), Kind.CONFOUNDER)
        for suite in one
        if suite in other and one[suite] != other[suite]
    ]


def _budget_by_suite(arm: Arm) -> dict[str, int]:
    return {result.spec.suite: result.spec.max_steps for result in arm.results.values()}


def _episodes(first: Arm, second: Arm) -> list[Difference]:
    """Episodes that one has and the other has not, errors aside."""
    common = len(first.results.keys() & second.results.keys())
    if common == len(first.results) == len(second.results):
        return []
    remedy = f"run the same episodes, or compare the {common} that both have by --allow episodes"
    if not common:
        remedy = "run the same suites, tasks and init states"
    told = Difference("episodes", _tasks_of(first), _tasks_of(second), Kind.CONFOUNDER, remedy)
    return [replace(told, is_allowable=common > 0)]


def _tasks_of(arm: Arm) -> str:
    suites: dict[str, set[int]] = {}
    for result in arm.results.values():
        suites.setdefault(result.spec.suite, set()).add(result.spec.task_id)
    tasks = ", ".join(f"{len(ids)} tasks of {suite}" for suite, ids in suites.items()) or "none"
    return f"{len(arm.results)} ({tasks})"


def states(arm: Arm) -> list[Difference]:
    """What is to be known of one run, whatever the other is."""
    found = []
    missing = len(arm.results) - len(arm.ended), (arm.planned or 0) - len(arm.results)
    if any(count > 0 for count in missing):
        broke = f"{missing[0]} errors, {max(missing[1], 0)} of {arm.planned} episodes not run"
        remedy = f"finish it by {arm.finish}, or compare what both ended by --allow incomplete"
        found.append(Difference("incomplete", arm.name, broke, Kind.CONFOUNDER, remedy))
    if arm.is_mixed:
        remedy = "run it on machines of one kind, or --allow mixed"
        found.append(Difference("mixed", arm.name, "machines that compute other bits", Kind.PAIRING, remedy))
    if arm.is_starved:
        remedy = "shorten the latency or lengthen the chunks; --allow starved compares it all the same"
        found.append(Difference("starved", arm.name, "its policy never acted in time", Kind.CONFOUNDER, remedy))
    if arm.stopped_by is not None:
        remedy = "a rate that decided when it stopped is no fixed sample; ray-eval duel compares, or --allow until"
        found.append(Difference("until", arm.name, f"stopped by {arm.stopped_by}", Kind.CONFOUNDER, remedy))
    if arm.identity.get("environment.is_reproducible") is False:
        remedy = "run it with repeats=3 to see by how much"
        found.append(Difference("not reproducible", arm.name, "the same run again may differ", Kind.NOTE, remedy))
    if arm.machine_dependence is not None:
        found.append(Difference("depends on the machine", arm.name, arm.machine_dependence, Kind.NOTE))
    if any(result.spec.repeat for result in arm.results.values()):
        said = "repeats of an init state are taken as independent, unless all have the same trajectory"
        found.append(Difference("repeats", arm.name, said, Kind.NOTE))
    return found


@dataclass(frozen=True, slots=True)
class Question:
    """Whether two runs can be compared, and on what grounds."""

    differences: tuple[Difference, ...]
    """Everything in which they differ."""
    allowed: tuple[str, ...]
    """Keys that the user allowed to differ, and that do."""
    is_paired: bool
    """Whether episodes are compared by their id."""

    @property
    def refused(self) -> tuple[Difference, ...]:
        """What they must not differ in and was not allowed."""
        reasons = (Kind.CONFOUNDER, Kind.PAIRING) if self.is_paired else (Kind.CONFOUNDER,)
        return tuple(d for d in self.differences if d.kind in reasons and not is_allowed(d.key, self.allowed))


def is_allowed(key: str, allowed: Sequence[str]) -> bool:
    """Whether a key or one that it is below was allowed."""
    return any(key == other or key.startswith(f"{other}.") for other in allowed)


def question_of(first: Arm, second: Arm, allowed: Sequence[str], *, is_paired: bool) -> Question:
    """What two runs are compared in."""
    found = tuple(differences(first, second))
    used = tuple(key for key in allowed if any(is_allowed(difference.key, [key]) for difference in found))
    return Question(found, used, is_paired)

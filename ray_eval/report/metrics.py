"""Success rates and the summary of a run: pure functions of the ledger's records, without their volatile fields."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray_eval.stats.intervals import DEFAULT_METHOD, IntervalMethod, interval_of
from ray_eval.types import EpisodeResult, EpisodeSpec, Outcome

CALIBRATED_KEY = "calibrated_latency_ms"
"""Name, among the environment's identity values, of the latency that was measured at the run's start."""
PERTURBED_KEY = "environment.perturbed"
"""Name, in a run's identity, of what says of each perturbed task its axis, its level and its control."""

Told = Mapping[str, Mapping[str, Any]]
"""`axis`, `level` and `control` (`suite/task_id`) by `suite/task_id` of a perturbed task."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Success rate of a group of episodes: successes / (successes + failures), errors beside it."""

    successes: int
    """Episodes that the env called a success."""
    failures: int
    """Episodes that spent their budget."""
    errors: int
    """Episodes that broke; they say nothing about the policy."""
    steps: int
    """Control steps of the successes and failures together."""
    method: IntervalMethod = DEFAULT_METHOD
    """How its interval is made."""

    @property
    def n(self) -> int:
        """Episodes that count."""
        return self.successes + self.failures

    @property
    def value(self) -> float | None:
        """The success rate in [0, 1]; None where no episode counts."""
        return self.successes / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval; None where no episode counts."""
        found = interval_of(self.successes, self.n, self.method)
        return None if found is None else (found.low, found.high)

    @property
    def mean_steps(self) -> float | None:
        """Control steps per counted episode."""
        return self.steps / self.n if self.n else None


def rate_of(results: Iterable[EpisodeResult], method: IntervalMethod = DEFAULT_METHOD) -> Rate:
    """The rate of some results, and how its interval is to be made."""
    listed = list(results)
    counted = [result for result in listed if result.outcome is not Outcome.ERROR]
    successes = sum(result.outcome is Outcome.SUCCESS for result in counted)
    return Rate(
        successes=successes,
        failures=len(counted) - successes,
        errors=len(listed) - len(counted),
        steps=sum(result.steps for result in counted),
        method=method,
    )


def by_task(results: Iterable[EpisodeResult]) -> dict[tuple[str, int], list[EpisodeResult]]:
    """Results by (suite, task_id), in the order in which the tasks first appear."""
    groups: dict[tuple[str, int], list[EpisodeResult]] = {}
    for result in results:
        groups.setdefault((result.spec.suite, result.spec.task_id), []).append(result)
    return groups


def task_key(result: EpisodeResult) -> str:
    """A result's task as `suite/task_id`."""
    return f"{result.spec.suite}/{result.spec.task_id}"


def without_controls(results: Iterable[EpisodeResult], told: Told) -> list[EpisodeResult]:
    """The results that a run is about: all but those of the controls, where anything is perturbed."""
    return [result for result in results if not is_control(result.spec, told)]


def is_control(spec: EpisodeSpec, told: Told) -> bool:
    """Whether an episode is there only for perturbed ones to be held against it."""
    return bool(told) and f"{spec.suite}/{spec.task_id}" not in told


def by_suite(results: Iterable[EpisodeResult]) -> dict[str, list[EpisodeResult]]:
    """Results by suite, in the order in which the suites first appear."""
    groups: dict[str, list[EpisodeResult]] = {}
    for result in results:
        groups.setdefault(result.spec.suite, []).append(result)
    return groups


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Episodes that ended in the same error."""

    reason: str
    """The first one's error, one line."""
    count: int
    """How many there are."""
    first_episode_id: str
    """The first of them, in the order of the results."""


def error_groups(results: Iterable[EpisodeResult]) -> list[ErrorGroup]:
    """The errors among some results, the most frequent first; two that differ in numbers alone are one group."""
    groups: dict[str, list[EpisodeResult]] = {}
    for result in results:
        if result.outcome is Outcome.ERROR:
            groups.setdefault(re.sub(r"\d+", "#", _one_line(result.error)), []).append(result)
    found = [ErrorGroup(_one_line(group[0].error), len(group), group[0].spec.episode_id) for group in groups.values()]
    return sorted(found, key=lambda group: -group.count)


def _one_line(error: str | None) -> str:
    return " ".join((error or "unknown").split())


def version_changes(sessions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Packages of which a run's sessions had different versions, in the order of the sessions: `numpy: 1, then 2`.

    Args:
        sessions: the provenance of each; what one of them does not tell is not compared.
    """
    told: dict[str, dict[str, None]] = {}
    for session in sessions:
        policy = session.get("policy", {}).get("versions", {})
        versions = {**session.get("versions", {}), **{f"the policy's {name}": found for name, found in policy.items()}}
        for name, version in {**versions, "ray": session.get("ray")}.items():
            if version is not None:
                told.setdefault(name, {})[version] = None
    return [f"{name}: {', then '.join(versions)}" for name, versions in told.items() if len(versions) > 1]


def summary_text(
    header: Mapping[str, Any],
    plan: Sequence[EpisodeSpec],
    results: Mapping[str, EpisodeResult],
    sessions: Sequence[Mapping[str, Any]] = (),
    interval: IntervalMethod = DEFAULT_METHOD,
    *,
    stopped_by: str | None = None,
    axes: Mapping[str, Any] | None = None,
) -> str:
    """`summary.json`: byte-identical for any two runs of the same identity in which the same episodes ended.

    Args:
        header: the ledger's header, of which identity, its hash and `is_starved` are used.
        plan: the planned episodes, in order.
        results: the result that counts, by episode id.
        sessions: provenance of each session that ran some of them, of which versions are used where they differ.
        interval: how intervals are made.
        stopped_by: rule by which the run stopped of itself, after which its intervals are no longer those of a fixed
            number of episodes.
        axes: what `axes.axes_values` makes of the results; the overall figures are then those without controls.
    """
    ordered = [results[spec.episode_id] for spec in plan if spec.episode_id in results]
    about = without_controls(ordered, header["identity"].get(PERTURBED_KEY, {}))
    summary = {
        "schema_version": header["schema_version"],
        "identity": header["identity"],
        "identity_sha256": header["identity_sha256"],
        "planned": len(plan),
        "is_complete": rate_of(ordered).n == len(plan),
        # False where the same run again may give other episodes: throughput mode, or a server with noise of its own.
        "is_reproducible": header["identity"].get("environment.is_reproducible", True),
        "machine_dependence": machine_dependence(header["identity"]),
        "is_mixed": len({result.canary for result in ordered if result.outcome is not Outcome.ERROR}) > 1,
        "version_changes": version_changes(sessions),
        "is_starved": header.get("is_starved", False),
        "interval": interval,
        **({} if stopped_by is None else {"stopped_by": stopped_by}),
        **({} if axes is None else axes),
        "overall": group_values(about, interval),
        "suites": {suite: group_values(group, interval) for suite, group in by_suite(ordered).items()},
        "tasks": {
            # An episode that broke before it began does not know its task's name.
            f"{suite}/{task_id}": {"task": next((r.task for r in group if r.task), ""), **group_values(group, interval)}
            for (suite, task_id), group in by_task(ordered).items()
        },
        "episodes": [_episode_values(result) for result in ordered],
    }
    return json.dumps(summary, sort_keys=True, indent=2, allow_nan=False) + "\n"


def machine_dependence(identity: Mapping[str, Any]) -> str | None:
    """What a run's figures owe to the machine that it ran on; None for the same figures on every machine."""
    if identity.get("execution.mode") == "realtime":
        return f"paced by the clock at {identity['execution.fps']} fps"
    calibrated_ms = identity.get(f"environment.{CALIBRATED_KEY}")
    return None if calibrated_ms is None else f"latency as timed at the run's start, {calibrated_ms:g} ms"


def group_values(group: Sequence[EpisodeResult], method: IntervalMethod = DEFAULT_METHOD) -> dict[str, Any]:
    """The figures of some episodes as JSON values: their rate with its interval, and what happened in them."""
    rate = rate_of(group, method)
    counted = [result for result in group if result.outcome is not Outcome.ERROR]
    interval = rate.interval
    return {
        "successes": rate.successes,
        "failures": rate.failures,
        "errors": rate.errors,
        "n": rate.n,
        "success_rate": rounded(rate.value),
        "interval_low": rounded(interval[0]) if interval else None,
        "interval_high": rounded(interval[1]) if interval else None,
        "mean_steps": rounded(rate.mean_steps),
        "mean_reward": rounded(math.fsum(r.reward_sum for r in counted) / rate.n) if rate.n else None,
        **{
            name: sum(getattr(result, name) for result in counted)
            for name in ("requests", "renders", "underrun_steps", "waited_steps", "stale_actions", "aggregated_actions")
        },
        "underrun_share": _ratio(sum(result.underrun_steps for result in counted), rate.steps),
        "inside": inside_values(counted),
        **_disturbed_values(counted),
        **_pacing_values(counted),
    }


def _disturbed_values(counted: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Episodes whose start state did not hold an object; nothing where one of them does not tell."""
    told = [result.disturbed for result in counted if result.disturbed is not None]
    return {"disturbed_episodes": sum(map(bool, told))} if told and len(told) == len(counted) else {}


def _pacing_values(counted: Sequence[EpisodeResult]) -> dict[str, Any]:
    """How the rate was held; nothing in virtual time."""
    pacings = [result.pacing for result in counted if result.pacing is not None]
    if not pacings:
        return {}
    return {
        "achieved_fps_min": rounded(min(pacing.achieved_fps for pacing in pacings)),
        "achieved_fps_mean": rounded(math.fsum(pacing.achieved_fps for pacing in pacings) / len(pacings)),
        "missed_ticks": sum(pacing.missed_ticks for pacing in pacings),
    }


def inside_values(counted: Sequence[EpisodeResult]) -> dict[str, Any] | None:
    """What happened at the queues of some episodes, in aggregate; None where one of them does not tell."""
    insides = [result.inside for result in counted if result.inside is not None]
    if not insides or len(insides) < len(counted):
        return None
    steps, seams = sum(result.steps for result in counted), sum(inside.seams for inside in insides)
    intervals = sum(max(result.requests - 1, 0) for result in counted)
    return {
        "queue_length_mean": _ratio(sum(sum(inside.queue_lengths) for inside in insides), steps),
        "replan_interval_steps": _ratio(sum(inside.request_span_steps for inside in insides), intervals),
        "filtered_observations": sum(inside.filtered_observations for inside in insides),
        "seams": seams,
        "seam_jump_m_mean": _ratio(math.fsum(inside.seam_jump_m_sum for inside in insides), seams),
        "seam_jump_m_max": rounded(max(inside.seam_jump_m_max for inside in insides)),
        "seam_jump_rad_mean": _ratio(math.fsum(inside.seam_jump_rad_sum for inside in insides), seams),
        "seam_jump_rad_max": rounded(max(inside.seam_jump_rad_max for inside in insides)),
    }


def _ratio(value: float, count: int) -> float | None:
    return rounded(value / count) if count else None


def _episode_values(result: EpisodeResult) -> dict[str, Any]:
    return {
        "episode_id": result.spec.episode_id,
        "outcome": str(result.outcome),
        "steps": result.steps,
        "trajectory_sha256": result.trajectory_sha256,
        "actions_sha256": result.actions_sha256,
    }


def rounded(value: float | None) -> float | None:
    """The figure as it is written: to 6 digits behind the point."""
    return None if value is None else round(value, 6)


def csv_text(plan: Sequence[EpisodeSpec], records: Mapping[str, Mapping[str, Any]]) -> str:
    """`episodes.csv`: one row per planned episode that has a record, in plan order; without tracebacks and lists."""
    ordered = [records[spec.episode_id] for spec in plan if spec.episode_id in records]
    columns = [
        key
        for key in (ordered[0] if ordered else {})
        if key not in ("kind", "traceback", "inside", "disturbed", "timing")
    ]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(ordered)
    return buffer.getvalue()

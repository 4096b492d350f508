"""The sentences at the head of a report: a rate, what it means, and what to know before it is quoted; pure."""

from __future__ import annotations

from dataclasses import dataclass

from ray_eval.report.html.shown import ShownRun
from ray_eval.report.metrics import Rate, rate_of, version_changes
from ray_eval.report.wording import POWER, many, points
from ray_eval.stats.intervals import NAMES
from ray_eval.stats.power import MOST_PAIRS, detectable_difference, worst_half_width

CLASSES = {
    "never reached": "The hand never came to the object or part.",
    "wrong object": "Another object was lifted, and the right one was never held.",
    "missed grasp": "The hand came to the object and did not lift it, or to the part and did not move it.",
    "dropped": "The object was lifted, and fell or slipped.",
    "right object, wrong place": "The object was put down, or the part left, where it does not belong.",
    "undid it": "A condition of the goal held, and not at the end.",
    "stalled": "The hand came to a stop at the object, or with it, with the budget still running.",
    "still moving at the end": "The budget was spent while the object, or the hand to it, was on its way.",
    "unclear": "None of the other classes applies.",
}
"""What the class of a failure says, in short; docs/failures.md defines them."""
SHARE = 0.1
"""Share of pairs that differ, where a sentence needs one and no pilot tells it."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to know before a rate is quoted."""

    level: str
    """`warning` where the number is not what it seems, `note` otherwise."""
    text: str
    """What."""


def range_text(rate: Rate) -> str:
    """`83.5 to 98.7 %`, or a dash."""
    interval = rate.interval
    return "-" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def meaning(rate: Rate) -> list[str]:
    """What a rate and its interval say, and what a run of this size can show."""
    if not rate.n:
        return ["No episode ended as a success or a failure, so there is no rate."]
    least = detectable_difference(rate.n, SHARE) if rate.n <= MOST_PAIRS else None
    reach = "no difference can be shown" if least is None else f"a difference of {points(least)} points can be shown"
    often = "at least" if rate.method == "clopper_pearson" else "about"
    near = points(worst_half_width(rate.n, rate.value or 0.0))
    between = range_text(rate).replace(" to ", " and ")
    means = (
        f"The success rate of this policy under this protocol is between {between}. An interval made this way "
        f"({NAMES[rate.method]}) holds the truth in {often} 95 of 100 cases."
    )
    shows = (
        f"{many(rate.n, 'episode')} tell a rate near this one to ±{near} points. Against another run on the same "
        f"episodes {reach} with probability {POWER}, where {points(SHARE)} % of the pairs differ."
    )
    return [means, shows]


def notices(run: ShownRun) -> list[Notice]:
    """Everything that changes how the rate is to be read, the gravest first."""
    arm, rate = run.arm, rate_of(run.results, run.interval)
    latest = run.sessions[-1] if run.sessions else {}
    missing = max(0, (arm.planned or 0) - len(arm.results))
    retried = sum(record.get("attempt", 1) > 1 for record in run.records.values())
    disturbed = sum(bool(result.disturbed) for result in run.results)
    changes = version_changes(list(run.sessions))
    found = [
        (missing, "warning", f"{missing} of {many(arm.planned or 0, 'planned episode')} were not run yet"),
        (rate.errors, "warning", f"{many(rate.errors, 'episode')} ended in errors, which are beside the rate"),
        (arm.is_starved, "warning", "every action came too late, so that the policy never acted (starved)"),
        (arm.is_mixed, "warning", "its episodes come from machines that compute other bits (mixed)"),
        (arm.machine_dependence, "warning", f"the figures depend on the machine: {arm.machine_dependence}"),
        (changes, "warning", f"not run under one version of everything: {'; '.join(changes)}"),
        (latest.get("version_warning"), "warning", str(latest.get("version_warning"))),
        (arm.stopped_by, "note", f"stopped by {arm.stopped_by}: its interval is not that of a fixed size"),
        (
            arm.identity.get("environment.is_reproducible") is False,
            "note",
            "the same run again may give other episodes (not reproducible)",
        ),
        (retried, "note", f"{many(retried, 'episode')} needed more than one attempt"),
        (disturbed, "note", f"{many(disturbed, 'episode')} began with an object that its start state did not hold"),
    ]
    said = [Notice(level, text) for is_so, level, text in found if is_so]
    return [*said, *(Notice("note", str(line)) for line in latest.get("remarks", ()))]

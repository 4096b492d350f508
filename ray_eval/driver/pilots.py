"""What pilot runs, or the user's figures, say before a comparison is made; runs in the driver, starts nothing."""

from __future__ import annotations

from collections.abc import Sequence

from ray_eval.errors import ConfigError
from ray_eval.report.evidence import about, on_shared, once
from ray_eval.report.metrics import rate_of
from ray_eval.report.paired import paired_counts
from ray_eval.report.question import Arm, question_of, states
from ray_eval.report.wording import many
from ray_eval.stats.power import Pilot, independent_discordance

_PARTIAL = ("incomplete", "episodes", "until", "mixed")
"""What may be said of pilots: part of a run tells a share of pairs too."""


def pilot_of(arms: Sequence[Arm], rate: float | None, discordant: float | None, target: float) -> Pilot:
    """What is known before: from one run, from two, or as the user says.

    Args:
        arms: the pilots, at most two.
        rate: success rate, where there is no pilot.
        discordant: share of pairs that differ; None for what the pilots say.
        target: difference that is to be shown.

    Raises:
        ConfigError: the pilots are no question, no episode of theirs ended, or nothing was given.
    """
    if len(arms) > 2 or (arms and rate is not None):
        raise ConfigError("power: expected one pilot run, two, or --rate and --discordant; leave the others out")
    if len(arms) == 2:
        return _of_two(arms[0], arms[1], discordant)
    if arms:
        return _of_rate(*_of_one(arms[0]), discordant, target)
    if rate is None:
        raise ConfigError("power: expected a pilot run or --rate, got neither; write --rate 90 --discordant 10")
    if not 0 <= rate <= 1:
        raise ConfigError(f"--rate: expected 0 to 100, got {100 * rate:g}; write --rate 90 --discordant 10")
    return _of_rate(rate, 0, "as given", discordant, target)


def _of_two(first: Arm, second: Arm, discordant: float | None) -> Pilot:
    refused = question_of(first, second, _PARTIAL, is_paired=True).refused
    if refused:
        told = "; ".join(f"{d.key}: {d.first} | {d.second}" for d in refused[:3])
        raise ConfigError(
            f"power: expected two pilots that can be compared, got {first.name} and {second.name}, which differ "
            f"({told[:200]}); take others, or one of them alone"
        )
    shared, _ = once(on_shared((about(first), about(second))))
    counts = paired_counts(shared[0].results, shared[1].results)
    if not counts.n:
        raise ConfigError(
            f"power: expected two runs with episodes that ended in both, got none in {first.name} and {second.name}"
            f"{_broken(first, second)}; name others"
        )
    share = counts.discordant / counts.n if discordant is None else discordant
    origin = f"{first.name} and {second.name}{_broken(first, second)}"
    return Pilot(counts.first_successes / counts.n, share, counts.n, origin)


def _of_one(arm: Arm) -> tuple[float, int, str]:
    """Rate, episodes and name of one pilot."""
    if any(difference.key == "starved" for difference in states(arm)):
        raise ConfigError(f"power: expected a pilot whose policy acted, got {arm.name}, starved; take another one")
    (counted,), _ = once([about(arm)])
    found = rate_of(counted.results.values())
    if found.value is None:
        raise ConfigError(
            f"power: expected a pilot with episodes that ended, got {arm.name} with none{_broken(arm)}; "
            "take another one, or write --rate 90 --discordant 10"
        )
    return found.value, found.n, f"{arm.name}{_broken(arm)}"


def _broken(*arms: Arm) -> str:
    """How many episodes ended in errors, where any did: ` (3 errors left out)`."""
    count = sum(len(arm.results) - len(arm.ended) for arm in arms)
    return f" ({many(count, 'error')} left out)" if count else ""


def _of_rate(rate: float, n: int, origin: str, discordant: float | None, target: float) -> Pilot:
    if discordant is not None:
        return Pilot(rate, discordant, n, origin)
    other = rate - target if rate + target > 1 else rate + target
    said = f"{origin}, as if the two outcomes of an episode were independent"
    return Pilot(rate, independent_discordance(rate, max(other, 0.0)), n, said)

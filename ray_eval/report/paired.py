"""Two conditions on the same episodes: which pairs there are; the statistics are in `stats`."""

from __future__ import annotations

from collections.abc import Mapping

from ray_eval.stats.intervals import Interval, IntervalMethod
from ray_eval.stats.paired import PairedCounts, newcombe_paired, tango
from ray_eval.types import EpisodeResult, Outcome


def paired_counts(first: Mapping[str, EpisodeResult], second: Mapping[str, EpisodeResult]) -> PairedCounts:
    """Compares the episodes that are a success or a failure in both, by episode id."""
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for episode_id, result in first.items():
        other = second.get(episode_id)
        if other is not None and Outcome.ERROR not in (result.outcome, other.outcome):
            counts[result.outcome is Outcome.SUCCESS, other.outcome is Outcome.SUCCESS] += 1
    return PairedCounts(counts[True, True], counts[True, False], counts[False, True], counts[False, False])


def paired_interval(counts: PairedCounts, method: IntervalMethod) -> Interval | None:
    """The difference's interval: Tango's, or Newcombe's beside Wilson's intervals, with which it is made."""
    return newcombe_paired(counts) if method == "wilson" else tango(counts)

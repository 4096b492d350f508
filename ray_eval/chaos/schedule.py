"""Which fault comes when: a pure function of a seed; runs in the process that disturbs a run."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ray_eval.errors import ConfigError, did_you_mean


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a schedule."""

    number: int
    """Its place, from 1."""
    kind: str
    """What happens."""
    delay_s: float
    """From an episode's step to the fault, s; 0 disturbs the step itself."""


def rounds(seed: int, counts: Mapping[str, int], longest_delay_s: float) -> Iterator[tuple[Fault, ...]]:
    """Rounds of faults without end: each has every kind as often as it is asked for, shuffled.

    Half of the faults come in mid-step, the others up to `longest_delay_s` later, wherever the run is by then.

    Args:
        seed: of kinds and delays.
        counts: how often each kind comes in a round.
        longest_delay_s: 0 disturbs steps alone.
    """
    generator = random.Random(f"chaos {seed}")  # noqa: S311 - to be had again
    number = 0
    while True:
        kinds = [kind for kind, count in sorted(counts.items()) for _ in range(count)]
        generator.shuffle(kinds)
        made = []
        for kind in kinds:
            number += 1
            delay_s = generator.uniform(0, longest_delay_s) if generator.random() < 0.5 else 0.0
            made.append(Fault(number, kind, round(delay_s, 3)))
        yield tuple(made)


def counts_of(text: str | None, known: Mapping[str, object]) -> dict[str, int]:
    """How often each kind is asked for: `worker_killed:20,policy_killed`; all once where nothing is said.

    Raises:
        ConfigError: a kind is unknown, or a count is none.
    """
    counts: dict[str, int] = {}
    for word in text.split(",") if text else known:
        kind, _, count = word.strip().partition(":")
        if kind not in known:
            raise ConfigError(f"--faults: expected {', '.join(known)}, got {kind!r}.{did_you_mean(kind, known)}")
        if count and not (count.isdecimal() and 0 < int(count) <= MOST_OF_A_KIND):
            raise ConfigError(f"--faults: expected {kind}:1 to {kind}:{MOST_OF_A_KIND}, got {word!r}")
        counts[kind] = counts.get(kind, 0) + int(count or 1)
    return counts


MOST_OF_A_KIND = 10_000

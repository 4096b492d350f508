"""Success rates that others published: a dated table with sources, read from `rows.toml`."""

from __future__ import annotations

import datetime as dt
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from ray_eval.errors import ConfigError, did_you_mean

PREFIX = "published:"
"""Begins the name of a row where a run is expected."""


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """What somebody reported of one checkpoint."""

    name: str
    """What it is called on the command line, behind `published:`."""
    model: str
    """The model."""
    checkpoint: str
    """Which checkpoint, as far as the source says."""
    protocol: str | None
    """Preset with the source's choices; None where they are not known well enough."""
    read: dt.date
    """Day on which the source was read."""
    source: str
    """Where it stands."""
    n: int
    """Episodes behind each suite's rate."""
    rates: Mapping[str, float]
    """Success rate by suite, percent."""

    def counts(self, suite: str) -> tuple[int, int]:
        """Successes and episodes of a suite; the successes are the count nearest to the rate that was printed."""
        return round(self.rates[suite] * self.n / 100), self.n


@functools.cache
def published_rows() -> Mapping[str, PublishedRow]:
    """Every row by its name."""
    table = tomllib.loads(files(__name__).joinpath("rows.toml").read_text(encoding="utf-8"))
    return {name: PublishedRow(name, **{"protocol": None, **values}) for name, values in table.items()}


def published_row(word: str) -> PublishedRow:
    """The row of `published:NAME`.

    Raises:
        ConfigError: there is none of that name.
    """
    name = word.removeprefix(PREFIX)
    rows = published_rows()
    if name not in rows:
        known = ", ".join(rows)
        raise ConfigError(f"{word}: expected one of {known}, got {name!r}.{did_you_mean(name, rows)}")
    return rows[name]

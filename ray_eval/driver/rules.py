"""The rules by which a run stops of itself, as they are written and recorded; needs no Ray."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ray_eval.errors import ConfigError, LedgerError
from ray_eval.messages import quoted

UNTIL_NAME = "until.json"
"""File that says, before the first episode, in which order a run goes and when it stops."""
_FORM = re.compile(r"half-?width\s*<=\s*([0-9.]+)\s*(%?)")


def read_rule(text: str) -> float:
    """The half-width of `halfwidth<=0.02`, as a share.

    Raises:
        ConfigError: it is another rule.
    """
    found = _FORM.fullmatch(text.strip())
    try:
        value = float(found[1]) / (100 if found[2] else 1) if found else 0.0
    except ValueError:
        value = 0.0
    if not 0.001 <= value < 0.5:
        raise ConfigError(f"--until {text}: expected halfwidth<=X with X from 0.001 to below 0.5, got another rule")
    return value


def recorded_rule(folder: Path) -> str | None:
    """The rule of a run that stops of itself; None for one that does not.

    Raises:
        ConfigError: it is one side of a duel.
    """
    path = folder / UNTIL_NAME
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        kind, rule = values["kind"], str(values["rule"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LedgerError(f"{path}: expected a rule to stop by, got {error}; take the file from a copy") from error
    if kind == "duel":
        raise ConfigError(
            f"{folder}: expected a run, got one side of a duel; ray-eval duel --resume {quoted(folder.parent)}"
        )
    return rule


def chosen_rule(said: str | None, resume: Path | None, *, has_demands: bool) -> str | None:
    """The rule that a run is to stop by: as the user says, or as the run that is resumed has it.

    Raises:
        ConfigError: they differ, the run that is resumed has none, or there are demands beside it.
    """
    recorded = None if resume is None else recorded_rule(resume)
    if said is not None:
        read_rule(said)
        if resume is not None and recorded != said:
            raise ConfigError(
                f"--until {said}: expected the rule that {resume} began with ({recorded}), got another; leave it out, "
                "or start a new run, as order and rule are written down before the first episode"
            )
    rule = said or recorded
    if rule is not None and has_demands:
        raise ConfigError(
            "--require: expected a run of a fixed size, got one that stops by --until; leave one of them out"
        )
    return rule

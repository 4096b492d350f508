"""`ray-eval list`: what there is to choose from."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap

from rich.table import Table

from ray_eval.cli.decide import told_published
from ray_eval.cli.words import EXIT_COMPLETE, Commands
from ray_eval.config import load_config, preset_names, preset_words
from ray_eval.errors import ConfigError
from ray_eval.report.terminal import output_console

CHOICES = ("simulators", "suites", "tasks", "policies", "protocols", "executions", "aggregations", "evaluations",
           "formats", "published")  # fmt: skip
"""What can be listed."""
AGGREGATIONS = {
    "latest_only": "the new action; the default",
    "weighted_average": "0.3 old + 0.7 new; LeRobot's client's",
    "average": "0.5 old + 0.5 new",
    "conservative": "0.7 old + 0.3 new",
    "package.module:function": "your own: (old, new) -> action, each (A,) float32",
}
"""What becomes of a step that two chunks speak of, with a word about each."""
WIDEST = 100
"""Most columns of a line."""


def add_list(commands: Commands) -> None:
    """The parser of `list`."""
    listing = commands.add_parser("list", help="what there is to choose from")
    listing.add_argument("what", choices=CHOICES)
    listing.add_argument("suite", nargs="?", help="the suite whose tasks are listed")
    listing.add_argument("--json", action="store_true", help="print an object of names and what they are")
    listing.set_defaults(command=_list, parser=listing, needs_folder=False)


def _list(parsed: argparse.Namespace) -> int:
    if parsed.suite is not None and parsed.what != "tasks":
        raise ConfigError(f"list {parsed.what}: expected nothing behind it, got {parsed.suite!r}")
    if parsed.what == "tasks":
        return _list_tasks(parsed.suite)
    entries = _entries(parsed.what)
    if parsed.json:
        print(json.dumps(entries, indent=2, ensure_ascii=False))
        return EXIT_COMPLETE
    column = 2 + max(map(len, entries), default=0)
    for name, text in entries.items():
        width = max(40, min(WIDEST, output_console().width) - column)
        first, *rest = textwrap.wrap(text, width, break_on_hyphens=False) or [""]
        print(f"{name:{column}}{first}".rstrip())
        for line in rest:
            print(" " * column + line)
    return EXIT_COMPLETE


def _entries(what: str) -> dict[str, str]:
    """Every entry by its name, with a word about it."""
    if what == "suites":
        from ray_eval.driver.simulators import defect_of_libero, installed_suites

        installed = installed_suites()
        if "libero" not in installed and (reason := defect_of_libero()):
            print(f"ray-eval: LIBERO's suites are left out: {reason}", file=sys.stderr)
        suites = {suite: simulator for simulator, names in installed.items() for suite in names}
        return suites | {name: f"group: {preset_words('suites', name)}" for name in preset_names("suites")}
    if what == "simulators":
        from ray_eval.driver.simulators import told_simulators

        return dict(told_simulators())
    if what == "protocols":
        from ray_eval.driver.simulators import own_protocols

        shared = {name: preset_words(what, name) for name in preset_names(what)}
        owned = {
            f"{name} ({simulator})": preset_words(f"{what}/{simulator}", name)
            for simulator, names in own_protocols().items()
            for name in names
        }
        return shared | owned
    if what == "formats":
        from ray_eval.driver.exporting import FORMATS

        return dict.fromkeys(FORMATS, "ray-eval export RUN --to it")
    if what in ("published", "aggregations"):
        return told_published() if what == "published" else dict(AGGREGATIONS)
    kind = {"evaluations": "."}.get(what, what)
    return {name: preset_words(kind, name) for name in preset_names(kind)}


def _list_tasks(suite: str | None) -> int:
    from ray_eval.driver.simulators import instructions

    if suite is None:
        raise ConfigError("list tasks: expected a suite, got none; write for instance ray-eval list tasks libero_goal")
    if suite in preset_names("suites"):
        members = ", ".join(load_config(None, ["policy=noop", f"suite={suite}"]).suite)
        raise ConfigError(f"list tasks: expected a suite, got the group {suite!r}; write one of {members}")
    table = Table("id", "task", box=None)
    for task_id, instruction in enumerate(instructions(suite)):
        table.add_row(str(task_id), instruction)
    output_console().print(table)
    return EXIT_COMPLETE

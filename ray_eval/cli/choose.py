"""`ray-eval list`: what there is to choose from."""

from __future__ import annotations

import argparse
import sys

from rich.table import Table

from ray_eval.cli.decide import list_published
from ray_eval.cli.words import EXIT_COMPLETE, Commands
from ray_eval.config import load_config, preset_names
from ray_eval.errors import ConfigError
from ray_eval.report.terminal import output_console


def add_list(commands: Commands) -> None:
    """The parser of `list`."""
    listing = commands.add_parser("list", help="what there is to choose from")
    listing.add_argument(
        "what", choices=("simulators", "suites", "tasks", "policies", "protocols", "evaluations", "published")
    )
    listing.add_argument("suite", nargs="?", help="the suite whose tasks are listed")
    listing.set_defaults(command=_list, parser=listing, needs_folder=False)


def _list(parsed: argparse.Namespace) -> int:
    if parsed.suite is not None and parsed.what != "tasks":
        raise ConfigError(f"list {parsed.what}: expected nothing behind it, got {parsed.suite!r}")
    if parsed.what == "tasks":
        return _list_tasks(parsed.suite)
    if parsed.what == "published":
        list_published()
        return EXIT_COMPLETE
    for name in _names(parsed.what):
        print(name)
    return EXIT_COMPLETE


def _names(what: str) -> tuple[str, ...]:
    if what == "suites":
        from ray_eval.driver.simulators import defect_of_libero, installed_suites

        installed = installed_suites()
        if "libero" not in installed and (reason := defect_of_libero()):
            print(f"ray-eval: LIBERO's suites are left out: {reason}", file=sys.stderr)
        suites = [suite for names in installed.values() for suite in names]
        return (*suites, *(f"{group} (group)" for group in preset_names("suites")))
    if what == "simulators":
        from ray_eval.driver.simulators import told_simulators

        return tuple(f"{name}: {said}" for name, said in told_simulators())
    if what == "protocols":
        from ray_eval.driver.simulators import told_protocols

        return tuple(f"{simulators}: {said}" for simulators, said in told_protocols())
    return preset_names({"evaluations": "."}.get(what, what))


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

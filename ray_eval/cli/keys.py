"""`ray-eval keys`: every key with its default; and `ray-eval completion`: what a shell completes."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import textwrap
from typing import Any

from ray_eval.cli.words import EXIT_COMPLETE, EXIT_USER_ERROR, Commands, complain
from ray_eval.config import preset_names
from ray_eval.config.keys import keys
from ray_eval.report.terminal import output_console

SHELLS = ("bash", "zsh", "fish")
"""Shells that can complete words."""
WIDEST = 100
"""Most columns of a text; a wider line is not read."""
PROTOCOLS = (
    "A protocol has values of its own for protocol.* (LIBERO takes protocol=openpi unless said); ray-eval run ... "
    "--dry-run shows those of a run."
)
"""Why what a run takes is not always the default that is listed."""


def add_keys(commands: Commands) -> None:
    """The parser of `keys`."""
    listing = commands.add_parser("keys", help="every key of a configuration, its default, and what it says")
    listing.add_argument(
        "prefix", nargs="?", default="", metavar="PREFIX", help="execution, serving.batch_size, policy=lerobot, ..."
    )
    listing.add_argument("--json", action="store_true", help="print a list of objects")
    listing.set_defaults(command=_keys, parser=listing, needs_folder=False, is_for_any_system=True)


def _keys(parsed: argparse.Namespace) -> int:
    found = keys(parsed.prefix)
    if parsed.json:
        print(json.dumps([dataclasses.asdict(key) for key in found], indent=2))
        return EXIT_COMPLETE
    width = min(WIDEST, output_console().width)
    for owner, members in itertools.groupby(found, key=lambda key: key.owner):
        group = list(members)
        print(f"{owner}:" if owner else "every run (* changes no result):")
        if any(key.name.startswith("protocol.") for key in group):
            print(textwrap.fill(PROTOCOLS, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False))
        for key in group:
            mark = "" if key.changes_results else " *"
            print(f"  {key.name}={key.default}{mark}")
            for line in textwrap.wrap(key.text, width - 6, break_on_hyphens=False):
                print(f"      {line}")
    return EXIT_COMPLETE


def add_completion(commands: Commands) -> None:
    """The parser of `completion`."""
    completion = commands.add_parser("completion", help='what completes words: eval "$(ray-eval completion bash)"')
    completion.add_argument("shell", choices=SHELLS, help="your shell")
    completion.set_defaults(command=_completion, parser=completion, needs_folder=False, is_for_any_system=True)


def _completion(parsed: argparse.Namespace) -> int:
    try:
        from argcomplete.shell_integration import shellcode
    except ModuleNotFoundError:
        return complain("ray-eval: expected the package argcomplete; type: pip install argcomplete", EXIT_USER_ERROR)
    print(shellcode(["ray-eval"], shell=parsed.shell))  # type: ignore[no-untyped-call]
    return EXIT_COMPLETE


def complete(parser: argparse.ArgumentParser) -> None:
    """Answers a shell that asks for words, and ends; does nothing where none asks."""
    if "_ARGCOMPLETE" not in os.environ:
        return
    import argcomplete

    argcomplete.autocomplete(parser, always_complete_options=False)


def complete_words(prefix: str, **_: Any) -> list[str]:
    """Words of a run that begin so: names of configurations, keys, and the names that a key takes."""
    key, separator, begun = prefix.partition("=")
    if separator:
        kinds = {"policy": "policies", "protocol": "protocols", "suite": "suites", "execution": "executions"}
        names = preset_names(kinds[key]) if key in kinds else ()
        return [f"{key}={name}" for name in names if name.startswith(begun)]
    presets = [f"{kind}=" for kind in ("policy", "protocol", "execution")]
    named = [*preset_names("."), *presets, *dict.fromkeys(f"{each.name}=" for each in keys())]
    return [name for name in named if name.startswith(prefix)]

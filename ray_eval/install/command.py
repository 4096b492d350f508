"""`ray-eval install NAME [EXTRA ...]`: its words, and what it says at the end."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from ray_eval.install.environment import commands, default_folder, python_of, run
from ray_eval.install.recipes import RECIPES, wanted

EPILOG = """\
examples:
  ray-eval install lerobot smolvla pi
  ray-eval install lerobot --version 0.4.4 --into ~/lerobot-0.4
  ray-eval install lerobot --dry-run
"""


def add_words(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("name", metavar="NAME", help=f"what to install: {', '.join(RECIPES)}")
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help="its extras; of LeRobot also types of policies")
    parser.add_argument("--version", metavar="V", help="version of its package (default: the newest that was tried)")
    parser.add_argument("--into", metavar="DIR", type=Path, help="folder of the environment")
    parser.add_argument("--python", metavar="PATH", help="interpreter to make it from")
    parser.add_argument("--dry-run", action="store_true", help="print the commands; run nothing")


def install(parsed: argparse.Namespace) -> int:
    """Makes the environment, or says how it would be made.

    Raises:
        RayEvalError: there is nothing of that name, or a command failed.
    """
    environment = wanted(parsed.name, parsed.extras, parsed.version)
    folder = (parsed.into or default_folder(environment)).expanduser().absolute()
    lines = commands(environment, folder, parsed.python)
    if parsed.dry_run:
        print("\n".join(shlex.join(line) for line in lines))
        return 0
    folder.parent.mkdir(parents=True, exist_ok=True)
    print(f"into {folder}; this takes minutes, and pip is silent meanwhile", file=sys.stderr, flush=True)
    run(lines, lambda line: print(line, file=sys.stderr, flush=True))
    print(f"installed; write {environment.recipe.key}={python_of(folder)}")
    return 0

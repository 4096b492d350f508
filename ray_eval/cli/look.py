"""The command line of what is looked at after a run: argument parsing, and the words on the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ray_eval.cli.words import EXIT_COMPLETE, EXIT_INCOMPLETE, Commands, path_option
from ray_eval.errors import require_eval_extra
from ray_eval.report.terminal import output_console

_REPLAY_EPILOG = """\
Needs no policy: the run kept the actions. exit codes: 0 every trajectory is the recorded one; 1 some are not. Examples:
  ray-eval replay runs/pi05
  ray-eval replay runs/pi05 libero_object/3/17 libero_goal/0/4
  ray-eval replay runs/pi05 workers=4
"""


def add_replay(commands: Commands) -> None:
    """Adds the command."""
    replay = commands.add_parser(
        "replay",
        help="run recorded episodes again from their actions, without the policy",
        epilog=_REPLAY_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    replay.add_argument("run", type=path_option, metavar="RUN", help="the run's folder")
    replay.add_argument(
        "words", nargs="*", metavar="[EPISODE ...] key=value", help="episodes (default: all), and how they are run"
    )
    replay.set_defaults(command=_replay, parser=replay)


def _replay(parsed: argparse.Namespace) -> int:
    require_eval_extra()
    from ray_eval.driver.replay import replay_run

    ids, overrides = split(parsed.words)
    console = output_console()
    same = count = 0
    for replayed in replay_run(parsed.run, ids or None, overrides=overrides, console=console):
        count += 1
        same += replayed.is_same
        seconds = f"the recorded trajectory, {replayed.wall_s:.1f} s"
        said = seconds if replayed.is_same else f"NOT shown: {replayed.error}"
        console.print(f"{replayed.episode_id}: {said}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{same} of {count} trajectories are the recorded ones", highlight=False)
    return EXIT_COMPLETE if same == count else EXIT_INCOMPLETE


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Episode ids and `key=value` overrides."""
    return [word for word in words if "=" not in word], [word for word in words if "=" in word]

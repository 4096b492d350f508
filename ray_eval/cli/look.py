"""The command line of what is looked at after a run: argument parsing, and the words on the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ray_eval.cli.words import EXIT_COMPLETE, EXIT_INCOMPLETE, Commands, near, path_option
from ray_eval.errors import ConfigError, require_eval_extra
from ray_eval.report.terminal import output_console
from ray_eval.report.wording import many

_REPLAY_EPILOG = """\
Needs no policy: the run kept the actions. exit codes: 0 every trajectory is the recorded one; 1 some are not. Examples:
  ray-eval replay runs/pi05
  ray-eval replay runs/pi05 libero_object/3/17 libero_goal/0/4
  ray-eval replay runs/pi05 workers=4
"""
_VIDEO_EPILOG = """\
choices: failures, successes, flipped (of two runs), all; first:N keeps the first N of each task; or episode ids.
The films, last frames and contact sheets are in RUN/videos. --every 0 makes no films. Examples:
  ray-eval video runs/pi05
  ray-eval video runs/pi05 --which failures first:2 --every 2
  ray-eval video runs/pi05 --which libero_object/3/17
  ray-eval video runs/sync runs/latency-8 --which flipped
"""


def add_replay(commands: Commands) -> None:
    """Adds the command."""
    replay = commands.add_parser(
        "replay",
        help="run recorded episodes again from their actions, without the policy",
        epilog=_REPLAY_EPILOG,
    )
    replay.add_argument("run", type=path_option, metavar="RUN", help="the run's folder")
    replay.add_argument(
        "words",
        nargs="*",
        metavar="[EPISODE ...] key=value",
        help="episodes (default: all); workers=N",
    )
    replay.set_defaults(command=_replay, parser=replay)


def _replay(parsed: argparse.Namespace) -> int:
    require_eval_extra()
    from ray_eval.driver.finding import find

    ids, overrides = split(parsed.words)
    console = output_console()
    same = count = 0
    for replayed in find(parsed.run, ids or None, overrides=overrides, console=console):
        count += 1
        same += replayed.is_same
        found = replayed.made.get("finding") or {}
        why = f"; {found['failure_class']}: {found['why']}" if found.get("failure_class") else ""
        seconds = f"the recorded trajectory, {replayed.wall_s:.1f} s{why}"
        said = seconds if replayed.is_same else f"NOT shown: {replayed.error}"
        console.print(f"{replayed.episode_id}: {said}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{same} of {count} trajectories are the recorded ones", highlight=False)
    return EXIT_COMPLETE if same == count else EXIT_INCOMPLETE


def add_video(commands: Commands) -> None:
    """Adds the command."""
    video = commands.add_parser(
        "video",
        help="film episodes of a run, or of two side by side, without the policy",
        epilog=_VIDEO_EPILOG,
    )
    video.add_argument("run", type=path_option, metavar="RUN", help="the run's folder")
    video.add_argument("words", nargs="*", metavar="[OTHER] key=value", help="a run beside it, and how they are run")
    video.add_argument("--which", nargs="+", default=["failures"], metavar="CHOICE", help="default: failures")
    video.add_argument("--every", type=int, default=1, metavar="N", help="steps between two frames (default: 1)")
    video.set_defaults(command=_video, parser=video)


def _video(parsed: argparse.Namespace) -> int:
    require_eval_extra()
    from ray_eval.driver.filming import film

    others, overrides = split(parsed.words)
    which, behind = split(parsed.which)
    overrides += behind
    if len(others) > 1:
        raise ConfigError(f"video: expected one run or two, got {1 + len(others)}; film them two by two")
    other = path_option(others[0]) if others else None
    console = output_console()
    films = film(parsed.run, which, other=other, every=parsed.every, overrides=overrides, console=console)
    for each in films.missing:
        console.print(f"{each.episode_id}: NOT shown: {each.error}", markup=False, highlight=False, soft_wrap=True)
    if not films.replays:
        console.print(f"no episode is chosen by --which {' '.join(which)}; --which all takes every one")
    for path in films.files[-1:]:
        count = many(len(films.files), "file")
        console.print(f"{count} below {near(path.parents[2])}", highlight=False, soft_wrap=True)
    return EXIT_INCOMPLETE if films.missing else EXIT_COMPLETE


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Episode ids and `key=value` overrides."""
    return [word for word in words if "=" not in word], [word for word in words if "=" in word]

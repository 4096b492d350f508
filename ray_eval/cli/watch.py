"""`ray-eval watch`: each new checkpoint of a training, on the same episodes."""

from __future__ import annotations

import argparse

from ray_eval.cli.words import EXIT_COMPLETE, EXIT_INTERRUPTED, Commands, near, path_option, source_and_words
from ray_eval.errors import ConfigError, require_eval_extra
from ray_eval.report.terminal import output_console

_EPILOG = """\
Evaluates what is there, then what comes, until Ctrl+C. The last init states of each task are looked at, never those
that the configuration reports on. The results are a sweep over training steps. Examples:
  ray-eval watch outputs/train/act suite=libero_object episodes_per_task=10 policy.python=~/lerobot/bin/python
  ray-eval watch checkpoints policy=torch policy.entrypoint=mine:make suite=pusht episodes_per_task=20 --states 10
  ray-eval watch outputs/train/act act.yaml --out runs/watched --once
"""


def add_watch(commands: Commands) -> None:
    """The parser of `watch`."""
    watch = commands.add_parser(
        "watch",
        help="evaluate each new checkpoint of a training, on the same episodes",
        epilog=_EPILOG,
    )
    watch.add_argument("folder", type=path_option, metavar="DIR", help="the training's folder")
    watch.add_argument("words", nargs="*", metavar="[FILE_OR_NAME] key=value", help="a configuration, and overrides")
    watch.add_argument(
        "--out", metavar="DIR", type=path_option, help="folder of the results, gone on with if it is there"
    )
    watch.add_argument("--states", metavar="N", type=int, default=5, help="init states per task (default: %(default)s)")
    watch.add_argument("--every", metavar="S", type=float, default=10.0, help="seconds between two looks (default: 10)")
    watch.add_argument("--once", action="store_true", help="end when all that is there is evaluated")
    watch.set_defaults(command=_watch, parser=watch, keeps_results=True)


def _watch(parsed: argparse.Namespace) -> int:
    require_eval_extra()
    from ray_eval.driver.watch import Watched, check_folder, choice_lines, new_folder, watch

    check_folder(parsed.folder)
    if parsed.states < 1 or not 0 < parsed.every <= 86_400:
        raise ConfigError("watch: expected --states of at least 1, and --every above 0, to 86400 seconds")
    source, words = source_and_words(parsed.words)
    if any(word.startswith(("out=", "policy.path=", "init_states=")) for word in words):
        raise ConfigError(
            "watch: expected no out, policy.path or init_states, which are chosen here; --out names a folder"
        )
    out = parsed.out or new_folder(parsed.folder)
    console = output_console()
    asked = Watched(parsed.folder, source, tuple(words), parsed.states)
    is_interrupted = watch(asked, out, console=console, is_once=parsed.once, poll_s=parsed.every)
    for line in (*choice_lines(out), f"results: {near(out)}"):
        console.print(line, highlight=False, soft_wrap=True)
    return EXIT_INTERRUPTED if is_interrupted else EXIT_COMPLETE

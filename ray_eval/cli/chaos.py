"""`ray-eval chaos`: an evaluation under faults, and whether its result is the undisturbed one's."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import time
import typing
from collections.abc import Sequence
from pathlib import Path

from ray_eval.chaos.schedule import counts_of, rounds
from ray_eval.cli.words import (
    EXIT_COMPLETE,
    EXIT_INCOMPLETE,
    Commands,
    near,
    path_option,
    source_and_words,
    without_out,
)
from ray_eval.config import EvalConfig, load_config
from ray_eval.errors import ConfigError, require_eval_extra

if typing.TYPE_CHECKING:
    from ray_eval.chaos.supervisor import Verdict

_EPILOG = """\
examples:
  ray-eval chaos suite=fake policy=random episodes_per_task=5 workers=2
  ray-eval chaos eval.yaml --faults worker_killed:20,driver_killed --seed 7
  ray-eval chaos eval.yaml ray.address=auto --minutes 30

It runs the evaluation once undisturbed, then again under faults until each was there. Exit codes: 0 everything held; 1
something did not, or a fault could not be injected; 2 something for you to mend. What happened is in OUT/events.jsonl.
docs/chaos.md says what each fault is, and what is checked.
"""
_UNLESS_SAID = {"report": "false", "limits.episode_timeout_s": "120", "serving.infer_timeout_s": "20"}
"""Shorter than a run's own: a worker or a policy that stands still is given up after that."""


def add_chaos(commands: Commands) -> None:
    """The parser of `chaos`."""
    chaos = commands.add_parser(
        "chaos",
        help="run an evaluation under faults, and compare it with the undisturbed one",
        epilog=_EPILOG,
    )
    chaos.add_argument("words", nargs="*", metavar="[FILE_OR_NAME] key=value", help="a configuration, and overrides")
    chaos.add_argument("--seed", type=int, default=0, metavar="S", help="of the order of faults (default: 0)")
    chaos.add_argument(
        "--faults", metavar="KIND[:N],...", help="which, and how often each (default: each kind that fits, once)"
    )
    chaos.add_argument("--minutes", type=float, metavar="M", help="go on with further rounds of faults for so long")
    chaos.add_argument(
        "--delay", type=float, default=2.0, metavar="S", help="longest time from a step to its fault (default: 2)"
    )
    chaos.add_argument(
        "--patience", type=float, default=600.0, metavar="S", help="longest wait for anything (default: 600)"
    )
    chaos.add_argument("--out", type=path_option, metavar="DIR", help="a new folder (default: under runs/)")
    chaos.set_defaults(command=_chaos, parser=chaos)


def _chaos(parsed: argparse.Namespace) -> int:
    require_eval_extra()
    from ray_eval.chaos.injecting import KINDS, NotInjectedError
    from ray_eval.chaos.supervisor import Chaos
    from ray_eval.driver.interrupt import signals_interrupt

    words, config, named = _words(parsed.words, parsed.out)
    fitting = {name: kind for name, kind in KINDS.items() if config.ray.address is None or not kind.is_of_own_ray}
    counts = counts_of(parsed.faults, fitting)
    made = rounds(parsed.seed, counts, parsed.delay)
    until = None if parsed.minutes is None else time.monotonic() + 60 * parsed.minutes
    faults = iter(next(made)) if until is None else itertools.chain.from_iterable(made)
    out = (named or Path("runs") / f"chaos-{time.strftime('%Y%m%d-%H%M%S')}").absolute()
    if out.exists():
        raise ConfigError(f"--out {out}: expected a new folder, got one that is there")
    print(f"faults: {', '.join(f'{kind} {count}' for kind, count in counts.items())}; seed {parsed.seed}", flush=True)
    with signals_interrupt(), contextlib.closing(Chaos(words, out, parsed.patience, _say)) as chaos:
        try:
            return _shown(chaos.run(faults, lambda: until is not None and time.monotonic() > until), out)
        except NotInjectedError as error:
            print(f"not injected: {error}; see {near(out)}")
            return EXIT_INCOMPLETE


def _words(given: Sequence[str], out: Path | None) -> tuple[list[str], EvalConfig, Path | None]:
    """The words that `ray-eval run` gets, what they say, and the folder of what is left, if it is named."""
    source, words = source_and_words(given)
    words, out = without_out(words, out)
    said = {word.partition("=")[0] for word in words}
    words += [f"{key}={value}" for key, value in _UNLESS_SAID.items() if key not in said]
    config = load_config(source, words)
    if config.execution.mode == "realtime":
        raise ConfigError("execution.mode: expected sync or async, got realtime, which gives other episodes each time")
    if config.out is not None:
        # Of a file: a run takes it, and here there are several.
        raise ConfigError("out: expected none in the configuration; write out=DIR on the command line")
    return [*([source] if source else []), *words], config, out


def _say(text: str) -> None:
    print(text, flush=True)


def _shown(verdict: Verdict, out: Path) -> int:
    print(f"injected: {sum(verdict.injected.values())} faults of {len(verdict.injected)} kinds")
    print(f"evaluations: {verdict.evaluations} disturbed, by {verdict.sessions} drivers")
    print(f"late results refused: {verdict.late_results}")
    for line in [*verdict.violations, *(f"left behind: {each}" for each in verdict.left)]:
        print(f"VIOLATED: {line}")
    print(f"{'everything held' if verdict.holds else 'it did not hold'}; what happened: {near(out)}")
    return EXIT_COMPLETE if verdict.holds else EXIT_INCOMPLETE

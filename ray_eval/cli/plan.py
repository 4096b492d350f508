"""`ray-eval plan`: how long a run will take, before it is made."""

from __future__ import annotations

import argparse

from ray_eval.cli.words import EXIT_COMPLETE, Commands, path_option, source_and_words
from ray_eval.config import load_config
from ray_eval.errors import require_eval_extra
from ray_eval.report.terminal import output_console

_EPILOG = """\
examples:
  ray-eval plan first_light
  ray-eval plan pi05.yaml --cluster cluster.yaml --prices prices.yaml --save pi05-figures.json
  ray-eval plan pi05.yaml --figures pi05-figures.json --against runs/pi05      # how far off was it?
"""


def add_plan(commands: Commands) -> None:
    """The parser of `plan`."""
    plan = commands.add_parser(
        "plan",
        help="say how long a run will take, what limits it and what it costs",
        epilog=_EPILOG,
    )
    plan.add_argument("words", nargs="*", metavar="[FILE_OR_NAME] key=value", help="a configuration, and overrides")
    plan.add_argument(
        "--cluster", metavar="FILE", type=path_option, help="the hosts: a file of ray up, or hosts (default: here)"
    )
    plan.add_argument("--prices", metavar="FILE", type=path_option, help="an hour's price by instance type or host")
    plan.add_argument("--figures", metavar="FILE", type=path_option, help="recorded figures; measures nothing")
    plan.add_argument("--save", metavar="FILE", type=path_option, help="keep what was measured there")
    plan.add_argument("--seconds", type=float, default=120.0, help="how long to measure (default: 120)")
    plan.add_argument("--against", metavar="RUN", type=path_option, help="say how far off it is of that run")
    plan.set_defaults(command=_plan, parser=plan)


def _plan(parsed: argparse.Namespace) -> int:
    source, words = source_and_words(parsed.words)
    config = load_config(source, words)
    require_eval_extra()
    from ray_eval.driver.interrupt import signals_interrupt
    from ray_eval.driver.planning import Wanted, make_plan_of

    wanted = Wanted(parsed.cluster, parsed.prices, parsed.figures, parsed.save, parsed.seconds, parsed.against)
    with signals_interrupt():
        make_plan_of(config, wanted, output_console())
    return EXIT_COMPLETE

"""The command line of `report`: argument parsing, and the words on the terminal."""

from __future__ import annotations

import argparse

from ray_eval.cli.words import EXIT_COMPLETE, Commands, near, path_option
from ray_eval.config import check_writable
from ray_eval.errors import require_eval_extra

_REPORT_EPILOG = """\
One file that needs no network. Examples:
  ray-eval report runs/pi05                        # one run, in runs/pi05/report.html
  ray-eval report runs/pi0 runs/pi05 --out ab.html # several: what compare says of them
  ray-eval report runs/latency-sweep               # a sweep stands for its points: success over what is swept
  ray-eval report runs/                            # an index over all runs below a folder
"""


def add_report(commands: Commands) -> None:
    """Adds the command."""
    report = commands.add_parser(
        "report",
        help="one HTML page of a run, of several compared, or an index over all runs",
        epilog=_REPORT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    report.add_argument("runs", nargs="+", metavar="RUN", help="run folders, sweeps, duels, or a folder of runs")
    report.add_argument(
        "--out", type=path_option, metavar="FILE", help="the file (default: report.html in the folder named)"
    )
    report.set_defaults(command=_report, parser=report)


def _report(parsed: argparse.Namespace) -> int:
    require_eval_extra()
    from ray_eval.driver.reporting import report

    if parsed.out is not None:
        check_writable(parsed.out, "--out")
    print(near(report(parsed.runs, parsed.out)))
    return EXIT_COMPLETE

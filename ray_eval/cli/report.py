"""The command line of `report` and `dashboard`: argument parsing, and the words on the terminal."""

from __future__ import annotations

import argparse
from pathlib import Path

from ray_eval.cli.words import EXIT_COMPLETE, Commands, near, path_option, run_option
from ray_eval.config import check_writable
from ray_eval.errors import require_eval_extra

_REPORT_EPILOG = """\
One file that needs no network. Examples:
  ray-eval report runs/pi05                        # one run, in runs/pi05/report.html
  ray-eval report runs/pi0 runs/pi05 --out ab.html # several: what compare says of them
  ray-eval report runs/latency-sweep               # a sweep stands for its points: success over what is swept
  ray-eval report runs/                            # an index over all runs below a folder
"""


_DASHBOARD_EPILOG = """\
Starts nothing; prints the commands. docs/metrics.md lists the metrics. Examples:
  ray-eval dashboard
  ray-eval dashboard --out ~/ray-eval-dashboard --discovery /tmp/ray/prom_metrics_service_discovery.json
"""


def add_report(commands: Commands) -> None:
    """Adds the command."""
    report = commands.add_parser(
        "report",
        help="one HTML page of a run, of several compared, or an index over all runs",
        epilog=_REPORT_EPILOG,
    )
    told = "run folders, sweeps, duels, or a folder of runs"
    report.add_argument("runs", nargs="+", type=run_option, metavar="RUN", help=told)
    report.add_argument(
        "--out", type=path_option, metavar="FILE", help="the file (default: report.html in the folder named)"
    )
    report.set_defaults(command=_report, parser=report)


def add_dashboard(commands: Commands) -> None:
    """Adds the command."""
    dashboard = commands.add_parser(
        "dashboard",
        help="write what Prometheus and Grafana need to show runs while they go on",
        epilog=_DASHBOARD_EPILOG,
    )
    dashboard.add_argument(
        "--out",
        type=path_option,
        default=Path("dashboard"),
        metavar="DIR",
        help="folder of the files (default: dashboard)",
    )
    dashboard.add_argument(
        "--discovery",
        type=path_option,
        metavar="FILE",
        help="Ray's file of its exporters, on a cluster's head (default: of a Ray that a run starts here)",
    )
    dashboard.set_defaults(command=_dashboard, parser=dashboard)


def _dashboard(parsed: argparse.Namespace) -> int:
    require_eval_extra()
    from ray_eval.driver.dashboard import write_dashboard

    prometheus, grafana, run, address = write_dashboard(parsed.out, parsed.discovery)
    for what, text in (
        ("Prometheus, beside your runs", prometheus),
        ("Grafana, with the dashboard in it", grafana),
        ("a run whose Ray dashboard shows both", run),
        ("look at", address),
    ):
        print(f"# {what}\n{text}")
    return EXIT_COMPLETE


def _report(parsed: argparse.Namespace) -> int:
    require_eval_extra()
    from ray_eval.driver.reporting import report

    if parsed.out is not None:
        check_writable(parsed.out, "--out")
    print(near(report(parsed.runs, parsed.out)))
    return EXIT_COMPLETE

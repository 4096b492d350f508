"""`ray-eval submit`: a command of ray-eval as a job of a Ray cluster, from a machine that is no part of it."""

from __future__ import annotations

import argparse

from ray_eval.cli.words import Commands
from ray_eval.errors import ConfigError, require_eval_extra

_EPILOG = """\
examples:
  ray dashboard cluster.yaml &                                  # a tunnel to the head's dashboard
  ray-eval submit --address http://127.0.0.1:8265 run first_light out=s3://bucket/runs/first
  ray-eval submit --address http://127.0.0.1:8265 run --resume s3://bucket/runs/first

The exit code is the command's own. Inside a job, `run` joins the job's cluster.
"""


def add_submit(commands: Commands) -> None:
    """The parser of `submit`."""
    submit = commands.add_parser(
        "submit",
        help="run a command as a job of a Ray cluster, and give its exit code",
        epilog=_EPILOG,
    )
    submit.add_argument("--address", help="the cluster's dashboard (default: RAY_ADDRESS)")
    submit.add_argument("--working-dir", metavar="DIR", help="a folder to run in, sent there (default: the head's own)")
    submit.add_argument("--program", default="ray-eval", help="ray-eval on the head (default: by its PATH)")
    submit.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="COMMAND ...", help="for instance run first_light"
    )
    submit.set_defaults(command=_submit, parser=submit, needs_folder=False)


def _submit(parsed: argparse.Namespace) -> int:
    arguments = parsed.arguments[1:] if parsed.arguments[:1] == ["--"] else parsed.arguments
    if not arguments:
        raise ConfigError("submit: expected a command behind its options, got none; for instance run first_light")
    require_eval_extra()
    from ray_eval.driver.jobs import submit

    return submit(arguments, address=parsed.address, folder=parsed.working_dir, program=parsed.program)

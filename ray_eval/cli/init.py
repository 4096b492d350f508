"""`ray-eval init`: asks what is to be evaluated, and writes a first configuration."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from ray_eval.cli.words import EXIT_COMPLETE, Commands, path_option, typed
from ray_eval.config import load_config
from ray_eval.config.starter import Answers, Found, look_into, starter_text, starter_values
from ray_eval.errors import ConfigError
from ray_eval.install.environment import made_python

_EPILOG = """\
POLICY is a checkpoint's folder, hub:ID, FILE.pt2, package.module:factory, TYPE@HOST:PORT of a server that runs already,
or a policy that comes along (ray-eval list policies). What is not said is asked for. Examples:
  ray-eval init
  ray-eval init act.yaml --policy outputs/train/act/checkpoints/last/pretrained_model --suite libero_object
  ray-eval init pi0.yaml --policy openpi@gpu1:8000 --suite libero_10 --episodes 10
"""


def add_init(commands: Commands) -> None:
    """The parser of `init`."""
    init = commands.add_parser(
        "init",
        help="write a first configuration for your policy",
        epilog=_EPILOG,
    )
    init.add_argument("file", nargs="?", metavar="FILE", type=path_option, help="YAML file to write (eval.yaml)")
    init.add_argument("--policy", "--checkpoint", metavar="POLICY", help="what is to be evaluated")
    init.add_argument("--suite", help="suite to evaluate on")
    init.add_argument("--episodes", metavar="N", help="episodes of each task")
    init.add_argument("--python", metavar="PATH", help="interpreter of the policy, with LeRobot or torch")
    init.add_argument("--ray-address", metavar="ADDRESS", help="cluster to join (default: this machine)")
    init.set_defaults(command=_init, parser=init)


def _init(parsed: argparse.Namespace) -> int:
    file: Path = parsed.file or Path.cwd() / "eval.yaml"
    if file.exists():
        raise ConfigError(f"{file}: expected no such file, found one, which is never overwritten; name another FILE")
    policy = parsed.policy or _asked(
        "policy", "your checkpoint, or what else acts (oracle is the scripted expert)", "oracle"
    )
    found = look_into(policy, parsed.python)
    for remark in found.remarks:
        print(f"  {remark}")
    if found.is_lerobot and parsed.python is None:
        found = _with_lerobot(found, policy)
    suite = parsed.suite or _asked("suite", "the suite (ray-eval list suites)", "libero_object")
    count = parsed.episodes or _asked("episodes", "episodes of each task", "10")
    answers = Answers(policy, suite, int(count) if count.isdecimal() else count, parsed.python, parsed.ray_address)
    load_config(starter_values(answers, found))
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(starter_text(answers, found, typed(file)))
    except OSError as error:
        raise ConfigError(f"{file}: expected a file that can be written, got {error.strerror}") from error
    print(f"{typed(file)} is written. Now:")
    for command in ("ray-eval doctor", f"ray-eval run {typed(file)} --dry-run", f"ray-eval run {typed(file)}"):
        print(f"  {command}")
    return EXIT_COMPLETE


def _with_lerobot(found: Found, policy: str) -> Found:
    """The policy in the environment that `ray-eval install lerobot` makes; said how where there is none."""
    python = made_python("lerobot")
    if python is not None:
        print(f"  LeRobot: {python}")
        return look_into(policy, str(python))
    said = "LeRobot needs an environment of its own: ray-eval install lerobot makes one and says its policy.python"
    print(f"  {said}")
    return replace(found, remarks=(*found.remarks, said))


def _asked(option: str, what: str, default: str) -> str:
    """What the user answers.

    Raises:
        ConfigError: nobody can be asked.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(f"--{option}: expected a value, got none, and no terminal to ask at; give it as an option")
    return input(f"{what} [{default}]: ").strip() or default

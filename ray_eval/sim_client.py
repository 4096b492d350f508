"""LeRobot's `robot_client` with a simulator in the robot's place: its options become the words of `ray-eval run`.

>>> from ray_eval.sim_client import LiberoEnv, SimClient, SimClientConfig
>>> client = SimClient(SimClientConfig(env=LiberoEnv(task="libero_10"), policy_type="act",
...     pretrained_name_or_path="outputs/act", n_episodes=10, actions_per_chunk=50))
>>> client.start() and client.control_loop(verbose=True)  # doctest: +SKIP
>>> client.stop()
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.metadata
import json
import shlex
import sys
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray_eval
from ray_eval.cli import main as ray_eval_command
from ray_eval.cli.words import Parser
from ray_eval.config import is_file, load_config, preset_names, protocol_names
from ray_eval.errors import ConfigError, SetupError
from ray_eval.install.environment import made_python
from ray_eval.sections import POLICY_TYPES, ScriptedPolicy

if typing.TYPE_CHECKING:
    from ray_eval.driver.evaluation import Evaluation

SERVED_BY_US = frozenset(
    name for name, section in POLICY_TYPES.items() if issubclass(section, ScriptedPolicy) or name == "torch"
)
"""Policy types of ray-eval itself that may stand in `policy_type`; every other one is LeRobot's."""
ROBOT_REASON = "expected nothing, as a simulator takes the robot's place; name the task by --env.task"
"""Why an option of LeRobot's that begins with `robot` is refused."""
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""Hosts whose pickles are this machine's own."""


@dataclass(frozen=True, slots=True)
class SimEnv:
    """The tasks that take the robot's place."""

    type: str = "libero"
    """Simulator: libero, metaworld, aloha, pusht, or one of your own (ray-eval list simulators)."""
    task: str = ""
    """Suite, or several separated by commas (ray-eval list suites)."""
    task_ids: tuple[int, ...] | None = None
    """Tasks of each suite, from 0 on; all unless said."""
    episode_length: int | None = None
    """Control steps of an episode; the protocol's unless said."""


@dataclass(frozen=True, slots=True)
class LiberoEnv(SimEnv):
    """Tasks of LIBERO."""

    task: str = "libero_10"
    """Suite, or several separated by commas."""


@dataclass(frozen=True, slots=True)
class SimClientConfig:
    """What LeRobot's RobotClientConfig says, as far as it has a meaning without a robot."""

    policy_type: str
    """LeRobot's type of the checkpoint (act, smolvla, ...), or a policy of ray-eval's own (oracle, noop, ...)."""
    pretrained_name_or_path: str = ""
    """The checkpoint's folder, or its id on the hub."""
    env: SimEnv = LiberoEnv()
    """The tasks."""
    n_episodes: int = 10
    """Episodes of each task, as in lerobot-eval: n from the first init state on."""
    actions_per_chunk: int | None = None
    """Most actions of a chunk that are executed; all unless said."""
    task: str = ""
    """Instruction given to the policy instead of each task's own."""
    server_address: str | None = None
    """Address of LeRobot's own policy server, host:port; ray-eval serves the policy itself unless said."""
    policy_device: str = "auto"
    """Device of the policy: cpu, cuda, auto."""
    client_device: str = "cpu"
    """Device of the actions; the simulator takes them from the CPU."""
    chunk_size_threshold: float | None = None
    """A chunk is asked for when queued / chunk is at most this; said, the simulator does not wait (async)."""
    aggregate_fn_name: str | None = None
    """How overlapping actions are merged; said, the simulator does not wait (async)."""
    fps: int | None = None
    """Control steps per second of the clock, 15 to 60; said, the run goes by the clock (realtime)."""
    debug_visualize_queue_size: bool = False
    """Draws the queue's length over time; every run that does not wait writes it as queue.png."""
    words: tuple[str, ...] = field(default=())
    """Further `key=value` words of ray-eval, for instance `policy.python=...` or `workers=4`; they go last."""

    def __post_init__(self) -> None:
        if not self.policy_type:
            raise ConfigError("policy_type: expected LeRobot's type of the checkpoint, for instance act, got none")
        if self.client_device != "cpu":
            raise ConfigError(
                f"client_device: expected cpu, from which the simulator takes its actions, got {self.client_device!r}"
            )
        if self.debug_visualize_queue_size and not self.is_going_on:
            raise ConfigError(
                "debug_visualize_queue_size: expected false while the simulator waits for the policy, as its queue is "
                "then never watched; it is drawn with a chunk_size_threshold, an aggregate_fn_name or a rate"
            )

    @property
    def is_going_on(self) -> bool:
        """Whether the simulator goes on while the policy thinks, as LeRobot's robot does."""
        return any(value is not None for value in (self.chunk_size_threshold, self.aggregate_fn_name, self.fps))

    def run_words(self) -> list[str]:
        """The words of `ray-eval run` that do the same.

        Raises:
            ConfigError: the checkpoint, a folder of this machine, is of another type.
        """
        self._check_type()
        return [*self._policy_words(), *self._env_words(), *self._chunk_words(), *self.words]

    def _check_type(self) -> None:
        path = Path(self.pretrained_name_or_path).expanduser() / "config.json"
        if self.server_address is not None or not self.pretrained_name_or_path or not is_file(path):
            return
        with contextlib.suppress(OSError, ValueError, AttributeError):  # what is wrong with it its loader says
            found = json.loads(path.read_text(encoding="utf-8")).get("type")
            if found not in (None, self.policy_type):
                raise ConfigError(
                    f"policy_type: expected {found}, as its config.json says, got {self.policy_type} for {path.parent}"
                )

    def _policy_words(self) -> Iterator[str]:
        path, device = self.pretrained_name_or_path, self.policy_device
        if self.server_address is not None:
            yield from ("policy=lerobot_server", f"policy.addresses=[{self.server_address}]")
            yield from (f"policy.policy_type={self.policy_type}", f"policy.path={path}")
            yield f"policy.device={'cpu' if device == 'auto' else device}"
            if self.server_address.rpartition(":")[0] in LOOPBACK:
                yield "policy.trust=true"
            return
        kind = self.policy_type if self.policy_type in SERVED_BY_US else "lerobot"
        yield f"policy={kind}" if kind in preset_names("policies") else f"policy.type={kind}"
        if path:
            yield f"policy.path={path}"
        if device != "auto":
            yield f"policy.device={device}"
        if kind == "lerobot":
            yield from self._python_word()

    def _python_word(self) -> Iterator[str]:
        """LeRobot's interpreter, where it is not this one, nothing is said of it, and `ray-eval install` made one."""
        is_said = any(word.startswith("policy.python=") for word in self.words)
        # A clone of LeRobot in the working folder is no installation.
        is_here = bool(list(importlib.metadata.distributions(name="lerobot")))
        made = None if is_said or is_here else made_python("lerobot")
        if made is not None:
            yield f"policy.python={made}"

    def _env_words(self) -> Iterator[str]:
        env = self.env
        yield f"simulator={env.type}"
        if env.task:
            yield f"suite=[{env.task}]" if "," in env.task else f"suite={env.task}"
        if "lerobot" in protocol_names(env.type):
            yield "protocol=lerobot"
        if env.task_ids is not None:
            yield f"tasks=[{','.join(map(str, env.task_ids))}]"
        yield f"episodes_per_task={self.n_episodes}"
        if env.episode_length is not None:
            yield f"protocol.max_steps={env.episode_length}"
        if self.task:
            yield f"task_text={self.task}"

    def _chunk_words(self) -> Iterator[str]:
        if self.fps is not None:
            yield from ("execution=lerobot_async", "execution.mode=realtime", f"execution.fps={self.fps}")
        elif self.is_going_on:
            yield "execution=lerobot_async"
        else:
            yield "protocol.replan_steps=chunk"
        if self.chunk_size_threshold is not None:
            yield f"execution.chunk_size_threshold={self.chunk_size_threshold}"
        if self.aggregate_fn_name is not None:
            yield f"execution.aggregate={self.aggregate_fn_name}"
        if self.actions_per_chunk is not None:
            yield f"execution.actions_per_chunk={self.actions_per_chunk}"


def command_line(words: Sequence[str]) -> str:
    """The `ray-eval run` line of such words, as a shell takes it."""
    return f"ray-eval run {shlex.join(words)}"


class SimClient:
    """Evaluates a policy the way LeRobot's client drives a robot: `start`, `control_loop`, `stop`."""

    def __init__(self, config: SimClientConfig) -> None:
        self.config = config

    def start(self) -> bool:
        """Reads the configuration, prints the line that does the same, and says that all is well.

        Raises:
            ConfigError: something cannot be run as written.
        """
        words = self.config.run_words()
        load_config(None, words)
        print(f"the same by hand: {command_line(words)}", flush=True)
        return True

    def control_loop(self, task: str = "", verbose: bool = False) -> Evaluation:
        """Runs every episode, and returns the results, which print as a table.

        Args:
            task: instruction given to the policy instead of each task's own; the configuration's unless said.
            verbose: whether progress is shown meanwhile.
        """
        config = dataclasses.replace(self.config, task=task or self.config.task)
        return ray_eval.evaluate(None, config.run_words(), progress=verbose)

    def stop(self) -> None:
        """Nothing is left to end: a run puts away what it started."""


# --- the command ---


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m ray_eval.sim_client`: prints the line that does the same, and runs it."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        parsed = _parsed(given)
        words = _config(parsed).run_words()
    except (ConfigError, SetupError) as error:
        print(f"ray_eval.sim_client: {error}", file=sys.stderr)
        return 2
    print(f"the same by hand: {command_line(words)}", flush=True)
    options = [*(["--dry-run"] if parsed.dry_run else []), *([] if parsed.verbose else ["--quiet"])]
    return ray_eval_command(["run", *words, *options])


def _parsed(given: Sequence[str]) -> argparse.Namespace:
    robots = [option for option in given if option.startswith(("--robot", "--teleop"))]
    if robots:
        raise ConfigError(f"{robots[0].partition('=')[0]}: {ROBOT_REASON}")
    parser = Parser(
        prog="python -m ray_eval.sim_client",
        description="LeRobot's robot_client with a simulator in the robot's place. Prints the ray-eval run line that "
        "does the same, and runs it. n_episodes is per task, as in lerobot-eval.",
        allow_abbrev=False,
    )
    for prefix, schema in (("", SimClientConfig), ("env.", SimEnv)):
        for item in dataclasses.fields(schema):
            if item.name not in ("env", "words"):
                _add_option(parser, f"{prefix}{item.name}", item)
    parser.add_argument("--verbose", nargs="?", const=True, default=True, type=_truth, help="whether progress is shown")
    parser.add_argument("--dry-run", action="store_true", help="print the configuration and the plan; run nothing")
    parser.add_argument("words", nargs="*", metavar="key=value", help="further words of ray-eval run")
    return parser.parsed(given)


def _add_option(parser: argparse.ArgumentParser, name: str, item: dataclasses.Field[Any]) -> None:
    """An option of a field's name, whose text the field's reader takes; `--flag` alone is true."""
    is_required = item.default is dataclasses.MISSING
    if item.type == "bool":
        parser.add_argument(f"--{name}", dest=name, nargs="?", const=True, default=item.default, type=_truth)
        return
    kinds = {"int": int, "int | None": int, "float | None": float, "tuple[int, ...] | None": _integers}
    kind: Any = kinds.get(str(item.type), str)
    parser.add_argument(f"--{name}", dest=name, required=is_required, default=argparse.SUPPRESS, type=kind)


def _config(parsed: argparse.Namespace) -> SimClientConfig:
    values = {key: value for key, value in vars(parsed).items() if key not in ("verbose", "dry_run", "words")}
    of_env = {key.removeprefix("env."): values.pop(key) for key in list(values) if key.startswith("env.")}
    env = LiberoEnv(**of_env) if of_env.get("type", "libero") == "libero" else SimEnv(**of_env)
    return SimClientConfig(env=env, words=tuple(parsed.words), **values)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return text.lower() == "true"


def _integers(text: str) -> tuple[int, ...]:
    """`[0,3]` or `0,3`."""
    try:
        return tuple(int(part) for part in text.strip("[]").split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers as in [0,3], got {text!r}") from None


if __name__ == "__main__":
    sys.exit(main())

"""What `ray-eval chaos` tells the envs of a run: to wait in mid-episode, then to go on, to raise, to hang or to end.

An order is a file in a folder that an environment variable names; without the variable there is nothing to obey. One
worker takes an order, by renaming its file, and says so with its process id. Used by workers and by their disturber.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray_eval.interfaces import Env

VARIABLE = "RAY_EVAL_CHAOS"
"""Names the folder of the orders. Every process of a disturbed run has it, and is known by it."""
VERBS = ("go", "raise", "hang", "exit")
"""What a worker that waits may be told."""
EXIT_CODE = 17
"""Of a worker that was told to end."""
_POLL_S = 0.005
_HOLD, _TAKEN, _ANSWER = ".hold", ".taken", ".answer"


class ToldToBreak(RuntimeError):
    """The env was told to raise."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Who took an order."""

    pid: int
    """Process id of the env's process."""
    host: str
    """Its machine."""
    step: int
    """Steps that the process had begun."""


def passed_on() -> Mapping[str, str]:
    """The variable, for processes that do not inherit it; nothing where there is none."""
    return {VARIABLE: os.environ[VARIABLE]} if VARIABLE in os.environ else {}


def obeying(env: Env) -> Env:
    """The env, which looks for an order before every step where a run is to be disturbed."""
    if VARIABLE not in os.environ:
        return env
    folder, step, begun = Path(os.environ[VARIABLE]), env.step, 0

    def obeying_step(action: Any) -> Any:
        nonlocal begun
        begun += 1
        _obey(folder, begun)
        return step(action)

    env.step = obeying_step  # type: ignore[method-assign]  # a wrapper would hide what else this env can do
    return env


class Orders:
    """The folder, from the side of who gives orders.

    Args:
        folder: is made; every machine of the run must see it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)

    def hold(self, number: int) -> None:
        """Has the next worker that is about to step wait."""
        (self.folder / f"{number}{_HOLD}").touch()

    def taken(self, number: int) -> Taken | None:
        """Who waits; None while nobody does."""
        with contextlib.suppress(FileNotFoundError):
            return Taken(**json.loads((self.folder / f"{number}{_TAKEN}").read_text()))
        return None

    def withdraw(self, number: int) -> bool:
        """Takes an order back; whether nobody had taken it."""
        try:
            (self.folder / f"{number}{_HOLD}").unlink()
        except FileNotFoundError:
            return False
        return True

    def answer(self, number: int, verb: str = "go") -> None:
        """Tells who waits what to do."""
        _write(self.folder / f"{number}{_ANSWER}", verb)


def _obey(folder: Path, step: int) -> None:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        waiting = sorted(entry.name for entry in entries if entry.name.endswith(_HOLD))
        for name in waiting:
            number = name.removesuffix(_HOLD)
            Path(folder, name).rename(folder / f"{number}.{os.getpid()}")
            _write(folder / f"{number}{_TAKEN}", json.dumps(asdict(Taken(os.getpid(), platform.node(), step))))
            _do(number, _answered(folder, number))
            return


def _answered(folder: Path, number: str) -> str:
    """The answer, waited for as long as the folder is there."""
    path = folder / f"{number}{_ANSWER}"
    while folder.exists():
        with contextlib.suppress(FileNotFoundError):
            return path.read_text()
        time.sleep(_POLL_S)
    return "go"


def _do(number: str, verb: str) -> None:
    if verb == "raise":
        raise ToldToBreak(f"fault {number}: the env was told to raise")
    if verb == "exit":
        os._exit(EXIT_CODE)
    while verb == "hang":
        time.sleep(_POLL_S)


def _write(path: Path, text: str) -> None:
    """So that a reader finds it whole."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(text)
    partial.replace(path)

"""Another Python for a part of a run: found, asked what it lacks, and given ray-eval's own sources; for its parents."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ray_eval.errors import SetupError

OLDEST = (3, 11)
"""Oldest Python that ray-eval runs in."""
PROBE_TIMEOUT_S = 120.0
"""Longest wait for an interpreter to say what it lacks; a cold disk takes its time."""
_PACKAGE = Path(__file__).resolve().parent
_PROBE = """
import json, os, sys
wanted, named = json.loads(sys.argv[1])
found, versions = [], {}
try:
    from importlib.util import find_spec
    from importlib.metadata import PackageNotFoundError, version
except ImportError:
    find_spec = None
def has(name):
    top, _, rest = name.partition(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return False
    if spec is None or not rest:
        return spec is not None
    ends = (rest.replace(".", os.sep), rest.replace(".", os.sep) + ".py")
    return any(os.path.exists(os.path.join(p, end)) for p in spec.submodule_search_locations or [] for end in ends)
if find_spec is not None:
    found = [name for name in wanted if has(name)]
    for name in named:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            pass
print(json.dumps({"python": list(sys.version_info[:3]), "found": found, "versions": versions}))
"""
"""Reads what is installed without importing any of it; older Pythons than ray-eval's run it as well."""
_OF_PYTHON = re.compile(r"[\w.]*(Error|Exception)\b|Fatal Python|.*error while loading shared libraries")
"""Lines by which a Python that cannot start says why."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What an interpreter says of itself."""

    path: str
    """How it is called."""
    key: str
    """The configuration's key that names it."""
    python: tuple[int, ...]
    """Its version."""
    modules: frozenset[str]
    """Modules that it has, of those it was asked for."""
    versions: Mapping[str, str]
    """Versions of the distributions that it was asked for and has."""

    def fail(self, expected: str, got: str, remedy: str) -> SetupError:
        """The error of an interpreter that is not enough."""
        return SetupError(f"{self.key}={self.path}: expected {expected}, got {got}; {remedy}")


def found(python: str, key: str, made: Path | None = None) -> str:
    """The interpreter, if there is one.

    Args:
        python: How it is called.
        key: The configuration's key that names it.
        made: One that was installed for this.

    Raises:
        SetupError: there is none; the message names the configuration's key.
    """
    if shutil.which(python) is not None:
        return python
    path, inner = Path(python), Path(python) / "bin" / "python"
    got = "found a folder" if path.is_dir() else "found a file that cannot be run" if path.exists() else "found none"
    remedy = made_remedy(key, made) if made else "write ENVIRONMENT/bin/python"
    if os.access(inner, os.X_OK):
        remedy = f"write {key}={inner}"
    raise SetupError(
        f"{key}={python}: expected a Python interpreter on {platform.node()}, {got}; {remedy}, and have it on every"
        " machine"
    )


def made_remedy(key: str, made: Path) -> str:
    """What to write where an interpreter was installed for this."""
    return f"write {key}={made}, which ray-eval install has made"


def ask(python: str, key: str, modules: Sequence[str], distributions: Sequence[str] = ()) -> Interpreter:
    """What an interpreter says of itself, in some milliseconds.

    Args:
        python: The interpreter.
        key: The configuration's key that names it.
        modules: Modules that are looked for, dotted ones too.
        distributions: Distributions whose versions are asked for.

    Raises:
        SetupError: it is none, or does not answer as a Python does.
    """
    command = [found(python, key), "-c", _PROBE, json.dumps([list(modules), list(distributions)])]
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "VIRTUAL_ENV")}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env=variables,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"{key}={python}: expected a Python interpreter, got {type(error).__name__} of it") from error
    try:
        said = json.loads(done.stdout.strip().splitlines()[-1])
        return Interpreter(python, key, tuple(said["python"]), frozenset(said["found"]), said["versions"])
    except (ValueError, IndexError, KeyError, TypeError):
        raise SetupError(
            f"{key}={python}: expected a Python interpreter, got {_last_word(done.stderr)} (exit code "
            f"{done.returncode}); write ENVIRONMENT/bin/python"
        ) from None


def _last_word(said: str) -> str:
    """What a broken interpreter says at last; of a program that is none, only that, as it would quote the question."""
    lines = [line for line in said.strip().splitlines() if _OF_PYTHON.match(line)]
    return lines[-1][:120] if lines else "a program that does not answer as one"


def check_interpreter(python: str, key: str, needed: Mapping[str, str]) -> None:
    """Passes when an interpreter is new enough and has what is needed.

    Args:
        python: The interpreter.
        key: The configuration's key that names it.
        needed: Module by distribution.

    Raises:
        SetupError: it is not, or lacks something; the message says what to type.
    """
    check_needs(ask(python, key, tuple(needed.values())), needed)


def check_needs(asked: Interpreter, needed: Mapping[str, str], remedy: str = "make an environment of that") -> None:
    """As `check_interpreter`, of one that was asked already.

    Raises:
        SetupError: it is too old, or lacks something.
    """
    if asked.python < OLDEST:
        wanted, got = (".".join(map(str, each)) for each in (OLDEST, asked.python))
        raise asked.fail(f"Python {wanted} or newer", got, remedy)
    lacking = [name for name, module in needed.items() if module not in asked.modules]
    if lacking:
        line = f"{asked.path} -m pip install {' '.join(lacking)}"
        raise asked.fail(f"{', '.join(lacking)} there, for ray-eval's own side", "none", f"type: {line}")


def environment(folder: Path, variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables of a child: this process's, with ray-eval, and nothing else of this interpreter's packages.

    Args:
        folder: An existing folder of the child's own, in which ray-eval is linked to.
        variables: What is set on top.
    """
    sources = folder / "python"
    if not sources.exists():
        sources.mkdir()
        (sources / "ray_eval").symlink_to(_PACKAGE)
    own = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "VIRTUAL_ENV", "PYTHONPATH")}
    path = os.pathsep.join([str(sources), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**own, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **(variables or {})}

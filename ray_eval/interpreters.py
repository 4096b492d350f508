"""Another Python for a part of a run: found, asked what it lacks, and given ray-eval's own sources; for its parents."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray_eval.errors import SetupError

OLDEST = (3, 11)
"""Oldest Python that ray-eval runs in."""
PROBE_TIMEOUT_S = 120.0
"""Longest wait for an interpreter to say what it lacks; a cold disk takes its time."""
_PACKAGE = Path(__file__).resolve().parent
_PROBE = """
import importlib.util, json, sys
def lacks(name):
    try:
        return importlib.util.find_spec(name) is None
    except ImportError:
        return True
print(json.dumps({"version": list(sys.version_info[:2]), "missing": [n for n in sys.argv[1:] if lacks(n)]}))
"""


def found(python: str, key: str) -> str:
    """The interpreter, if there is one.

    Raises:
        SetupError: there is none; the message names the configuration's key.
    """
    if shutil.which(python) is None:
        raise SetupError(
            f"{key}={python}: expected a Python interpreter on {platform.node()}, found none; write "
            "ENVIRONMENT/bin/python, and have it on every machine"
        )
    return python


def check_interpreter(python: str, key: str, needed: Mapping[str, str]) -> None:
    """Passes when an interpreter is new enough and has what is needed.

    Args:
        python: The interpreter.
        key: The configuration's key that names it.
        needed: Module by distribution.

    Raises:
        SetupError: it is not, or lacks something; the message says what to type.
    """
    said = _asked(found(python, key), key, tuple(needed.values()))
    version, missing = tuple(said["version"]), set(said["missing"])
    if version < OLDEST:
        wanted, got = (".".join(map(str, each)) for each in (OLDEST, version))
        raise SetupError(f"{key}={python}: expected Python {wanted} or newer, got {got}; make an environment of that")
    lacking = [name for name, module in needed.items() if module in missing]
    if lacking:
        raise SetupError(
            f"{key}={python}: expected {', '.join(lacking)} there, for ray-eval's own side, found none; "
            f"{python} -m pip install {' '.join(lacking)}"
        )


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


def _asked(python: str, key: str, modules: Sequence[str]) -> dict[str, Any]:
    command = [python, "-c", _PROBE, *modules]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=PROBE_TIMEOUT_S, check=False
        )
        said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        raise SetupError(f"{key}={python}: expected a Python interpreter, got {type(error).__name__} of it") from error
    return said

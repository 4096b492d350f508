"""The commands that make an environment: by uv where it is there, else by venv and pip; and their running."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ray_eval.errors import SetupError
from ray_eval.install.recipes import RECIPES, Wanted

PROBE_TIMEOUT_S = 60.0
"""Longest wait for an interpreter that is asked for its version."""
_INSTALLED = (".pyenv/versions/{0}.*/bin/python", "miniconda3/envs/*/bin/python{0}", "anaconda3/envs/*/bin/python{0}")
"""Where pyenv and conda put Pythons that are not on the PATH, below the home folder."""
_VERSION_PROGRAM = "import sys; print('%d.%d' % sys.version_info[:2])"


def default_folder(wanted: Wanted) -> Path:
    """Where an environment goes unless the user says otherwise: below the user's data folder, by name and version.

    Raises:
        SetupError: there is no home folder.
    """
    try:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    except RuntimeError as error:
        raise SetupError("install: expected a home folder, found none; name a folder by --into") from error
    return data / "ray-eval" / f"{wanted.name}-{wanted.version}"


def python_of(folder: Path) -> Path:
    """An environment's interpreter."""
    return folder / "bin" / "python"


def commands(wanted: Wanted, folder: Path, python: str | None) -> list[list[str]]:
    """What is to be run, in order; nothing is made yet.

    Args:
        wanted: The environment.
        folder: Where it goes.
        python: The interpreter that it is made from; None looks for one of the version that it wants.

    Raises:
        SetupError: there is neither uv nor an interpreter of that version.
    """
    inner, uv = str(python_of(folder)), shutil.which("uv")
    trial = [inner, "-c", f"import {wanted.recipe.module}"]
    if uv is not None:
        made = [] if python_of(folder).exists() else [[uv, "venv", "--python", python or wanted.python, str(folder)]]
        return [*made, [uv, "pip", "install", "--python", inner, *wanted.requirements], trial]
    made = [] if python_of(folder).exists() else [[_interpreter(wanted, python), "-m", "venv", str(folder)]]
    return [*made, [inner, "-m", "pip", "install", "--quiet", *wanted.requirements], trial]


def _interpreter(wanted: Wanted, python: str | None) -> str:
    """An interpreter of the version that is wanted, or the one that the user names."""
    if python is not None:
        return _checked(wanted, python)
    for candidate in (sys.executable, f"python{wanted.python}", "python3", *_installed(wanted.python)):
        if version_of(candidate) == wanted.python:
            return candidate
    here = version_of(sys.executable)
    others = [version for version, its in wanted.recipe.versions.items() if its == here]
    older = f"; or add --version {others[0]}, which takes this Python {here}" if others else ""
    raise SetupError(
        f"install {wanted.name}: expected Python {wanted.python}, which {wanted.recipe.distribution} {wanted.version} "
        f"wants, found none; name one by --python, or install uv (pip install uv), which fetches it{older}"
    )


def _checked(wanted: Wanted, python: str) -> str:
    """The interpreter that the user names, if it is of the version."""
    version = version_of(python)
    if version != wanted.python:
        got = f"Python {version}" if version else "none that answers"
        raise SetupError(
            f"--python {python}: expected Python {wanted.python}, which {wanted.recipe.distribution} {wanted.version} "
            f"wants, got {got}; name another one"
        )
    return python


def _installed(version: str) -> list[str]:
    try:
        home = Path.home()
    except RuntimeError:
        return []
    return [str(path) for pattern in _INSTALLED for path in sorted(home.glob(pattern.format(version)))]


def made_python(name: str) -> Path | None:
    """The interpreter of an environment that `ray-eval install NAME` has made in its usual place; None without one."""
    recipe = RECIPES[name]
    with contextlib.suppress(SetupError):
        for version in recipe.versions:
            python = python_of(default_folder(Wanted(name, recipe, version, ())))
            if python.exists():
                return python
    return None


def version_of(python: str) -> str | None:
    """An interpreter's version, for instance `3.12`; None where there is none that answers."""
    try:
        done = subprocess.run(
            [python, "-c", _VERSION_PROGRAM], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def run(lines: Sequence[Sequence[str]], say: Callable[[str], None]) -> None:
    """Runs the commands, each said before.

    Raises:
        SetupError: one of them failed.
    """
    for line in lines:
        say(shlex.join(line))
        try:
            code = subprocess.run(line, check=False).returncode
        except OSError as error:
            raise SetupError(f"install: expected to run {shlex.join(line[:3])}, got {error}; check the path") from error
        if code:
            raise SetupError(
                f"install: expected exit code 0 of {shlex.join(line[:4])} ..., got {code}; mend what it says above and "
                "type the same again: what is installed already stays"
            )

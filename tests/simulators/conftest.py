"""Simulators in interpreters of their own, made by `ray-eval install` where they are not there yet."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def _installed(name: str) -> Path:
    """The interpreter that `RAY_EVAL_<NAME>_PYTHON` names, else that of `.venv-<name>` beside the sources."""
    if given := os.environ.get(f"RAY_EVAL_{name.upper()}_PYTHON"):
        return Path(given)
    folder = ROOT / f".venv-{name}"
    if not (folder / ".installed").exists():
        command = [sys.executable, "-m", "ray_eval", "install", name, "--into", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / ".installed").touch()
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def interpreter():
    """Gives the interpreter of a simulator by its name."""
    return _installed

"""A new folder of results under `runs/`, made at once: whoever else begins in the same second gets another."""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path

from ray_eval.config import EvalConfig, user_path
from ray_eval.errors import ConfigError

ROOT = "runs"
"""Folder, in the working folder, that results go to unless the user says."""


def run_folder(config: EvalConfig) -> Path:
    """A new folder whose name says when, which policy and which suites.

    Raises:
        ConfigError: none can be made.
    """
    suites = config.suite[0] if len(config.suite) == 1 else f"{len(config.suite)}-suites"
    return made_folder(f"{config.policy_type}-{suites}")


def sweep_folder(config: EvalConfig, kind: str = "sweep") -> Path:
    """A new folder whose name says when, that it is a sweep, and which policy.

    Raises:
        ConfigError: none can be made.
    """
    return made_folder(f"{kind}-{config.policy_type}")


def made_folder(name: str) -> Path:
    """A new folder whose name says when, and this.

    Raises:
        ConfigError: none can be made.
    """
    root = user_path(ROOT, "out")
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
    try:
        root.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            path = root / (f"{stamp}-{name}" if number == 1 else f"{stamp}-{name}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path
    except OSError as error:
        raise ConfigError(
            f"{root}: expected a folder that can be made, got {error.strerror}; write out=FOLDER, or start elsewhere"
        ) from error
    raise AssertionError(root)

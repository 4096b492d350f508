"""Env adapters, run in each worker: LIBERO, and a fake for tests; `make_env` chooses by the suite's name."""

from __future__ import annotations

import contextlib

from ray_eval.envs.catalogue import FAKE_SUITE
from ray_eval.interfaces import Env
from ray_eval.sections import EnvSettings


def import_simulator() -> None:
    """Imports LIBERO with what it needs, some seconds' work, before the first env is built.

    What is missing is said by `make_env`.
    """
    with contextlib.suppress(ImportError):
        from ray_eval.envs.libero import task_env

        task_env.import_simulator()


def make_env(suite: str, task_id: int, settings: EnvSettings) -> Env:
    """The env of one task; building takes seconds and the adapter's imports happen here.

    Raises:
        ConfigError: the suite or the task is unknown.
    """
    if suite == FAKE_SUITE:
        from ray_eval.envs.fake import FakeEnv

        return FakeEnv(suite, task_id, settings)
    from ray_eval.envs.libero.env import LiberoEnv

    return LiberoEnv(suite, task_id, settings)

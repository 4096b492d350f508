"""Simulators, run in each worker: a folder each, found by `registry`; `make_env` chooses by the settings."""

from __future__ import annotations

from ray_eval.envs.registry import simulator_for
from ray_eval.interfaces import Env
from ray_eval.orders import obeying
from ray_eval.sections import EnvSettings


def make_env(suite: str, task_id: int, settings: EnvSettings) -> Env:
    """The env of one task; building takes seconds and the adapter's imports happen here.

    Raises:
        ConfigError: the suite or the task is unknown.
    """
    return obeying(simulator_for(settings.simulator, suite).make_env(suite, task_id, settings))

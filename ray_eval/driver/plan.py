"""The plan of a run: which episodes, in which order; starts nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ray_eval.config import EvalConfig
from ray_eval.envs import catalogue
from ray_eval.errors import ConfigError, did_you_mean
from ray_eval.types import EpisodeSpec

REPEAT_SEED_STRIDE = 10_000
"""Distance of the env seeds of two repetitions of the same episode."""


def make_plan(
    config: EvalConfig,
    task_count: Callable[[str], int],
    init_state_count: Callable[[str, int], int],
) -> tuple[EpisodeSpec, ...]:
    """Every episode of the configuration: suites in the order given, then tasks, init states and repeats ascending.

    Args:
        config: what is to be evaluated.
        task_count: tasks of a suite; raises ConfigError for a suite that is not known.
        init_state_count: stored init states of a task.

    Raises:
        ConfigError: a suite, a task or an init state does not exist.
    """
    return tuple(
        _episode(config, suite, task_id, init_state_id, repeat)
        for suite in config.suite
        for task_id in _tasks(config, suite, task_count(suite))
        for init_state_id in _init_states(config, suite, task_id, init_state_count(suite, task_id))
        for repeat in range(config.repeats)
    )


def _tasks(config: EvalConfig, suite: str, count: int) -> tuple[int, ...]:
    return _within("tasks", sorted(config.tasks or range(count)), count, f"{suite} has")


def _init_states(config: EvalConfig, suite: str, task_id: int, count: int) -> tuple[int, ...]:
    if config.init_states is not None:
        return _within("init_states", sorted(config.init_states), count, f"{suite} task {task_id} has")
    wanted = config.episodes_per_task or count
    if wanted > count:
        raise ConfigError(
            f"episodes_per_task: expected at most {count}, got {wanted}; {suite} task {task_id} has {count}"
        )
    return tuple(range(wanted))


def _within(key: str, indices: Sequence[int], count: int, owner: str) -> tuple[int, ...]:
    if indices and indices[-1] >= count:
        raise ConfigError(f"{key}: expected indices from 0 to {count - 1}, got {indices[-1]}; {owner} {count}")
    return tuple(indices)


def _episode(config: EvalConfig, suite: str, task_id: int, init_state_id: int, repeat: int) -> EpisodeSpec:
    protocol = config.protocol
    own = init_state_id if protocol.env_seed_per_episode else 0
    return EpisodeSpec(
        suite=suite,
        task_id=task_id,
        init_state_id=init_state_id,
        env_seed=protocol.env_seed + own + REPEAT_SEED_STRIDE * repeat,
        max_steps=protocol.max_steps.of(suite),
        seed=config.seed,
        repeat=repeat,
    )


def plan_of(config: EvalConfig) -> tuple[EpisodeSpec, ...]:
    """The episodes of a configuration, from the catalogue of the installed LIBERO.

    Raises:
        ConfigError: a suite, task or init state does not exist.
    """
    _check_budgets(config)
    return make_plan(config, lambda suite: len(catalogue.tasks(suite)), catalogue.init_state_count)


def _check_budgets(config: EvalConfig) -> None:
    """A budget for a suite that nobody knows would be ignored without a word."""
    known = {*catalogue.suites(), *config.suite, "default"}
    for suite in config.protocol.max_steps:
        if suite not in known:
            raise ConfigError(
                f"protocol.max_steps.{suite}: expected a suite or default, got {suite!r}.{did_you_mean(suite, known)}"
            )


def stored_init_states(suite: str, task_id: int) -> int:
    """How many init states a task has.

    Raises:
        ConfigError: the suite or the task is not known.
    """
    return catalogue.init_state_count(suite, task_id)


def suite_names() -> tuple[str, ...]:
    """Every suite that can be run."""
    return catalogue.suites()


def instructions(suite: str) -> tuple[str, ...]:
    """The tasks of a suite in words, by task id.

    Raises:
        ConfigError: the suite is not known.
    """
    return tuple(task.instruction for task in catalogue.tasks(suite))

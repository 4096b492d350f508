"""The plan of a run: which episodes, in which order; starts nothing."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

from ray_eval.config import EvalConfig
from ray_eval.driver.simulators import budget_of, installed_suites, simulator_of
from ray_eval.envs.registry import simulator_of_suite
from ray_eval.errors import ConfigError, did_you_mean
from ray_eval.types import EpisodeSpec, TaskEntry

REPEAT_SEED_STRIDE = 10_000
"""Distance of the env seeds of two repetitions of the same episode."""


def make_plan(
    config: EvalConfig,
    task_count: Callable[[str], int],
    init_state_count: Callable[[str, int], int],
    budget: Callable[[str, int], int] | None = None,
) -> tuple[EpisodeSpec, ...]:
    """Every episode of the configuration: suites in the order given, then tasks, init states and repeats ascending.

    Args:
        config: what is to be evaluated.
        task_count: tasks of a suite; raises ConfigError for a suite that is not known.
        init_state_count: start states of a task.
        budget: control steps of a task's episode; None takes the protocol's word.

    Raises:
        ConfigError: a suite, a task or an init state does not exist.
    """
    steps = budget or (lambda suite, _: config.protocol.max_steps.of(suite))
    return tuple(
        _episode(config, (suite, task_id, init_state_id, repeat), steps(suite, task_id))
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


def _episode(config: EvalConfig, place: tuple[str, int, int, int], max_steps: int) -> EpisodeSpec:
    (suite, task_id, init_state_id, repeat), protocol = place, config.protocol
    own = init_state_id if protocol.env_seed_per_episode else 0
    return EpisodeSpec(
        suite=suite,
        task_id=task_id,
        init_state_id=init_state_id,
        env_seed=protocol.env_seed + own + REPEAT_SEED_STRIDE * repeat,
        max_steps=max_steps,
        seed=config.seed,
        repeat=repeat,
    )


def plan_of(config: EvalConfig) -> tuple[EpisodeSpec, ...]:
    """The episodes of a configuration, from what its simulator lists, and the controls of those that are perturbed.

    Raises:
        ConfigError: a suite, task or start state does not exist.
        SetupError: the simulator is not installed.
    """
    return with_controls(asked_plan_of(config), simulator_of(config).tasks)


def asked_plan_of(config: EvalConfig) -> tuple[EpisodeSpec, ...]:
    """The episodes that a configuration names, without controls: what decides a duel, a search, where a run stops.

    Raises:
        ConfigError: a suite, task or start state does not exist.
        SetupError: the simulator is not installed.
    """
    _check_budgets(config)
    simulator = simulator_of(config)
    return make_plan(
        config,
        lambda suite: len(simulator.tasks(suite)),
        simulator.start_state_count,
        lambda suite, task_id: budget_of(config, simulator, suite, task_id),
    )


def with_controls(plan: Sequence[EpisodeSpec], tasks: Callable[[str], Sequence[TaskEntry]]) -> tuple[EpisodeSpec, ...]:
    """The plan, and before it the unperturbed episodes that those of its perturbed tasks are compared with, once each.

    A control has the start state, seed and budget of what it is a control of.

    Args:
        plan: what is to be evaluated.
        tasks: the tasks of a suite, by id.
    """
    controls: dict[str, EpisodeSpec] = {}
    for spec in plan:
        perturbed = tasks(spec.suite)[spec.task_id].perturbed
        if perturbed is not None and perturbed.control is not None:
            suite, task_id = perturbed.control
            control = dataclasses.replace(spec, suite=suite, task_id=task_id)
            controls.setdefault(control.episode_id, control)
    planned = {spec.episode_id for spec in plan}
    ordered = sorted(controls.values(), key=lambda spec: (spec.suite, spec.task_id, spec.init_state_id, spec.repeat))
    return (*(spec for spec in ordered if spec.episode_id not in planned), *plan)


def _check_budgets(config: EvalConfig) -> None:
    """A budget for a suite that nobody knows would be ignored without a word."""
    own = {*simulator_of(config).suites(), *config.suite, "default"}
    others = [suite for suite in config.protocol.max_steps if suite not in own]
    if not others:
        return
    installed = installed_suites()
    known = {*own, *itertools.chain(*installed.values())}
    for suite in others:
        # Nothing can be said of the suites of a simulator that is not here.
        if suite not in known and simulator_of_suite(suite) in (simulator_of(config).name, *installed):
            raise ConfigError(
                f"protocol.max_steps.{suite}: expected a suite or default, got {suite!r}.{did_you_mean(suite, known)}"
            )

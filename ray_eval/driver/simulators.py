"""The simulator of a configuration, as the driver asks it: for its tasks, its spec and what its numbers hang on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ray_eval.config import EvalConfig, own_protocol_names, simulator_section
from ray_eval.envs.registry import simulator_for, simulator_names
from ray_eval.errors import ConfigError, SetupError
from ray_eval.interfaces import Simulator
from ray_eval.rollout.hosted import HostedSimulator, hosted_simulator
from ray_eval.rollout.running import installed_versions
from ray_eval.sections import SimulatorSection
from ray_eval.types import EnvSpec, EpisodeSpec, TaskEntry


def simulator_of(config: EvalConfig) -> Simulator:
    """The simulator that a configuration means, with its settings.

    Raises:
        ConfigError: there is none of that name, or the suites belong to several.
        SetupError: it cannot be imported.
    """
    return _opened(simulator_section(config))


def simulator_named(name: str, python: str | None = None) -> Simulator:
    """A simulator with its default settings.

    Raises:
        ConfigError: there is none of that name.
        SetupError: it cannot be imported.
    """
    return _opened(SimulatorSection(name, python=python))


def _opened(section: SimulatorSection) -> Simulator:
    return simulator_for(section) if section.python is None else hosted_simulator(section)


def env_spec_of(config: EvalConfig, plan: tuple[EpisodeSpec, ...]) -> EnvSpec:
    """What the envs of all planned tasks have in common.

    Raises:
        ConfigError: two tasks have other cameras, another state or another action, which no policy could serve.
    """
    simulator = simulator_of(config)
    specs = {(spec.suite, spec.task_id): simulator.spec(spec.suite, spec.task_id) for spec in plan}
    (first_task, first), *others = specs.items()
    for task, other in others:
        if other.identity() != first.identity():
            raise ConfigError(
                f"suite: expected tasks with the same observations and actions, got {first_task[0]}/{first_task[1]} "
                f"and {task[0]}/{task[1]}, which differ; make a run of each"
            )
    fixed = {camera.key for spec in specs.values() for camera in spec.cameras if not camera.is_resizable}
    cameras = (dataclasses.replace(each, is_resizable=each.key not in fixed) for each in first.cameras)
    return dataclasses.replace(first, cameras=tuple(cameras))


def budget_of(config: EvalConfig, simulator: Simulator, suite: str, task_id: int) -> int:
    """A task's budget in control steps: the protocol's, else the simulator's own.

    A perturbed task has that of the suite whose task it is, where the protocol does not name its own.

    Raises:
        ConfigError: neither says one, or it is longer than the simulator can run.
    """
    budgets = config.protocol.max_steps
    env = simulator.spec(suite, task_id)
    perturbed = simulator.tasks(suite)[task_id].perturbed
    named = suite if perturbed is None or suite in budgets else perturbed.base_suite
    budget = env.max_steps if not budgets and env.max_steps is not None else budgets.of(named)
    if env.most_steps is not None and budget > env.most_steps:
        raise ConfigError(
            f"protocol.max_steps: expected at most {env.most_steps} for {suite}, where {env.simulator} ends by itself, "
            f"got {budget}; write protocol.max_steps={env.most_steps}"
        )
    return budget


def versions_of(config: EvalConfig) -> dict[str, str]:
    """Versions of what matters to a result, as installed where the configuration's episodes run.

    Raises:
        SetupError: there is no such interpreter.
    """
    simulator = simulator_of(config)
    return (
        simulator.versions()
        if isinstance(simulator, HostedSimulator)
        else installed_versions(simulator_section(config))
    )


def spec_identity(env: EnvSpec) -> dict[str, Any]:
    """The part of a run's environment that says what its envs deliver and execute."""
    return {"simulator.spec": env.identity()}


def installed_suites() -> dict[str, tuple[str, ...]]:
    """The suites of every simulator that is installed, by its name; the fake one's left out."""
    found = {}
    for name in simulator_names():
        try:
            suites = simulator_for(SimulatorSection(name)).suites()
        except (SetupError, ConfigError):
            continue
        if name != "fake" and suites:
            found[name] = suites
    return found


def defect_of_libero() -> str | None:
    """Why LIBERO, which an installation of the evaluator brings, has no suites; None where nothing is found."""
    simulator = simulator_for(SimulatorSection("libero"))
    try:
        simulator.check()
        simulator.tasks("libero_object")
    except (SetupError, ConfigError) as error:
        return str(error)
    return None


def own_protocols() -> dict[str, tuple[str, ...]]:
    """Names of the protocols in the folder of each simulator that has one."""
    found = {name: own_protocol_names(name) for name in simulator_names()}
    return {name: names for name, names in found.items() if names}


def instructions_of(config: EvalConfig) -> Callable[[str], tuple[str, ...]]:
    """What gives the tasks of one of a configuration's suites in words, by task id."""
    simulator = simulator_of(config)
    return lambda suite: tuple(task.instruction for task in simulator.tasks(suite))


def told_simulators() -> list[tuple[str, str]]:
    """Every simulator with its suites, or with what keeps it from being run here."""
    told = []
    for name in simulator_names():
        if name == "fake":
            continue
        try:
            simulator = simulator_named(name)
            simulator.check()
            told.append((name, ", ".join(simulator.suites())))
        except SetupError as error:
            told.append((name, f"not here: {error}"))
        except ConfigError as error:  # it is whatever its keys say
            told.append((name, str(error)))
    return told


def instructions(suite: str) -> tuple[str, ...]:
    """The tasks of a suite in words, by task id, under its simulator's default settings.

    Raises:
        ConfigError: the suite is not known.
        SetupError: its simulator is not installed.
    """
    tasks: tuple[TaskEntry, ...] = simulator_for(SimulatorSection(), suite).tasks(suite)
    return tuple(task.instruction for task in tasks)

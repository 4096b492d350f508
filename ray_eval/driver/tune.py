"""Tuning: Ray Tune looks for the best execution settings on init states of their own; the number comes from others."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import itertools
import json
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle
from rich.console import Console

from ray_eval.config import EvalConfig, load_config
from ray_eval.driver.checks import check_execution
from ray_eval.driver.fresh import sweep_folder
from ray_eval.driver.plan import asked_plan_of, plan_of
from ray_eval.driver.resolve import env_settings, queue_rules
from ray_eval.driver.session import Session, open_session
from ray_eval.driver.simulators import env_spec_of, simulator_of
from ray_eval.driver.sweep import Point, SweepPlan, create_sweep, open_part, swept, write_sweep
from ray_eval.errors import ConfigError, EpisodeError, PolicyChanged
from ray_eval.report.ledger import write_atomically
from ray_eval.report.metrics import rate_of
from ray_eval.report.progress import ProgressView
from ray_eval.report.sweep import SweptPoint
from ray_eval.rollout.running import RolloutSettings
from ray_eval.types import EpisodeResult, EpisodeSpec, Outcome, PolicySpec

AGGREGATE = "execution.aggregate"
DEFAULT_SPACE: Mapping[str, tuple[str, ...]] = {
    "execution.chunk_size_threshold": ("0", "0.25", "0.5", "0.75", "1"),
    AGGREGATE: ("latest_only", "weighted_average", "average", "conservative"),
    "execution.actions_per_chunk": ("null", "5", "10", "20"),
}
"""What is searched where the user names no key with several values."""
SYNC_SPACE: Mapping[str, tuple[str, ...]] = {"protocol.replan_steps": ("1", "2", "5", "chunk")}
"""The same in sync, where the simulator waits and nothing else is left to choose."""
TUNABLE = ("execution.", "protocol.replan_steps")
"""Beginnings of the keys that may be searched: how chunks become actions, not what is evaluated."""
HEAD_NODE = "node:__internal_head__"
"""Resource of Ray's own that stands for the head node, 1 of it; Tune places nothing that needs no resource at all."""
TRIAL_SHARE = 0.001
"""Share of it that a trial takes."""
QUIET = {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_SIGINT_HANDLER": "1"}
"""Ray Tune's variables for the length of a search: without the first it prints a report at verbosity 0 as well,
without the second Ctrl+C does not end the search but has it choose among the trials so far."""
REDUCTION = 3
"""Of the trials that reach a rung, one in so many goes on."""
TUNING_NAME = "tuning.json"
"""File in the folder that says what was searched, on which episodes, and what was chosen."""
STEP_WEIGHT = 1e-3
"""Of two settings that succeed equally often, the quicker one is better; never worth a single episode."""


@dataclass(frozen=True, slots=True)
class TuneResult:
    """What came out of tuning."""

    out: Path
    """Folder of the results."""
    best: Mapping[str, str]
    """The settings that did best on the tuning init states."""
    trials: tuple[Mapping[str, Any], ...]
    """Every trial, best first: its settings, success rate, episodes and rungs."""
    points: tuple[SweptPoint, ...]
    """The configuration as given and the best one, on the reported init states."""
    is_interrupted: bool
    """Whether a signal ended it early."""


def tuning_plan(config: EvalConfig, states_per_task: int) -> tuple[tuple[EpisodeSpec, ...], ...]:
    """Episodes to tune on, rung by rung: in each, every task once, from an init state that is not reported on.

    Raises:
        ConfigError: too few init states are left.
    """
    reported = {(spec.suite, spec.task_id, spec.init_state_id) for spec in asked_plan_of(config)}
    tasks = dict.fromkeys((suite, task_id) for suite, task_id, _ in reported)
    rungs: list[list[EpisodeSpec]] = [[] for _ in range(states_per_task)]
    for suite, task_id in tasks:
        count = simulator_of(config).start_state_count(suite, task_id)
        free = [index for index in reversed(range(count)) if (suite, task_id, index) not in reported]
        if len(free) < states_per_task:
            raise ConfigError(
                f"tune: expected {states_per_task} init states of {suite} task {task_id} besides the reported ones, "
                f"got {len(free)} of {count}; set episodes_per_task lower, or --tune-states"
            )
        for rung, index in zip(rungs, free, strict=False):
            alone = dataclasses.replace(
                config, suite=(suite,), tasks=(task_id,), init_states=(index,), episodes_per_task=None, repeats=1
            )
            rung.extend(asked_plan_of(alone))
    return tuple(tuple(sorted(rung, key=lambda spec: (spec.suite, spec.task_id))) for rung in rungs)


def default_space(config: EvalConfig) -> Mapping[str, tuple[str, ...]]:
    """What is searched unless the user says."""
    return SYNC_SPACE if config.execution.mode == "sync" else DEFAULT_SPACE


def check_space(space: Mapping[str, Sequence[str]], base: EvalConfig) -> None:
    """Passes when every key may be searched and every single value can be run.

    Raises:
        ConfigError: a key says what is evaluated rather than how chunks are executed, or a value cannot be run.
    """
    for key, values in space.items():
        if not key.startswith(TUNABLE) or key.startswith("execution.latency"):
            raise ConfigError(f"{key}: expected a key of {' or '.join(TUNABLE)} to search, other than the latency")
        for value in values:
            check_execution(load_config(base.resolved(), [f"{key}={value}"]))


def tune(
    base: EvalConfig,
    space: Mapping[str, Sequence[str]],
    out: Path | None,
    *,
    trial_count: int,
    states_per_task: int,
    console: Console | None = None,
) -> TuneResult:
    """Searches, then runs the configuration as given and the best one on the reported init states.

    Args:
        base: the configuration as given.
        space: what is searched: keys, and the values of each.
        out: folder of the results; None makes one under `runs/`.
        trial_count: most settings tried.
        states_per_task: init states per task to tune on.
        console: what takes the words; None for silence.

    Raises:
        ConfigError: something cannot be run as written.
        SetupError: the machine cannot run it.
        LedgerError: a folder cannot be read or written.
    """
    check_space(space, base)
    rungs = tuning_plan(base, states_per_task)
    progress = ProgressView(console or Console(quiet=True))
    given = Point("points/0-as-given", {"settings": "as given"}, base)
    out = out or sweep_folder(base, "tune")
    create_sweep(SweepPlan({"settings": ("as given", "best")}, (given,)), out)
    with contextlib.ExitStack() as stack:
        part = open_part(stack, out, given)
        others = [load_config(base.resolved(), [f"{AGGREGATE}={name}"]) for name in space.get(AGGREGATE, ())]
        session = stack.enter_context(open_session(base, len(plan_of(base)), progress, others=others))
        is_interrupted = session.execute([part])
        session.film(is_interrupted=is_interrupted)
        if is_interrupted:
            return TuneResult(out, {}, (), (swept(given, part),), is_interrupted=True)
        drawn = drawn_settings(space, trial_count, base.seed)
        progress.note(apart(rungs, asked_plan_of(base)))
        progress.note(f"{len(drawn)} trials of up to {sum(len(rung) for rung in rungs)} episodes:")
        with tune_in_silence():
            trials = _search(session, base, drawn, part.settings, rungs, out=out, progress=progress)
        write_atomically(out / "trials.csv", trials_csv(trials))
        chosen = {key: str(trials[0][key]) for key in space}
        write_atomically(out / TUNING_NAME, tuning_text(space, rungs, len(drawn), chosen))
        best = Point(
            "points/1-best",
            {"settings": "best"},
            load_config(base.resolved(), [f"{key}={value}" for key, value in chosen.items()]),
        )
        plan = SweepPlan({"settings": ("as given", "best")}, (given, best))
        create_sweep(plan, out, exist_ok=True)
        best_part = open_part(stack, out, best)
        is_interrupted = session.execute([best_part])
        session.film(is_interrupted=is_interrupted)
        points = (swept(given, part), swept(best, best_part))
    write_sweep(plan, points, out)
    return TuneResult(out, chosen, tuple(trials), points, is_interrupted)


def drawn_settings(space: Mapping[str, Sequence[str]], most: int, seed: int) -> list[dict[str, str]]:
    """Every combination of a space if there are no more than `most`, else so many that differ, drawn by the seed."""
    combinations = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    if len(combinations) <= most:
        return combinations
    return random.Random(seed).sample(combinations, most)  # noqa: S311 - a search, no secret


def apart(rungs: Sequence[Sequence[EpisodeSpec]], reported: Sequence[EpisodeSpec]) -> str:
    """Which init states are tuned on and which are reported on, in one line."""
    tuned = ranges_of({spec.init_state_id for rung in rungs for spec in rung})
    kept = ranges_of({spec.init_state_id for spec in reported})
    return f"tuning on init states {tuned} of each task; the result is that of {kept}"


def ranges_of(numbers: Iterable[int]) -> str:
    """Numbers in ascending order, neighbours together: `0-3, 7`."""
    ordered = sorted(numbers)
    starts = [n for n in ordered if n - 1 not in ordered]
    ends = [n for n in ordered if n + 1 not in ordered]
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in zip(starts, ends, strict=True))


def tuning_text(
    space: Mapping[str, Sequence[str]],
    rungs: Sequence[Sequence[EpisodeSpec]],
    trial_count: int,
    chosen: Mapping[str, str],
) -> str:
    """`tuning.json`: what was searched, on which episodes, and what was chosen."""
    values = {
        "space": {key: list(texts) for key, texts in space.items()},
        "trials": trial_count,
        "rungs": [[spec.episode_id for spec in rung] for rung in rungs],
        "best": dict(chosen),
    }
    return json.dumps(values, indent=2) + "\n"


def _search(
    session: Session,
    base: EvalConfig,
    drawn: Sequence[Mapping[str, str]],
    settings: RolloutSettings,
    rungs: Sequence[Sequence[EpisodeSpec]],
    *,
    out: Path,
    progress: ProgressView,
) -> list[dict[str, Any]]:
    """Every trial's settings and last report, best first: those that went through more rungs before the others."""
    from ray import tune as ray_tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search import BasicVariantGenerator

    from ray_eval.driver.trials import SETTINGS, TrialLines

    workers = list(session.workers.values())
    trainable = ray_tune.with_parameters(
        _trial, base=base.resolved(), policy_spec=session.policy_spec, settings=settings, rungs=rungs, workers=workers
    )
    # A trial only waits for the session's own workers, which hold the simulators and all the CPUs.
    tuner = ray_tune.Tuner(
        ray_tune.with_resources(trainable, {HEAD_NODE: TRIAL_SHARE}),
        param_space={SETTINGS: ray_tune.grid_search(list(drawn))},
        tune_config=ray_tune.TuneConfig(
            metric="score",
            mode="max",
            search_alg=BasicVariantGenerator(max_concurrent=2 * len(workers)),
            scheduler=ASHAScheduler(
                time_attr="training_iteration", grace_period=1, max_t=len(rungs), reduction_factor=REDUCTION
            ),
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=ray_tune.RunConfig(
            name="search",
            storage_path=str(out.resolve() / "ray_tune"),
            verbose=0,
            callbacks=[TrialLines(progress.note, len(drawn), len(rungs))],
        ),
    )
    found = tuner.fit()
    for error in found.errors:
        if isinstance(error, PolicyChanged):  # every later trial broke of it
            raise PolicyChanged(str(getattr(error, "cause", error)))
    rows = [
        _row(result.config[SETTINGS], result.metrics)
        for result in found
        if result.metrics and "score" in result.metrics
    ]
    if not rows:
        errors = [str(error) for error in found.errors]
        raise EpisodeError(f"tune: expected a trial that ends, got none: {errors[0] if errors else 'no trial at all'}")
    return sorted(rows, key=lambda row: (-row["rungs"], -row["score"]))


@contextlib.contextmanager
def tune_in_silence() -> Iterator[None]:
    """Ray Tune with neither a report nor a way with Ctrl+C of its own."""
    before = {name: os.environ.get(name) for name in QUIET}
    os.environ.update(QUIET)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _row(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
    figures = {name: metrics[name] for name in ("success_rate", "mean_steps", "episodes", "score")}
    return {**config, "rungs": metrics["training_iteration"], **figures}


def _trial(
    values: Mapping[str, Mapping[str, str]],
    *,
    base: Mapping[str, Any],
    policy_spec: PolicySpec,
    settings: RolloutSettings,
    rungs: Sequence[Sequence[EpisodeSpec]],
    workers: Sequence[ActorHandle[Any]],
) -> None:
    """One trial, in an actor of Ray Tune's: reports after every rung, and is stopped there if it is behind."""
    from ray import tune as ray_tune

    from ray_eval.driver.trials import SETTINGS

    config = load_config(base, [f"{key}={value}" for key, value in values[SETTINGS].items()])
    given = dataclasses.replace(
        settings,
        run_id=f"{settings.run_id}.{ray_tune.get_context().get_trial_id()}",
        rules=queue_rules(config, policy_spec),
        env=env_settings(config, policy_spec, env_spec_of(config, tuple(rungs[0]))),
    )
    tasks = sorted({(spec.suite, spec.task_id) for rung in rungs for spec in rung})
    results: list[EpisodeResult] = []
    for rung in rungs:
        # A task is always the same worker's, which keeps its simulator.
        asked = [
            workers[tasks.index((spec.suite, spec.task_id)) % len(workers)].run.remote(spec, 1, given) for spec in rung
        ]
        results += ray.get(asked)
        broken = next((result for result in results if result.outcome is Outcome.ERROR), None)
        if broken is not None:
            raise EpisodeError(f"{broken.spec.episode_id}: expected a success or a failure, got {broken.error}")
        ray_tune.report(figures_of(results))


def figures_of(results: Sequence[EpisodeResult]) -> dict[str, float]:
    """What a trial reports: its success rate, and the score by which trials are compared."""
    rate = rate_of(results)
    share = sum(result.steps / result.spec.max_steps for result in results) / len(results)
    value = rate.value or 0.0
    return {
        "success_rate": value,
        "mean_steps": rate.mean_steps or 0.0,
        "episodes": rate.n,
        "score": value - STEP_WEIGHT * share,
    }


def trials_csv(trials: Sequence[Mapping[str, Any]]) -> str:
    """`trials.csv`: one row per trial, best first."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(trials[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(trials)
    return buffer.getvalue()

"""`ray-eval plan`: what a run will take, what limits it, what is best, and how far off that was; in the driver."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ray_eval.capacity.figures import Figures
from ray_eval.capacity.hosts import Hosts, read_hosts
from ray_eval.config import EvalConfig, read_json, read_plain
from ray_eval.driver.calibration import calibrate
from ray_eval.driver.forecast import Forecast, Question, Setting, forecast, places, recommend
from ray_eval.driver.limits import cpu_limit, memory_limit
from ray_eval.driver.plan import plan_of
from ray_eval.driver.replicas import gpu_share, policy_cpus
from ray_eval.errors import ConfigError
from ray_eval.report.ledger import read_ledger, write_atomically
from ray_eval.report.progress import duration, percent
from ray_eval.sections import RemoteSection, ScriptedPolicy


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user asks for."""

    cluster: Path | None = None
    """File of the hosts; None plans for this machine."""
    prices: Path | None = None
    """File of prices; None has none."""
    figures: Path | None = None
    """File of recorded figures; None measures."""
    save: Path | None = None
    """Where the figures are to be written."""
    seconds: float = 120.0
    """How long to measure."""
    against: Path | None = None
    """Folder of a run that was made, to be compared with what would have been said of it."""


def make_plan_of(config: EvalConfig, wanted: Wanted, console: Console) -> tuple[Forecast, Forecast]:
    """The forecast of the configuration as it is written, and of the recommended setting; both are shown.

    Raises:
        ConfigError: the configuration or a file cannot be read as written.
        SetupError: nothing can be measured here.
    """
    prices = read_plain(wanted.prices) if wanted.prices else {}
    hosts = _hosts(wanted.cluster, prices)
    figures = _figures(config, wanted, console)
    question = question_of(config, figures, hosts)
    as_written = forecast(question, _setting(config, question))
    best = recommend(question)
    console.print(f"measured: {figures.source}", highlight=False)
    console.print(f"hosts: {places(hosts)}", highlight=False)
    console.print(_table(question, as_written, best))
    console.print(f"what limits it: {as_written.limit}", highlight=False, soft_wrap=True)
    if wanted.against is not None:
        console.print(told_error(as_written, wanted.against), highlight=False, soft_wrap=True)
    return as_written, best


def question_of(config: EvalConfig, figures: Figures, hosts: tuple[Hosts, ...]) -> Question:
    """What the configuration fixes of a forecast."""
    batching, policy = config.serving.batching(), config.policy
    # Those that only do arithmetic declare that batches change nothing.
    is_fixed = batching.determinism == "reproducible" and not isinstance(policy, (ScriptedPolicy, RemoteSection))
    gpus = sum(each.count * each.gpus for each in hosts)
    return Question(
        figures,
        plan_of(config),
        hosts,
        lead_steps=_lead_steps(config),
        policy_threads=policy_cpus(config) // config.serving.replicas,
        has_device=gpus > 0 and gpu_share(policy, config.serving.replicas, gpus) > 0,
        fixed_rows=batching.batch_size if is_fixed else None,
    )


def _lead_steps(config: EvalConfig) -> int:
    """Control steps between a request and its use, as far as the configuration says them."""
    latency = config.execution.latency
    if config.execution.mode != "async":
        return 0
    return latency.steps if latency.steps is not None else math.ceil((latency.ms or 0.0) * CONTROL_HZ / 1000)


CONTROL_HZ = 20
"""Of LIBERO; how many steps a latency in milliseconds is, where it matters for a forecast."""


def _setting(config: EvalConfig, question: Question) -> Setting:
    replicas = config.serving.replicas
    workers = question.room(replicas) if config.workers == "auto" else config.workers
    return Setting(workers, replicas, config.serving.max_batch_size)


def _hosts(cluster: Path | None, prices: Mapping[str, Any]) -> tuple[Hosts, ...]:
    if cluster is not None:
        return read_hosts(read_plain(cluster), prices, str(cluster))
    values = {"hosts": {"this machine": {"cpus": cpu_limit().count, "memory_gb": memory_limit().available_bytes / 1e9}}}
    return read_hosts(values, prices, "this machine")


def _figures(config: EvalConfig, wanted: Wanted, console: Console) -> Figures:
    if wanted.figures is not None:
        return Figures.from_json(read_json(wanted.figures), str(wanted.figures))
    figures = calibrate(config, wanted.seconds, console)
    if wanted.save is not None:
        write_atomically(wanted.save, json.dumps(figures.to_json(), indent=1) + "\n", retry="plan again")
    return figures


def _table(question: Question, as_written: Forecast, best: Forecast) -> Table:
    table = Table("", "as written", "recommended", title=f"{len(question.plan)} episodes", title_justify="left")
    rows: list[tuple[str, Callable[[Forecast], str]]] = [
        ("time", lambda each: duration(each.total_s)),
        ("episodes per hour", lambda each: f"{3600 * len(question.plan) / each.total_s:.0f}"),
        ("workers", lambda each: f"{each.setting.workers} of {question.room(each.setting.replicas)}"),
        ("serving.replicas", lambda each: str(each.setting.replicas)),
        ("rows of a forward", lambda each: f"{each.flow.rows:.1f} of {question.fixed_rows or each.setting.max_rows}"),
        ("policy busy", lambda each: percent(each.flow.busy_share)),
        ("workers simulate", lambda each: percent(each.own_share)),
        ("memory", lambda each: f"{each.memory_bytes / 1e9:.1f} GB"),
        ("price", lambda each: "-" if each.price is None else f"{each.price:.2f}"),
    ]
    for name, told in rows:
        table.add_row(name, told(as_written), told(best))
    return table


def told_error(foreseen: Forecast, run: Path) -> str:
    """How long a run's episodes took, beside what was foreseen of them.

    Raises:
        LedgerError: there is no ledger.
        ConfigError: the run was interrupted, or has other episodes.
    """
    took_s = run_s(run, len(foreseen.flow.ended_s))
    error = foreseen.flow.duration_s / took_s - 1
    return (
        f"{run}: its episodes took {duration(took_s)}, foreseen {duration(foreseen.flow.duration_s)} "
        f"({100 * error:+.1f} %), the start and the end of the program left out"
    )


def run_s(run: Path, episodes: int) -> float:
    """Seconds from a run's first lease to its last result, to about one.

    Raises:
        LedgerError: there is no ledger.
        ConfigError: it was run in several sessions, or has other episodes than so many.
    """
    found = read_ledger(run)
    records = found.episodes.values()
    if len(found.sessions) != 1 or len(records) != episodes:
        raise ConfigError(
            f"{run}: expected {episodes} episodes run in one session, got {len(records)} in {len(found.sessions)}"
        )
    starts = [dt.datetime.fromisoformat(record["started_at"]).timestamp() for record in records]
    # A lease's time is cut to whole seconds.
    ends = [start + 0.5 + float(record["wall_s"]) for start, record in zip(starts, records, strict=True)]
    return max(ends) - min(starts)

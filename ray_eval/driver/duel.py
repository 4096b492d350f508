"""A duel: two configurations on the same episodes, in an order that is written down first, until it is decided."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ray_eval.config import EvalConfig, load_config, to_yaml
from ray_eval.driver.anywhere import CONFIG_NAME
from ray_eval.driver.compare import SIDES
from ray_eval.driver.folder import RunFolder, check_identity
from ray_eval.driver.interrupt import signals_interrupt
from ray_eval.driver.ordered import CompletePrefix, shuffled
from ray_eval.driver.part import Part
from ray_eval.driver.plan import asked_plan_of
from ray_eval.driver.rules import UNTIL_NAME
from ray_eval.driver.session import Session, open_session
from ray_eval.driver.until import until_text
from ray_eval.errors import ConfigError
from ray_eval.messages import quoted
from ray_eval.report.ledger import write_atomically
from ray_eval.report.progress import ProgressView
from ray_eval.report.question import EPISODE_KEYS, Difference, Kind, is_under, kind_of
from ray_eval.stats.sequential import DUEL_PRIOR, DuelOutcome, duel_outcome
from ray_eval.types import EpisodeSpec

DUEL_NAME = "duel.json"
"""File that says, before the first episode, what is compared, in which order, and when it is decided."""
RESULT_NAME = "result.json"
"""File with the result: the same bytes for any number of workers."""
WINDOW = 20
"""Pairs for which one of two policies is loaded before the other's turn."""
RULE = "e-value of the discordant pairs at 1 / alpha, by a Beta mixture of bets, looked at after every pair"
"""How it is decided, in words."""


@dataclass(frozen=True, slots=True)
class DuelPlan:
    """What is compared, and in which order."""

    names: tuple[str, str]
    """What the two are called."""
    configs: tuple[EvalConfig, EvalConfig]
    """Their configurations."""
    order: tuple[EpisodeSpec, ...]
    """The episodes of both, in the order in which they count."""
    alpha: float
    """Probability of naming a winner where there is none."""

    @property
    def ids(self) -> list[str]:
        """Episode ids, in order."""
        return [spec.episode_id for spec in self.order]

    @property
    def is_one_policy(self) -> bool:
        """Whether both are served by one policy, and can be run side by side."""
        one, other = self.configs
        return (one.policy, one.serving.batching()) == (other.policy, other.serving.batching())


@dataclass(frozen=True, slots=True)
class DuelResult:
    """What came out of a duel."""

    out: Path
    """Its folder."""
    outcome: DuelOutcome
    """Who is shown to be better, and after how many pairs."""
    is_interrupted: bool
    """Whether a signal ended it early."""
    broken: str | None
    """The episode that broke and stands in the way; None where none does."""


def plan_duel(configs: tuple[EvalConfig, EvalConfig], names: tuple[str, str], alpha: float) -> DuelPlan:
    """The duel of two configurations.

    Raises:
        ConfigError: they have no episodes in common, or are one.
    """
    one, other = (asked_plan_of(config) for config in configs)
    if one != other:
        raise ConfigError(
            "duel: expected two configurations with the same episodes, got others; give both the same ones"
        )
    if configs[0].identity() == configs[1].identity():
        raise ConfigError("duel: expected two configurations that differ, got one twice; change a key by --b key=value")
    return DuelPlan(names, configs, shuffled(one, configs[0].seed), alpha)


def no_question(configs: tuple[EvalConfig, EvalConfig]) -> list[Difference]:
    """Keys in which two configurations must not differ, and do."""
    one, other = (config.identity() for config in configs)
    keys = [key for key in sorted(one.keys() | other.keys()) if one.get(key) != other.get(key)]
    found = [Difference(key, str(one.get(key)), str(other.get(key)), kind_of(key, one, other)) for key in keys]
    return [d for d in found if d.kind in (Kind.PAIRING, Kind.CONFOUNDER) and not is_under(d.key, EPISODE_KEYS)]


def create_duel(plan: DuelPlan, out: Path) -> None:
    """Makes the duel's folder; its order and rule are on disk before anything is run.

    Raises:
        ConfigError: the folder exists.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: expected no such folder, found one; go on with it by --resume {quoted(out)}")
    for side, config in zip(SIDES, plan.configs, strict=True):
        try:
            (out / side).mkdir(parents=True)
        except OSError as error:
            said = f"{out}: expected a folder that can be made, got {error.strerror}; choose another --out"
            raise ConfigError(said) from error
        write_atomically(out / side / CONFIG_NAME, to_yaml(config.resolved()))
        write_atomically(out / side / UNTIL_NAME, until_text("duel", RULE, plan.ids, None))
    values = {"schema_version": 1, "names": plan.names, "alpha": plan.alpha, "rule": RULE, "prior": DUEL_PRIOR}
    write_atomically(out / DUEL_NAME, json.dumps({**values, "order": plan.ids}, indent=1) + "\n")


def read_duel(out: Path, overrides: Sequence[str] = ()) -> DuelPlan:
    """The duel of a folder, with operational overrides.

    Raises:
        ConfigError: it holds none, or an override would make it another one.
    """
    try:
        values: dict[str, Any] = json.loads((out / DUEL_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{out}: expected a duel's folder with {DUEL_NAME}, got {error}; check the path") from error
    names = _checked(values, out)
    configs = []
    for side in SIDES:
        config = load_config(out / side / CONFIG_NAME, overrides)
        check_identity(load_config(out / side / CONFIG_NAME).identity(), config.identity(), out / side)
        configs.append(config)
    plan = plan_duel((configs[0], configs[1]), names, values["alpha"])
    if plan.ids != values["order"] or values["prior"] != DUEL_PRIOR:
        raise ConfigError(
            f"{out}: expected the order and the bets of {DUEL_NAME}, got others; use the version that wrote it"
        )
    return plan


def _checked(values: object, out: Path) -> tuple[str, str]:
    """The names of a duel's file that has all that is read of it."""
    known = values if isinstance(values, dict) else {}
    names, alpha = known.get("names"), known.get("alpha")
    is_level = isinstance(alpha, float) and 0 < alpha <= 0.5
    if not isinstance(names, list) or len(names) != 2 or not is_level or not {"order", "prior"} <= known.keys():
        said = f"{out / DUEL_NAME}: expected names, alpha, order and prior, got others; take the file from a copy"
        raise ConfigError(said)
    return str(names[0]), str(names[1])


def run_duel(plan: DuelPlan, out: Path, console: Console | None = None) -> DuelResult:
    """Runs what is not yet run until the duel is decided, and writes its result.

    Raises:
        ConfigError: a side cannot be run as written.
        SetupError: the machine cannot run it.
        LedgerError: a folder cannot be read or written.
    """
    progress = ProgressView(console or Console(quiet=True))
    with signals_interrupt():
        is_interrupted = _run(plan, out, progress)
    return _settled(plan, out, is_interrupted=is_interrupted)


def _run(plan: DuelPlan, out: Path, progress: ProgressView) -> bool:
    """Runs windows of the order until it is decided; whether it was interrupted."""
    first = next(iter(windows(plan)))
    with contextlib.ExitStack() as stack:
        session: Session | None = None
        for window in windows(plan):
            with _opened(plan, out, window) as (parts, prefix):
                waiting = [part for part in parts if part.waiting_count]
                if prefix.is_enough() and prefix.broken is None:
                    break
                if not waiting:
                    continue
                session = session or stack.enter_context(
                    open_session(plan.configs[0], 2 * len(first), progress, others=plan.configs)
                )
                if _executed(session, plan, waiting, prefix):
                    return True
                if prefix.is_enough():
                    break
        if session is not None:
            with _opened(plan, out, plan.order) as (parts, _):
                session.film(parts)
    return False


def windows(plan: DuelPlan) -> list[tuple[EpisodeSpec, ...]]:
    """Prefixes of the order that are run one after the other: the whole where one policy serves both."""
    step = len(plan.order) if plan.is_one_policy else WINDOW
    return [plan.order[: start + step] for start in range(0, len(plan.order), step)]


def _executed(session: Session, plan: DuelPlan, parts: Sequence[Part], prefix: CompletePrefix) -> bool:
    """Runs parts together where one policy serves them, else one after the other; whether it was interrupted."""
    groups = [parts] if plan.is_one_policy else [[part] for part in parts]
    return any(session.execute(group, order=plan.ids, is_enough=prefix.is_enough) for group in groups)


@contextlib.contextmanager
def _opened(plan: DuelPlan, out: Path, window: tuple[EpisodeSpec, ...]) -> Any:
    """The two parts of a window with their folders, held, and the prefix that they share."""
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(contextlib.closing(RunFolder(out / side, is_resume=True))) for side in SIDES]
        parts = [
            Part(config, window, folder, label=side)
            for config, folder, side in zip(plan.configs, folders, SIDES, strict=True)
        ]
        yield parts, CompletePrefix(plan.ids, folders, lambda found: _outcome(plan, found).is_over)


def _outcome(plan: DuelPlan, outcomes: Sequence[tuple[bool, ...]]) -> DuelOutcome:
    return duel_outcome(((one, other) for one, other in outcomes), len(plan.order), plan.alpha)


def _settled(plan: DuelPlan, out: Path, *, is_interrupted: bool) -> DuelResult:
    """Writes the result and both sides' summaries, of the pairs that count and no others."""
    with _opened(plan, out, plan.order) as (parts, prefix):
        outcomes, broken = prefix.outcomes, prefix.broken
        outcome = _outcome(plan, outcomes)
        if outcome.is_over:
            counted = plan.order[: outcome.state.pairs]
            for part in parts:
                write_atomically(part.folder.path / UNTIL_NAME, until_text("duel", RULE, plan.ids, len(counted)))
                part.plan = counted
                part.write_summary(stopped_by=RULE)
            write_atomically(out / RESULT_NAME, result_text(plan, outcome, outcomes))
    return DuelResult(out, outcome, is_interrupted and not outcome.is_over, broken)


def result_text(plan: DuelPlan, outcome: DuelOutcome, outcomes: Sequence[tuple[bool, ...]]) -> str:
    """`result.json`: a function of the outcomes of the pairs that count."""
    state = outcome.state
    counted = list(outcomes[: state.pairs])
    names = {"first": plan.names[0], "second": plan.names[1], None: None}
    values = {
        "schema_version": 1,
        "names": plan.names,
        "winner": names[outcome.winner],
        "pairs": state.pairs,
        "planned": len(plan.order),
        "both": counted.count((True, True)),
        "only_first": state.only_first,
        "only_second": state.only_second,
        "neither": counted.count((False, False)),
        "log_e_value": round(state.largest_log_e, 9),
        "p_value": round(state.p_value, 12),
        "alpha": plan.alpha,
        "episodes": plan.ids[: state.pairs],
    }
    return json.dumps(values, indent=1) + "\n"

"""A run's folder opened to be looked at: which episodes it has, with their actions, and what an env must know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_eval.config import EvalConfig, load_config, simulator_section
from ray_eval.driver.canaries import IDENTITY_PREFIX
from ray_eval.driver.contents import content_identity
from ray_eval.driver.folder import ENVIRONMENT_PREFIX, check_identity
from ray_eval.driver.plan import plan_of
from ray_eval.driver.simulators import env_spec_of, simulator_of
from ray_eval.errors import ConfigError, did_you_mean
from ray_eval.report.actions import read_actions
from ray_eval.report.ledger import read_ledger, result_of
from ray_eval.sections import EnvSettings, ImageRecipe, ObservationRecipe
from ray_eval.types import Canary, Contents, EnvSpec, EpisodeResult, Outcome, RecordedActions

PICTURE_SIZE_PX = 256
"""Height and width at which cameras are drawn for people, where they can be drawn at any size."""

_DEFAULTS = {"workers": "workers=auto", "ray.address": "ray.address=null"}
"""What is overridden of a recorded run unless the user says otherwise."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One episode of a run that can be run again."""

    result: EpisodeResult
    """What the ledger says of it."""
    actions: RecordedActions
    """What it executed."""


class Recording:
    """A run as its folder has it; read only."""

    def __init__(self, path: Path, overrides: Sequence[str] = ()) -> None:
        """Reads the ledger.

        Args:
            path: the run's folder.
            overrides: operational `key=value` texts, for where and how it is run again.

        Raises:
            LedgerError: the folder holds no run.
            ConfigError: an override would make it another run.
        """
        self.path = path
        ledger = read_ledger(path)
        self.header = ledger.header
        self.config: EvalConfig = load_config(ledger.header["config"], _here(overrides))
        check_identity(load_config(ledger.header["config"]).identity(), self.config.identity(), path)
        self.plan = plan_of(self.config)
        order = {spec.episode_id: place for place, spec in enumerate(self.plan)}
        ids = sorted(ledger.episodes, key=lambda each: order.get(each, len(order)))
        self.records: dict[str, dict[str, Any]] = {each: ledger.episodes[each] for each in ids}

    @property
    def env_spec(self) -> EnvSpec:
        """What its envs deliver and execute."""
        return env_spec_of(self.config, self.plan)

    def checked(self, ids: Sequence[str]) -> list[str]:
        """Episode ids that are the run's, each once.

        Raises:
            ConfigError: one is not.
        """
        for each in ids:
            if each not in self.records:
                hint = did_you_mean(each, self.records)
                raise ConfigError(f"{each}: expected an episode of the ledger of {self.path}, found none.{hint}")
        return list(dict.fromkeys(ids))

    def recorded(self, ids: Sequence[str]) -> dict[str, Recorded]:
        """The episodes that can be run again, by id; those that broke or have no actions are left out.

        Raises:
            LedgerError: the actions of one are damaged.
        """
        wanted = {each: self.records[each] for each in ids}
        actions = read_actions(self.path, wanted)
        results = {each: result_of(self.records[each]) for each in ids if each in actions}
        return {
            each: Recorded(result, actions[each])
            for each, result in results.items()
            if result.outcome is not Outcome.ERROR
        }

    def env_settings(self, recipe: ObservationRecipe | None = None) -> EnvSettings:
        """What an env must know to run its episodes again; without a recipe it observes nothing."""
        images = ImageRecipe(PICTURE_SIZE_PX, image_size_px=PICTURE_SIZE_PX)
        return EnvSettings(
            recipe or ObservationRecipe((), images=images),
            simulator_section(self.config),
            task_text=self.config.task_text,
            model_cache_bytes=round(self.config.limits.model_cache_gb * 1e9),
        )

    def without_actions(self, episode_id: str) -> str:
        """Why an episode cannot be run again, and what can be done."""
        record = self.records[episode_id]
        if record["outcome"] == Outcome.ERROR:
            return f"it has no trajectory: it ended in {record['error']}"
        if record.get("has_actions"):
            return "its actions are not in actions.jsonl any more; take that file from a copy"
        return f"no actions were kept; ray-eval episode {self.path} {episode_id} runs it with its policy"

    def differences(self, versions: Mapping[str, str], canary: Canary | None, contents: Contents) -> list[str]:
        """In what a machine differs from those of the run, as far as it decides trajectories; a text each."""
        present: dict[str, Any] = {**content_identity(contents)}
        present |= {name: versions[name] for name in simulator_of(self.config).distributions if name in versions}
        if canary is not None:
            present |= {f"{IDENTITY_PREFIX}{part}": getattr(canary, part) for part in ("physics", "linear_algebra")}
        found = []
        for name, value in sorted(present.items()):
            recorded = self.header["identity"].get(f"{ENVIRONMENT_PREFIX}{name}")
            if recorded is None or value == recorded or (isinstance(recorded, list) and value in recorded):
                continue
            found.append(f"{name} ({_short(recorded)} there, {_short(value)} here)")
        return found


def _here(overrides: Sequence[str]) -> list[str]:
    """The overrides, and this machine with as many workers as fit unless they say otherwise; the run's were its own."""
    said = {override.partition("=")[0] for override in overrides}
    return [*(default for key, default in _DEFAULTS.items() if key not in said), *overrides]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 20 else f"{text[:16]}..."

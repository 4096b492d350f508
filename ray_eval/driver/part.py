"""One configuration that is run in a session: its plan, its folder, and what workers are given for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from ray_eval.config import EvalConfig, simulator_section
from ray_eval.driver.checks import check_execution
from ray_eval.driver.contents import OwnContents
from ray_eval.driver.evaluation import Evaluation
from ray_eval.driver.folder import RunFolder
from ray_eval.driver.simulators import env_spec_of, simulator_of
from ray_eval.driver.tracking import Tracking
from ray_eval.report.metrics import PERTURBED_KEY, Told, is_control, machine_dependence, without_controls
from ray_eval.report.progress import ProgressView
from ray_eval.rollout.running import RolloutSettings
from ray_eval.types import EnvSpec, EpisodeResult, EpisodeSpec


class Part:
    """One configuration that is run in a session: its plan, its folder, and what workers are given for it."""

    def __init__(self, config: EvalConfig, plan: tuple[EpisodeSpec, ...], folder: RunFolder, label: str = "") -> None:
        """The label stands in front of the part's episodes where they are told of."""
        self.label = label
        self.config = config
        self.plan = plan
        self.folder = folder
        self.settings: RolloutSettings
        self.contents: OwnContents
        self.env: EnvSpec
        self.tracking: Tracking | None = None
        self._header: Mapping[str, Any] | None = folder.recorded_header
        folder.check_config(config)
        # What a finished run was run with need not be there any more.
        if not self.is_finished:
            check_execution(config)
            self.env = env_spec_of(config, plan)
            self.contents = OwnContents.of(plan, simulator_section(config), simulator_of(config))

    @property
    def is_finished(self) -> bool:
        """Whether there is a ledger with every planned episode in it."""
        return self._header is not None and self.waiting_count == 0

    @property
    def waiting_count(self) -> int:
        """Planned episodes that are not finished."""
        return sum(spec.episode_id not in self.folder.finished for spec in self.plan)

    @property
    def header(self) -> Mapping[str, Any] | None:
        """The ledger's header; None before there is one."""
        return self._header

    @property
    def identity_sha256(self) -> str:
        """Short name of everything that decides its results; empty before that is known."""
        return "" if self._header is None else str(self._header["identity_sha256"])

    @property
    def perturbed(self) -> Told:
        """What of its tasks is perturbed; nothing before there is a header."""
        told: Told = (self._header or {"identity": {}})["identity"].get(PERTURBED_KEY, {})
        return told

    @property
    def controls(self) -> set[str]:
        """Ids of the planned episodes that perturbed ones are held against."""
        return {spec.episode_id for spec in self.plan if is_control(spec, self.perturbed)}

    def open(self, settings: RolloutSettings, header: Mapping[str, Any]) -> None:
        """Takes what workers are to be given, and writes or checks the ledger's header.

        Raises:
            ConfigError: the folder holds a run of another identity.
        """
        self.settings = settings
        self.folder.open_ledger(self.config, header)
        # A mixed run keeps the name that its first machines gave it.
        self._header = self.folder.recorded_header or header

    def finished_results(self) -> dict[str, EpisodeResult]:
        """Results that need not be had again, by episode id."""
        return {key: result for key, result in self.folder.results().items() if key in self.folder.finished}

    def write_summary(self, stopped_by: str | None = None) -> None:
        """Writes `summary.json` and `episodes.csv`, and the rule by which the run stopped of itself if there is one."""
        if self._header is not None:
            self.folder.write_summary(self._header, self.plan, self.config.interval, stopped_by)

    def evaluation(self, *, is_interrupted: bool) -> Evaluation:
        """The results that count."""
        results = self.folder.results()
        ordered = tuple(results[spec.episode_id] for spec in self.plan if spec.episode_id in results)
        header = self._header or {"identity": {}}
        is_starved, depends = bool(header.get("is_starved")), machine_dependence(header["identity"])
        return Evaluation(
            self.folder.place,
            self.plan,
            ordered,
            is_interrupted,
            is_starved,
            depends,
            self.config.interval,
            perturbed=self.perturbed,
            config=self.config,
        )


@contextlib.contextmanager
def tracked(part: Part, progress: ProgressView) -> Iterator[None]:
    """Within, the part's trackers are told how far it is, and in the end what came out of it."""
    part.tracking = Tracking(part.config, part.folder.path, progress.note)
    part.tracking.open()
    try:
        yield
    finally:
        evaluation = part.evaluation(is_interrupted=False)
        about = without_controls(evaluation.results, evaluation.perturbed)
        part.tracking.close(about, part.identity_sha256, is_complete=evaluation.is_complete)

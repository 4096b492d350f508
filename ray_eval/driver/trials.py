"""What a search by Ray Tune says: a line per trial, in place of Ray Tune's own report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray import tune as ray_tune
from ray.tune.experiment import Trial

from ray_eval.foreign import text_of
from ray_eval.messages import one_line
from ray_eval.report.progress import percent

SETTINGS = "settings"
"""Name, in the configuration that Ray Tune gives a trial, of its keys and values."""


class TrialLines(ray_tune.Callback):  # type: ignore[misc]
    """Says of every trial what came of it, as soon as it ends.

    Args:
        say: Takes a line.
        trials: Trials of the search.
        rungs: Rungs of a trial that is not stopped.
    """

    def __init__(self, say: Callable[[str], None], trials: int, rungs: int) -> None:
        self._say = say
        self._trials = trials
        self._rungs = rungs
        self._ended = 0

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray Tune keeps a copy to restore a search from, which we never do."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **_info: Any) -> None:  # noqa: ARG002
        """Says how the trial did, and whether it was stopped because others did better."""
        found = trial.last_result
        outcome = f"{percent(found['success_rate'])} of {found['episodes']} episodes"
        is_stopped = found["training_iteration"] < self._rungs
        self._line(trial, outcome + (", stopped: others did better" if is_stopped else ""))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_info: Any) -> None:  # noqa: ARG002
        """Says what broke."""
        error = trial.get_error()
        lines = text_of(error).strip().splitlines()
        self._line(trial, f"error: {one_line(lines[-1]) if lines else type(error).__name__}")

    def _line(self, trial: Trial, outcome: str) -> None:
        self._ended += 1
        settings = " ".join(f"{k.removeprefix('execution.')}={v}" for k, v in trial.config[SETTINGS].items())
        self._say(f"[{self._ended}/{self._trials}] {settings}: {outcome}")

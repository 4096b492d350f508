"""Weights & Biases: where its own variables say (WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY, WANDB_BASE_URL)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import wandb

from ray_eval.track import PROJECT, TrackedRun

INIT_TIMEOUT_S = 60.0
"""How long the server may take to know the run."""


class WeightsAndBiases:
    """The tracker."""

    def open(self, run: TrackedRun) -> Mapping[str, str]:
        """Begins the run, or goes on with it; a run of the caller's own stays untouched."""
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run.id,
            name=run.name,
            dir=str(run.folder),
            config=dict(run.config),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(init_timeout=INIT_TIMEOUT_S, silent=True, console="off"),
        )
        # A resumed run's own count of calls goes on from where it was; ours is the number of episodes.
        self._run.define_metric("episodes")
        self._run.define_metric("*", step_metric="episodes")
        return {}

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Figures, drawn over the number of episodes."""
        self._run.log({**figures, "episodes": step})

    def close(self, summary: Mapping[str, Any], *, is_complete: bool) -> None:
        """Sends what is left; a run that is not complete is marked as failed."""
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=0 if is_complete else 1)

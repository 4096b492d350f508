"""MLflow: where its own variables say (MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from ray_eval.track import PROJECT, TrackedRun

MOST_PARAMS = 100
"""Parameters in one call. Source: MLflow's REST API, log-batch."""
LONGEST_VALUE = 500
"""Characters of a parameter that every store takes."""


class MLflow:
    """The tracker; its client alone is used, so that a run of the caller's own stays untouched."""

    def open(self, run: TrackedRun) -> Mapping[str, str]:
        """Begins the run, or goes on with the one that was begun."""
        self._client = MlflowClient()
        self._id = run.known.get("run_id") or self._begun(run)
        self._client.update_run(self._id, status="RUNNING")
        return {"run_id": self._id}

    def _begun(self, run: TrackedRun) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(name)
        begun: str = self._client.create_run(experiment_id, run_name=run.name, tags={"ray_eval.id": run.id}).info.run_id
        params = [Param(key, str(value)[:LONGEST_VALUE]) for key, value in run.config.items()]
        for start in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(begun, params=params[start : start + MOST_PARAMS])
        return begun

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Metrics at a step."""
        now_ms = int(time.time() * 1000)
        self._client.log_batch(self._id, metrics=[Metric(key, value, now_ms, step) for key, value in figures.items()])

    def close(self, summary: Mapping[str, Any], *, is_complete: bool) -> None:
        """Ends the run; one that is not complete was killed, in MLflow's words."""
        for key, value in summary.items():
            self._client.set_tag(self._id, f"ray_eval.{key}", str(value))
        self._client.set_terminated(self._id, "FINISHED" if is_complete else "KILLED")

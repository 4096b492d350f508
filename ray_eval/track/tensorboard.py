"""TensorBoard: event files in `RUN/tensorboard`, by tensorboardX, which Ray Tune brings along."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import tensorboardX

from ray_eval.track import TrackedRun


class TensorBoard:
    """The tracker."""

    def open(self, run: TrackedRun) -> Mapping[str, str]:
        """Begins another event file of the run's folder: TensorBoard shows the files of one folder as one run."""
        # Files are named by the second, and two sessions of one second would write over each other.
        suffix = f".{time.time_ns()}"
        self._writer = tensorboardX.SummaryWriter(str(run.folder / "tensorboard"), filename_suffix=suffix)
        self._writer.add_text("config", "\n".join(f"    {key}: {value}" for key, value in run.config.items()))
        return {}

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Scalars at a step."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, summary: Mapping[str, Any], *, is_complete: bool) -> None:
        """Writes what is left."""
        del is_complete
        self._writer.add_text("summary", "\n".join(f"    {key}: {value}" for key, value in summary.items()))
        self._writer.close()

"""trackio: on this machine, or where its own variables say (TRACKIO_DIR, TRACKIO_PROJECT, TRACKIO_SPACE_ID)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import trackio

from ray_eval.track import PROJECT, TrackedRun


class Trackio:
    """The tracker; trackio knows one run of a process at a time."""

    def open(self, run: TrackedRun) -> Mapping[str, str]:
        """Begins the run, or goes on with it: it is known by its name, which has our id in it."""
        self._run = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=f"{run.name}-{run.id}",
            space_id=os.environ.get("TRACKIO_SPACE_ID"),
            config={key: value if isinstance(value, int | float) else str(value) for key, value in run.config.items()},
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return {}

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Metrics at a step."""
        self._run.log(dict(figures), step=step)

    def close(self, summary: Mapping[str, Any], *, is_complete: bool) -> None:
        """Sends what is left."""
        self._run.log(
            {key: value for key, value in summary.items() if isinstance(value, int | float)}
            | {"is_complete": float(is_complete)}
        )
        self._run.finish()

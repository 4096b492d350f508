"""A run's trackers, told from a thread of their own: what they do, or fail to do, holds nothing up and ends nothing."""

from __future__ import annotations

import json
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray_eval.config import EvalConfig
from ray_eval.config.schema import flattened
from ray_eval.errors import LedgerError
from ray_eval.messages import one_line
from ray_eval.report.ledger import write_atomically
from ray_eval.report.metrics import Told, without_controls
from ray_eval.report.tracked import tracked_figures
from ray_eval.track import TrackedRun, Tracker, make_tracker
from ray_eval.types import EpisodeResult

KNOWN_NAME = "track.json"
"""File, in a run's folder, with the id that trackers know it by."""
LOG_S = 5.0
"""Time between two messages of figures."""
CLOSE_S = 20.0
"""How long a run waits at its end for trackers that have not taken everything yet."""


class Tracking:
    """The trackers of one run.

    Args:
        names: which ones; none makes all else do nothing.
        config: the run's configuration.
        folder: its folder.
        say: tells the user something; called by whoever calls the methods, never by the thread.
        make: makes a tracker of its name.
    """

    def __init__(
        self,
        config: EvalConfig,
        folder: Path,
        say: Callable[[str], None],
        make: Callable[[str], Tracker] = make_tracker,
    ) -> None:
        self._config = config
        self._folder = folder
        self._say = say
        self._make = make
        self._todo: queue.SimpleQueue[Callable[[Tracker], None] | None] = queue.SimpleQueue()
        self._troubles: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._next_log = 0.0
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Begins: the trackers are opened by the thread."""
        if self._config.track:
            known = _known(self._folder)
            self._thread = threading.Thread(target=self._work, args=(known,), name="trackers", daemon=True)
            self._thread.start()

    def tick(self, results: Mapping[str, EpisodeResult], told: Told) -> None:
        """Has the figures so far sent but for controls, where it is time to, and says what went wrong since."""
        if self._thread is None or time.monotonic() < self._next_log:
            return
        self._next_log = time.monotonic() + LOG_S
        self._log(without_controls(results.values(), told))
        self._say_troubles()

    def close(self, results: Sequence[EpisodeResult], identity_sha256: str, *, is_complete: bool) -> None:
        """Has the result sent, and waits a while until it is."""
        if self._thread is None:
            return
        self._log(results)
        summary = {
            **tracked_figures(results, self._config.interval),
            "identity_sha256": identity_sha256,
            "interval": self._config.interval,
        }
        self._todo.put(lambda tracker: tracker.close(summary, is_complete=is_complete))
        self._todo.put(None)
        self._thread.join(CLOSE_S)
        self._say_troubles()
        if self._thread.is_alive():
            waiting = ", ".join(self._config.track)
            self._say(
                f"WARNING: track=[{waiting}]: expected it to take the result within {CLOSE_S:g} s, got no end of it"
            )
        self._thread = None

    def _log(self, results: Sequence[EpisodeResult]) -> None:
        if results:
            figures = tracked_figures(results, self._config.interval)
            self._todo.put(lambda tracker: tracker.log(figures, len(results)))

    def _say_troubles(self) -> None:
        while not self._troubles.empty():
            self._say(f"WARNING: {self._troubles.get()}; the run goes on without it")

    # --- in the thread ---

    def _work(self, known: dict[str, Any]) -> None:
        trackers = {name: tracker for name in self._config.track if (tracker := self._opened(name, known))}
        self._keep(known)
        while (act := self._todo.get()) is not None:
            for name, tracker in list(trackers.items()):
                try:
                    act(tracker)
                except Exception as error:  # noqa: BLE001 - a tracker that is down never stops a run
                    del trackers[name]
                    self._trouble(name, error)

    def _opened(self, name: str, known: dict[str, Any]) -> Tracker | None:
        folder = self._folder.absolute()
        config = dict(flattened(self._config.resolved()))
        run = TrackedRun(known["id"], folder.name, folder, config, known.get(name, {}))
        try:
            tracker = self._make(name)
            known[name] = dict(tracker.open(run))
        except Exception as error:  # noqa: BLE001 - a tracker that is down never stops a run
            self._trouble(name, error)
            return None
        return tracker

    def _keep(self, known: Mapping[str, Any]) -> None:
        try:
            write_atomically(self._folder / KNOWN_NAME, json.dumps(known, indent=1, sort_keys=True) + "\n")
        except LedgerError as error:
            self._troubles.put(str(error))

    def _trouble(self, name: str, error: Exception) -> None:
        said = one_line(f"{type(error).__name__}: {error}")
        self._troubles.put(f"track=[{name}]: expected it to take what it is told, got {said}")


def _known(folder: Path) -> dict[str, Any]:
    """The run's id and what trackers asked to be kept; a new id where there is none."""
    try:
        known = json.loads((folder / KNOWN_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = None
    return known if isinstance(known, dict) and isinstance(known.get("id"), str) else {"id": secrets.token_hex(4)}

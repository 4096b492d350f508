"""What a session and its members share; in the driver."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ray_eval.config import EvalConfig
from ray_eval.driver.cluster import Cluster
from ray_eval.report.progress import ProgressView


@dataclass
class Context:
    """What a session runs with; a session that is kept for another run changes all of it but where it is."""

    config: EvalConfig
    """Its operational keys are the session's; parts may differ from it in all others."""
    cluster: Cluster
    """Ray."""
    scratch: Path
    """Folder of sockets, gone with the session."""
    progress: ProgressView
    """What takes the words of the present run."""
    waiting_count: int
    """Episodes that wait; as many workers at most."""

    def note(self, text: str) -> None:
        """Says one line that stays."""
        self.progress.note(text)

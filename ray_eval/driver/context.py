"""What a session and its members share; in the driver."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ray_eval.config import EvalConfig
from ray_eval.driver.cluster import Cluster
from ray_eval.driver.starting import AUTH_MODE, token_file
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
    is_dashboard_told: bool = False
    """Whether it was said where the dashboard is."""

    def note(self, text: str) -> None:
        """Says one line that stays."""
        self.progress.note(text)

    def tell_dashboard(self) -> None:
        """Says once where Ray's dashboard is, as soon as it is there."""
        server = self.cluster.api_server
        if self.is_dashboard_told or not (server.url or server.failure):
            return
        self.is_dashboard_told = True
        if server.url is None:
            self.note(
                f"WARNING: ray: expected its dashboard to start, got {server.failure}; the run goes on without it"
            )
            return
        token = f" (it asks for the token in {token_file()})" if os.environ.get(AUTH_MODE) == "token" else ""
        self.note(f"Ray dashboard: http://{server.url}{token}")

"""The program of a simulator's own interpreter: `PYTHON -m ray_eval.rollout.child DESCRIPTOR`; ends with its parent."""

from __future__ import annotations

import os
import sys
import threading
import time
from multiprocessing.connection import Connection

from ray_eval.rollout.answering import serve

ORPHAN_POLL_S = 1.0
"""Pause between two looks at whether the parent is still there."""


def _end_with_parent() -> None:
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(ORPHAN_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


if __name__ == "__main__":
    _end_with_parent()
    with Connection(int(sys.argv[1])) as inherited:
        serve(inherited)

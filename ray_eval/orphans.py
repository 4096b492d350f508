"""How a process of ours ends with the one that started it, however that ends."""

from __future__ import annotations

import os
import threading
import time
from typing import Final

POLL_S: Final = 1.0
"""Pause between two looks at whether the parent is still there."""


def end_with_parent() -> None:
    """From now on this process ends, with exit code 1, within a pause of its parent's end."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()

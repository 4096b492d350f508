"""Which workers hold more memory than they should, and are to be replaced: pure; runs in the driver."""

from __future__ import annotations


class Recycling:
    """Workers by what they held after their first episode.

    Args:
        limit_bytes: a worker that holds more after an episode is to go, unless its first episode took that much.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._first: dict[str, int] = {}

    def is_due(self, worker: str, resident_bytes: int) -> bool:
        """Whether a new worker would hold less.

        Args:
            worker: its name.
            resident_bytes: what it holds after an episode; 0 where nobody looked.
        """
        first_bytes = self._first.setdefault(worker, resident_bytes)
        return first_bytes <= self._limit_bytes < resident_bytes

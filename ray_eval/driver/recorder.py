"""Results on their way to the disk or the store, in a thread of its own: nobody who simulates waits for them."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Recorder(Generic[Item]):
    """Has things written that come one by one, all that wait at once.

    Args:
        write: Makes them durable; called in the recorder's thread alone.
    """

    def __init__(self, write: Callable[[Sequence[Item]], None]) -> None:
        self._write = write
        self._waiting: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._written: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._unseen = 0
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether all that was added has come back as written."""
        return self._unseen == 0

    def add(self, item: Item) -> None:
        """Takes something to be written."""
        self._unseen += 1
        self._waiting.put(item)

    def written(self, wait_s: float = 0.0) -> list[Item]:
        """What has become durable since this was asked last, in the order in which it was added.

        Args:
            wait_s: how long to wait for the first.

        Raises:
            Exception: what `write` raised; nothing is written from then on.
        """
        found: list[Item] = []
        with contextlib.suppress(queue.Empty):
            if wait_s > 0 and self._unseen and self._failure is None:
                found.append(self._written.get(timeout=wait_s))
            while True:
                found.append(self._written.get_nowait())
        self._unseen -= len(found)
        if not found and self._failure is not None and not self._is_closed:
            raise self._failure
        return found

    def close(self) -> None:
        """Waits until all is written; what `written` has not given yet it gives from now on.

        Raises:
            Exception: what `write` raised.
        """
        self._is_closed = True
        self._waiting.put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch = [self._waiting.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    batch.append(self._waiting.get_nowait())
            is_open = None not in batch
            items = [item for item in batch if item is not None]
            if items and self._failure is None:
                self._put_down(items)

    def _put_down(self, items: Sequence[Item]) -> None:
        try:
            self._write(items)
        except Exception as error:  # noqa: BLE001 - raised again where the results are asked for
            self._failure = error
            return
        for item in items:
            self._written.put(item)

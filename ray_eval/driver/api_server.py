"""Ray's API server, which is its dashboard, started beside what a run waits for; runs in the driver.

`ray.init` waits for it, 1.0 to 1.7 s of some 3, before it starts the node that runs actors. Nothing of a run asks it.
Nor does anything ask the monitor, which tells the dashboard of resources; it comes beside as well. What sends lines of
Ray's logs to the driver is not started: the driver does not take them, and the dashboard reads logs by itself. Each of
these is an interpreter that takes half a second of a core to start.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from ray._private.node import Node

NICENESS: Final = 10
"""Nice value of it and of its modules: where workers keep all cores busy, it gets a tenth of one."""
_METHOD, _MONITOR, _LOGS = "start_api_server", "start_monitor", "start_log_monitor"
"""What starts them, in Ray 2.60.0's `Node`; where one is not there, `ray.init` does all as ever."""
_LONGEST_WAIT_S: Final = 10.0


class ApiServer:
    """That of one Ray that is started here."""

    def __init__(self) -> None:
        self.url: str | None = None
        """Where the dashboard is, `host:port`, once it is there."""
        self.failure: str | None = None
        """Why it is not there, once that is known."""
        self._thread: threading.Thread | None = None
        self._is_settled, self._may_end = threading.Event(), threading.Event()

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """A Ray that is started within goes on while it starts."""
        kept: dict[str, Any] = {name: getattr(Node, name, None) for name in (_METHOD, _MONITOR, _LOGS)}
        if None in kept.values():
            yield
            return
        waiting: list[Callable[[], object]] = []

        def monitor(node: Any) -> None:
            waiting.append(functools.partial(kept[_MONITOR], node))

        def start(node: Any, **wanted: Any) -> None:
            waiting.append(functools.partial(kept[_METHOD], node, **wanted))
            self._thread = threading.Thread(target=self._run, args=(waiting, node, wanted), daemon=True)
            self._thread.start()

        for name, instead in ((_METHOD, start), (_MONITOR, monitor), (_LOGS, lambda _node: None)):
            setattr(Node, name, instead)
        try:
            yield
        finally:
            for name, original in kept.items():
                setattr(Node, name, original)

    def _run(self, waiting: Sequence[Callable[[], object]], node: Any, wanted: dict[str, Any]) -> None:
        """Lives as long as the server: Linux ends a child of Ray's with the thread that started it."""
        if sys.platform == "linux":  # there a thread has a nice value of its own, which its children take over
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            for start in waiting:
                start()
            self.url = node.webui_url if wanted.get("include_dashboard") else None
        except Exception as error:  # noqa: BLE001 -- a run goes on without it
            self.failure = str(error) or type(error).__name__
        self._is_settled.set()
        self._may_end.wait()

    def settle(self) -> None:
        """Waits until it is there or has failed, so that it is not ended in its start."""
        if self._thread is not None:
            self._is_settled.wait(_LONGEST_WAIT_S)

    def end(self) -> None:
        """Lets it go, after Ray has been shut down."""
        self._may_end.set()

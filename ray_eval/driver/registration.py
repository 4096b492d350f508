"""Has `ray.init` notice at once that its node is there; runs in the driver.

Ray asks for its node once a second, in compiled code. What is to be had of that second is half of it, at each start.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Final

from ray import _raylet
from ray._private import services

_FUNCTION: Final = "get_node"
"""What asks, in Ray 2.60.0's `services`; where there is none, `ray.init` does as ever."""
_POLL_S: Final = 0.02
_LONGEST_S: Final = 30.0
"""As long as Ray waits itself."""


@contextlib.contextmanager
def noticed_at_once() -> Iterator[None]:
    """A Ray that is started within asks for its node when that has registered."""
    original: Any = getattr(services, _FUNCTION, None)
    if original is None:
        yield
        return

    def get_node(gcs_address: str, node_id: str) -> Any:
        # Whatever goes wrong here is found again by Ray, and said in its words.
        with contextlib.suppress(Exception):
            _wait_for(gcs_address, node_id)
        return original(gcs_address, node_id)

    setattr(services, _FUNCTION, get_node)
    try:
        yield
    finally:
        setattr(services, _FUNCTION, original)


def _wait_for(gcs_address: str, node_id: str) -> None:
    raylet: Any = _raylet
    client, since = raylet.GcsClient(address=gcs_address), time.monotonic()
    while time.monotonic() - since < _LONGEST_S:
        if any(known.hex() == node_id for known in client.get_all_node_info(timeout=_LONGEST_S)):
            return
        time.sleep(_POLL_S)

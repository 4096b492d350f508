"""A websocket with deadlines, in the policy actor."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from typing import Any

from ray_eval.policies.remote.endpoint import connect_tcp, import_from_extra, speaks_first
from ray_eval.policies.remote.packing import MESSAGE_LIMIT_BYTES
from ray_eval.policies.remote.pool import DEAD_S, LinkBrokenError, NoAnswerError, WrongServerError

CLOSE_TIMEOUT_S = 0.5
"""How long a server is given to say goodbye."""
GREETING_S = 1.0
"""How long somebody is listened to who may be no websocket server."""
_NOT_UP_YET = (502, 503, 504)
"""HTTP statuses of a proxy whose server is not up yet."""


class WebSocketLink:
    """One websocket; one message each way at a time."""

    def __init__(self, address: str, timeout_s: float, headers: Mapping[str, str] | None = None) -> None:
        """Connects.

        Raises:
            LinkBrokenError: nobody listens there, or nobody shakes hands in time.
            WrongServerError: it is no websocket server.
        """
        self.address = address
        self._exceptions = import_from_extra("websockets.exceptions", "websockets", "openpi")
        self._uri = address if address.startswith(("ws://", "wss://")) else f"ws://{address}"
        self._stack = contextlib.ExitStack()
        soon_s = min(timeout_s, DEAD_S)
        try:
            self._socket = self._connected(soon_s, headers or {})
        except NoAnswerError:
            # Busy, or one that waits for us to go on in its own protocol.
            if speaks_first(self._dialled(soon_s), GREETING_S):
                raise self._wrong("it speaks first") from None
            if soon_s == timeout_s:
                raise
            self._socket = self._connected(timeout_s - soon_s, headers or {})

    def _connected(self, timeout_s: float, headers: Mapping[str, str]) -> Any:
        client = import_from_extra("websockets.sync.client", "websockets", "openpi")
        connected = self._dialled(timeout_s)
        try:
            connecting = client.connect(
                self._uri,
                sock=connected,
                compression=None,
                max_size=MESSAGE_LIMIT_BYTES,
                open_timeout=timeout_s,
                close_timeout=CLOSE_TIMEOUT_S,
                additional_headers=dict(headers),
                # A server that compiles answers no pings; the deadline of each request is what ends a wait.
                ping_interval=None,
                proxy=None,
            )
            # The one way to connect that every version of websockets from 15 on takes without a warning.
            return self._stack.enter_context(connecting)
        except (OSError, TimeoutError, self._exceptions.WebSocketException) as error:
            connected.close()
            raise self._refusal(error) from error

    def _dialled(self, timeout_s: float) -> socket.socket:
        return connect_tcp(self._uri, 443 if self._uri.startswith("wss:") else 80, timeout_s)

    def _refusal(self, error: Exception) -> Exception:
        """What it means that no hands were shaken."""
        if isinstance(error, TimeoutError):
            return NoAnswerError("a connection, but no handshake")
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, self._exceptions.InvalidStatus) and status is not None:
            if status in _NOT_UP_YET:
                return LinkBrokenError(f"HTTP status {status} instead of a handshake")
            return self._wrong(f"HTTP status {status}")
        if isinstance(error, self._exceptions.InvalidMessage) and isinstance(error.__cause__, EOFError):
            return LinkBrokenError("a connection that was closed during the handshake: is it a websocket server?")
        if isinstance(error, self._exceptions.InvalidHandshake):
            return self._wrong(str(error.__cause__ or error)[:100])
        return LinkBrokenError(f"no websocket ({type(error).__name__}: {error})")

    def _wrong(self, got: str) -> WrongServerError:
        return WrongServerError(
            f"policy server at {self.address}: expected a websocket server, got another one ({got}); mend "
            "policy.addresses, or name the policy type that it speaks"
        )

    def exchange(self, message: bytes, timeout_s: float) -> bytes | str:
        """The server's next message after ours.

        Raises:
            LinkBrokenError: the connection broke.
        """
        self.send(message)
        return self.receive(timeout_s)

    def send(self, message: bytes) -> None:
        """Sends one message.

        Raises:
            LinkBrokenError: the connection is broken.
        """
        try:
            self._socket.send(message)
        except (OSError, self._exceptions.WebSocketException) as error:
            raise LinkBrokenError(f"the connection broke: {error}") from error

    def receive(self, timeout_s: float) -> bytes | str:
        """The server's next message.

        Raises:
            LinkBrokenError: the connection broke, or nothing came in time.
        """
        try:
            message: bytes | str = self._socket.recv(timeout=timeout_s)
        except TimeoutError:
            raise NoAnswerError(f"no answer within {timeout_s:.1f} s") from None
        except (OSError, self._exceptions.WebSocketException) as error:
            raise LinkBrokenError(f"the connection broke: {error}") from error
        return message

    def close(self) -> None:
        """Hangs up."""
        with contextlib.suppress(OSError, self._exceptions.WebSocketException):
            self._stack.close()

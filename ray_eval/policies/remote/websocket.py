"""A websocket with deadlines, and NumPy arrays in msgpack as openpi and vla-eval write them."""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ray_eval.errors import SetupError
from ray_eval.policies.remote.pool import BadAnswerError, LinkBrokenError

MESSAGE_LIMIT_BYTES = 64 * 1024 * 1024
"""Largest message taken from a server."""
CLOSE_TIMEOUT_S = 0.5
"""How long a server is given to say goodbye."""
_NUMERIC_KINDS = "biuf"


class WebSocketLink:
    """One websocket; one message each way at a time."""

    def __init__(self, address: str, timeout_s: float, headers: Mapping[str, str] | None = None) -> None:
        """Connects.

        Raises:
            LinkBrokenError: nobody answers there, or not as a websocket server.
        """
        self.address = address
        self._exceptions = import_from_extra("websockets.exceptions", "websockets")
        client = import_from_extra("websockets.sync.client", "websockets")
        uri = address if address.startswith(("ws://", "wss://")) else f"ws://{address}"
        self._stack = contextlib.ExitStack()
        try:
            connecting = client.connect(
                uri,
                compression=None,
                max_size=MESSAGE_LIMIT_BYTES,
                open_timeout=timeout_s,
                close_timeout=CLOSE_TIMEOUT_S,
                additional_headers=dict(headers or {}),
                # A server that compiles answers no pings; the deadline of each request is what ends a wait.
                ping_interval=None,
                proxy=None,
            )
            # The one way to connect that every version of websockets from 15 on takes without a warning.
            self._socket = self._stack.enter_context(connecting)
        except (OSError, TimeoutError, self._exceptions.WebSocketException) as error:
            raise LinkBrokenError(f"no websocket server ({type(error).__name__}: {error})") from error

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
            raise LinkBrokenError(f"no answer within {timeout_s:.1f} s") from None
        except (OSError, self._exceptions.WebSocketException) as error:
            raise LinkBrokenError(f"the connection broke: {error}") from error
        return message

    def close(self) -> None:
        """Hangs up."""
        with contextlib.suppress(OSError, self._exceptions.WebSocketException):
            self._stack.close()


def import_from_extra(module: str, package: str) -> Any:
    """A module of a package that only some policies need.

    Raises:
        SetupError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SetupError(f"policy: expected the package {package}, got none; pip install 'ray-eval[openpi]'") from error


def pack(value: Any, *, is_key_bytes: bool) -> bytes:
    """A value as msgpack, arrays as a mapping of their bytes, dtype and shape.

    Args:
        value: Mappings, lists, texts, numbers and arrays.
        is_key_bytes: Whether that mapping's keys are bytes, as openpi writes them, or texts, as vla-eval does.
    """
    msgpack = import_from_extra("msgpack", "msgpack")

    def default(each: Any) -> Any:
        if isinstance(each, np.generic):
            return each.item()
        if not isinstance(each, np.ndarray) or each.dtype.kind not in _NUMERIC_KINDS:
            raise TypeError(f"expected arrays of numbers, got {type(each).__name__}")
        parts = {"__ndarray__": True, "data": each.tobytes(), "dtype": each.dtype.str, "shape": list(each.shape)}
        return {key.encode(): part for key, part in parts.items()} if is_key_bytes else parts

    packed: bytes = msgpack.packb(value, default=default)
    return packed


def unpack(message: bytes | str, address: str) -> Any:
    """The value in a msgpack message of either convention; arrays are made only of numbers and of their exact size.

    Raises:
        BadAnswerError: the message is something else.
    """
    msgpack = import_from_extra("msgpack", "msgpack")
    where = f"policy server at {address}"
    if isinstance(message, str):
        raise BadAnswerError(f"{where}: expected msgpack, got the text {message[:200]!r}")
    try:
        return msgpack.unpackb(message, object_hook=_array_or_mapping)
    except (ValueError, TypeError, KeyError, msgpack.exceptions.UnpackException) as error:
        text = f"{type(error).__name__}: {error}"
        raise BadAnswerError(f"{where}: expected msgpack, got {len(message)} bytes that are none ({text})") from error


def _array_or_mapping(mapping: dict[Any, Any]) -> Any:
    for mark, key_of in ((b"__ndarray__", str.encode), ("__ndarray__", str)):
        if mark in mapping:
            return _array(*(mapping[key_of(key)] for key in ("data", "dtype", "shape")))
    if b"__npgeneric__" in mapping:
        return mapping[b"data"]
    return mapping


def _array(data: bytes, dtype_text: str, shape: Any) -> Any:
    dtype = np.dtype(dtype_text)
    if dtype.kind not in _NUMERIC_KINDS:
        raise ValueError(f"expected an array of numbers, got {dtype}")
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"expected {math.prod(shape) * dtype.itemsize} bytes, got {len(data)}")
    return np.frombuffer(data, dtype).reshape(shape)

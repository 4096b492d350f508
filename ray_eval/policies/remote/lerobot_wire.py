"""LeRobot's `AsyncInference` messages and pickles, written and read without LeRobot. Source: lerobot 0.4.4.

What the server sends is unpickled by a reader that knows the handful of names a list of TimedAction needs, and
nothing that could run. The server, for its part, unpickles whatever it is sent.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from ray_eval.policies.torch_module import import_torch

SERVICE = "transport.AsyncInference"
"""Full name of the gRPC service."""
PART_BYTES = 2 * 1024 * 1024
"""Largest part of a streamed message."""
_HELPERS = "lerobot.async_inference.helpers"
_BEGIN, _MIDDLE, _END = 1, 2, 3
_VARINT, _LENGTH_DELIMITED = 0, 2


def policy_setup(values: Mapping[str, Any]) -> bytes:
    """`PolicySetup` with a pickled RemotePolicyConfig of these fields."""
    return _field(1, pickled_object("RemotePolicyConfig", values))


def observation_parts(values: Mapping[str, Any]) -> Iterator[bytes]:
    """The stream of `Observation` messages with a pickled TimedObservation of these fields."""
    body = pickled_object("TimedObservation", values)
    starts = range(0, len(body), PART_BYTES)
    for start in starts:
        first_or_later = _BEGIN if start == 0 else _MIDDLE
        state = _END if start == starts[-1] else first_or_later
        yield bytes([1 << 3 | _VARINT, state]) + _field(2, body[start : start + PART_BYTES])


def actions_data(message: bytes) -> bytes:
    """The bytes in an `Actions` message; empty where the server had nothing to say.

    Raises:
        ValueError: the message is no such message.
    """
    if not message:
        return b""
    if message[0] != (1 << 3 | _LENGTH_DELIMITED):
        raise ValueError(f"expected field 1, got the tag {message[0]}")
    length, at = _varint(message, 1)
    if at + length != len(message):
        raise ValueError(f"expected {length} bytes, got {len(message) - at}")
    return message[at:]


def pickled_object(name: str, values: Mapping[str, Any]) -> bytes:
    """The pickle of an object of one of LeRobot's dataclasses, made without that class."""
    state = pickle.dumps(dict(values), protocol=2)
    body = state[2:-1]  # without the protocol's mark and the final stop
    return b"\x80\x02" + f"c{_HELPERS}\n{name}\n".encode() + b")\x81" + body + b"b."


class TimedAction:
    """One action of a chunk, as the server's pickles describe it."""

    timestamp: float
    timestep: int
    action: Any


def read_actions(data: bytes) -> list[TimedAction]:
    """The chunk in a server's pickle; nothing in it is run.

    Raises:
        pickle.UnpicklingError: it holds anything but timed actions.
    """
    try:
        actions = _Reader(io.BytesIO(data)).load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from error
    if not isinstance(actions, list) or not all(isinstance(each, TimedAction) for each in actions):
        raise pickle.UnpicklingError(f"expected a list of timed actions, got {type(actions).__name__}")
    return actions


class _Reader(pickle.Unpickler):
    """Knows the names that tensors and timed actions are made of, and no other."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == (_HELPERS, "TimedAction"):
            return TimedAction
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _storage
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return import_torch()._utils._rebuild_tensor_v2  # noqa: SLF001 - the name that the pickle carries
        raise pickle.UnpicklingError(f"expected actions alone, got the name {module}.{name}")


def _storage(data: bytes) -> Any:
    return import_torch().load(io.BytesIO(data), weights_only=True, map_location="cpu")


def _field(number: int, data: bytes) -> bytes:
    """A bytes field of a protobuf message."""
    length, size = bytearray(), len(data)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes([number << 3 | _LENGTH_DELIMITED]) + bytes(length) + data


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number that begins there, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if not byte & 0x80:
            return value, at

"""NumPy arrays inside msgpack and JSON, as the servers of other projects write them; nothing of it is ever executed.

| who | an array is |
|---|---|
| openpi, starVLA | a mapping with the keys `__ndarray__`, `data`, `dtype`, `shape` as bytes |
| vla-eval | the same with texts as keys |
| GR00T N1.5, N1.6 | `{"__ndarray_class__": true, "as_npy": BYTES}` with the bytes of a `.npy` file |
| GR00T N1.7 | msgpack-numpy's `nd`, `type`, `kind`, `shape`, `data` with bytes as keys |
| X-VLA | a text of JSON: `{"__numpy__": BASE64, "dtype": ..., "shape": [...]}` (json-numpy) |
"""

from __future__ import annotations

import base64
import io
import json
import math
import tokenize
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from ray_eval.policies.remote.endpoint import import_from_extra
from ray_eval.policies.remote.pool import BadAnswerError
from ray_eval.types import Array

MESSAGE_LIMIT_BYTES = 64 * 1024 * 1024
"""Largest message taken from a server."""

Style = Literal["bytes_keys", "text_keys", "npy", "nd"]
"""How an array is written in msgpack."""

_NUMERIC_KINDS = "biuf"


def pack(value: Any, style: Style) -> bytes:
    """A value of mappings, lists, texts, numbers and arrays as msgpack."""
    msgpack = import_from_extra("msgpack", "msgpack", "openpi")

    def default(each: Any) -> Any:
        if isinstance(each, np.generic):
            return each.item()
        if not isinstance(each, np.ndarray) or each.dtype.kind not in _NUMERIC_KINDS:
            raise TypeError(f"expected arrays of numbers, got {type(each).__name__}")
        return _WRITERS[style](each)

    packed: bytes = msgpack.packb(value, default=default)
    return packed


def unpack(message: bytes | str, address: str) -> Any:
    """The value in a msgpack message of any style; arrays are made only of numbers and of their exact size.

    Raises:
        BadAnswerError: the message is something else.
    """
    msgpack = import_from_extra("msgpack", "msgpack", "openpi")
    where = f"policy server at {address}"
    if isinstance(message, str):
        raise BadAnswerError(f"{where}: expected msgpack, got the text {message[:200]!r}")
    try:
        return msgpack.unpackb(message, object_hook=_array_or_mapping)
    except (ValueError, TypeError, KeyError, msgpack.exceptions.UnpackException) as error:
        text = f"{type(error).__name__}: {error}"
        raise BadAnswerError(f"{where}: expected msgpack, got {len(message)} bytes that are none ({text})") from error


def json_text(array: Array) -> str:
    """An array as json-numpy writes it."""
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return json.dumps({"__numpy__": data, "dtype": array.dtype.str, "shape": list(array.shape)})


def _parts(array: Array) -> dict[str, Any]:
    return {"__ndarray__": True, "data": array.tobytes(), "dtype": array.dtype.str, "shape": list(array.shape)}


def _nd(array: Array) -> dict[bytes, Any]:
    parts = {"nd": True, "type": array.dtype.str, "kind": b"", "shape": list(array.shape), "data": array.tobytes()}
    return {key.encode(): part for key, part in parts.items()}


def _npy(array: Array) -> dict[str, Any]:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return {"__ndarray_class__": True, "as_npy": file.getvalue()}


_WRITERS: Mapping[Style, Callable[[Array], dict[Any, Any]]] = {
    "bytes_keys": lambda array: {key.encode(): part for key, part in _parts(array).items()},
    "text_keys": _parts,
    "npy": _npy,
    "nd": _nd,
}


def _array_or_mapping(mapping: dict[Any, Any]) -> Any:
    texts = {key.decode(errors="replace") if isinstance(key, bytes) else key: key for key in mapping}
    if "__ndarray__" in texts:
        return _array(*(mapping[texts[key]] for key in ("data", "dtype", "shape")))
    if "__ndarray_class__" in texts:
        return _of_npy(mapping[texts["as_npy"]])
    if "__npgeneric__" in texts:
        return mapping[texts["data"]]
    if "nd" in texts and "type" in texts and "data" in texts:
        return _of_msgpack_numpy({name: mapping[key] for name, key in texts.items()})
    return mapping


def _of_msgpack_numpy(parts: Mapping[str, Any]) -> Any:
    """An array or a number; a structured or an object dtype comes as a list or with a kind, and is refused."""
    dtype = parts["type"].decode() if isinstance(parts["type"], bytes) else parts["type"]
    if not isinstance(dtype, str) or parts.get("kind"):
        raise ValueError(f"expected an array of numbers, got {dtype}")
    array = _array(parts["data"], dtype, parts["shape"] if parts["nd"] else ())
    return array if parts["nd"] else array.item()


def _of_npy(data: bytes) -> Array:
    """The array of a `.npy` file, whose size is known before any memory is taken."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"expected a .npy file of version 1 or 2, got {version}")
    try:
        shape, is_column_major, dtype = read(file)
    except (tokenize.TokenError, SyntaxError) as error:  # which NumPy lets through
        raise ValueError(f"expected a .npy file's header, got {error}") from error
    array: Array = _array(data[file.tell() :], dtype.str, shape[::-1] if is_column_major else shape)
    return array.T if is_column_major else array


def _array(data: bytes, dtype_text: str, shape: Any) -> Any:
    try:
        dtype = np.dtype(dtype_text)
    except SyntaxError as error:  # which NumPy lets through
        raise ValueError(f"expected a data type, got {dtype_text!r}") from error
    if dtype.kind not in _NUMERIC_KINDS:
        raise ValueError(f"expected an array of numbers, got {dtype}")
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"expected {math.prod(shape) * dtype.itemsize} bytes, got {len(data)}")
    return np.frombuffer(data, dtype).reshape(shape)

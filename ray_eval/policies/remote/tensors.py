"""Tensors of the Open Inference Protocol as other servers have them: bytes or typed fields, every number format.

Our own server's tensors are `wire.codec`'s, which is stricter. Source: the protocol's `InferTensorContents`; FP16 and
BF16 have no typed field and travel as bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ray_eval.policies.remote.pool import BadAnswerError
from ray_eval.types import Array

BF16 = "BF16"
"""The upper 16 bits of a float32; NumPy has no such type."""
BYTES = "BYTES"
"""Texts: in raw contents each behind its length, 4 bytes little-endian."""

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    BF16: np.dtype("<u2"),
}
"""How a datatype's numbers lie in raw contents."""

TYPED_FIELDS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
"""The typed field of a datatype, for those that have one."""


def raw_numbers(array: Array, datatype: str) -> bytes:
    """An array as raw contents of a datatype."""
    if datatype != BF16:
        return array.astype(DTYPES[datatype]).tobytes()
    bits = np.ascontiguousarray(array, "<f4").view("<u4").astype(np.uint64)
    # To the nearest, ties to even, as hardware does it.
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def raw_text(text: str) -> bytes:
    """One text as raw contents."""
    data = text.encode()
    return len(data).to_bytes(4, "little") + data


def fill_typed(contents: Any, array: Array, datatype: str) -> None:
    """Puts an array's numbers into the typed field of a datatype."""
    values = array.astype(DTYPES[datatype]).ravel().tolist()
    getattr(contents, TYPED_FIELDS[datatype]).extend(values)


def output_of(response: Any, names: tuple[str, ...], address: str) -> Array:
    """The output of the first of these names that there is, in raw contents or in a typed field, as its shape says.

    Raises:
        BadAnswerError: there is none, or no numbers in it, or not as many as its shape says.
    """
    by_name = {tensor.name: (index, tensor) for index, tensor in enumerate(response.outputs)}
    found = next((by_name[name] for name in names if name in by_name), None)
    if found is None:
        got = ", ".join(by_name) or "no output"
        raise BadAnswerError(
            f"policy server at {address}: expected the output {' or '.join(map(repr, names))}, got {got}; write "
            "policy.rename.action=NAME"
        )
    index, tensor = found
    if len(response.raw_output_contents) > index and response.raw_output_contents[index]:
        return _of_raw(tensor, response.raw_output_contents[index], address)
    return _of_typed(tensor, address)


def _of_raw(tensor: Any, raw: bytes, address: str) -> Array:
    dtype = DTYPES.get(tensor.datatype)
    if dtype is None or not _is_shape(tensor.shape) or len(raw) != math.prod(tensor.shape) * dtype.itemsize:
        raise _unreadable(tensor, f"{len(raw)} bytes", address)
    array: Array = np.frombuffer(raw, dtype)
    if tensor.datatype == BF16:
        array = (array.astype("<u4") << 16).view("<f4")
    return array.reshape(tensor.shape)


def _of_typed(tensor: Any, address: str) -> Array:
    field = TYPED_FIELDS.get(tensor.datatype) if tensor.datatype != BYTES else None
    values = getattr(tensor.contents, field) if field else ()
    if not values or not _is_shape(tensor.shape) or len(values) != math.prod(tensor.shape):
        raise _unreadable(tensor, f"{len(values)} typed numbers", address)
    return np.array(values, DTYPES[tensor.datatype]).reshape(tensor.shape)


def _is_shape(shape: Any) -> bool:
    return min(shape, default=0) >= 1


def _unreadable(tensor: Any, got: str, address: str) -> BadAnswerError:
    return BadAnswerError(
        f"policy server at {address}: output {tensor.name!r}: expected numbers, as many as its shape says, got "
        f"{tensor.datatype} {list(tensor.shape)} in {got}"
    )

"""Arrays in msgpack and JSON: read as others write them, never executed, never larger than what was sent."""

import io
import pickle

import json_numpy
import msgpack
import numpy as np
import pytest

from ray_eval.policies.remote.packing import json_text, pack, unpack
from ray_eval.policies.remote.pool import BadAnswerError

ARRAYS = [
    np.arange(6, dtype=np.uint8).reshape(1, 2, 3),
    np.linspace(0, 1, 5, dtype="<f4"),
    np.float64([[1.5]]),
    np.zeros((0, 7), np.float32),
    np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    np.array([True, False]),
    np.float16(3),
]


@pytest.mark.parametrize("style", ["bytes_keys", "text_keys", "npy"])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays_come_back_in_each_style(style, array):
    back = unpack(pack({"x": [array]}, style), "here")["x"][0]
    assert np.array_equal(back, array)
    assert np.shape(back) == array.shape


def groot_encoded(array):
    """As GR00T's serializer writes one."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return {"__ndarray_class__": True, "as_npy": file.getvalue()}


def msgpack_numpy_encoded(array):
    """As msgpack-numpy, which GR00T N1.7 answers with, writes one."""
    return {b"nd": True, b"type": array.dtype.str, b"kind": b"", b"shape": array.shape, b"data": array.tobytes()}


@pytest.mark.parametrize("encoded", [groot_encoded, msgpack_numpy_encoded])
def test_groots_arrays_are_read(encoded):
    array = np.arange(8, dtype=np.float32).reshape(1, 8, 1)
    assert np.array_equal(unpack(msgpack.packb([{"action.x": encoded(array)}, {}]), "here")[0]["action.x"], array)


def test_a_number_of_msgpack_numpy_is_a_number():
    assert unpack(msgpack.packb({b"nd": False, b"type": "<f4", b"data": np.float32(0.5).tobytes()}), "here") == 0.5


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def npy_header(shape, descr="'<f4'"):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def npy_objects():
    file = io.BytesIO()
    np.save(file, np.array([Bomb()], dtype=object), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    "hostile",
    [
        {"__ndarray_class__": True, "as_npy": npy_objects()},
        {"__ndarray_class__": True, "as_npy": npy_header("(1000000000000,)")},
        {"__ndarray_class__": True, "as_npy": npy_header("(2,)") + b"1234"},
        {"__ndarray_class__": True, "as_npy": npy_header("(1,)", "'|O'") + pickle.dumps([Bomb()])},
        {"__ndarray_class__": True, "as_npy": npy_header("(1,)", "[('a', '<f4')]") + b"1234"},
        {"__ndarray_class__": True, "as_npy": pickle.dumps(Bomb())},
        {"__ndarray_class__": True, "as_npy": b""},
        {"__ndarray_class__": True},
        {b"nd": True, b"type": "|O", b"kind": b"O", b"shape": [1], b"data": pickle.dumps(Bomb())},
        {b"nd": True, b"type": [["a", "<f4"]], b"kind": b"V", b"shape": [1], b"data": b"1234"},
        {b"nd": True, b"type": "<f4", b"kind": b"", b"shape": [10**12], b"data": b"1234"},
        {b"__ndarray__": True, b"data": b"", b"dtype": "O", b"shape": [0]},
        {b"__ndarray__": True, b"data": b"1234", b"dtype": "<f4", b"shape": [-1]},
    ],
)
def test_what_is_no_array_of_numbers_is_refused_and_runs_nothing(hostile):
    with pytest.raises(BadAnswerError, match=r"expected msgpack, got .* bytes that are none"):
        unpack(msgpack.packb({"actions": hostile}), "here")


@pytest.mark.parametrize("array", ARRAYS[:5], ids=lambda array: f"{array.dtype}{array.shape}")
def test_json_numpy_reads_our_texts(array):
    read = json_numpy.loads(json_text(array))
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    assert np.array_equal(read, array)

"""Observations and chunks as messages; the one place where shapes, dtypes and byte counts are checked, on both ends.

A request has one tensor per observation key, with the batch as its leading dimension; images are UINT8, everything
else FP32, but for a privileged state that its env has in FP64. Beside them: `task` and `policy_state` (BYTES [B, 1]),
the names of the privileged state (BYTES [B, 1], a JSON list each) and, with B > 1, the noise seeds (INT64 [B]). Decoded
arrays are read-only views of the message's bytes, or of a copy of what the request names in shared memory instead.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ray_eval.errors import ContractError, did_you_mean
from ray_eval.types import (
    ACTION,
    ENVIRONMENT_STATE,
    POLICY_STATE_LIMIT_BYTES,
    ActionChunk,
    Array,
    Observation,
    PolicySpec,
    is_image,
)
from ray_eval.wire import open_inference_pb2 as pb
from ray_eval.wire.shared_memory import BYTE_SIZE, OFFSET, REGION, Attached

TASK = "task"
"""Tensor of the instructions, UTF-8."""
POLICY_STATE = "policy_state"
"""Tensor of the policy's memory, both ways; left out where every row's is empty."""
ACTION_RAW = "action_raw"
"""Tensor of the actions before post-processing, both ways: FP32 [B, H, R] there, the rest of them [B, L, R] back."""
DELAY_STEPS = "delay_steps"
"""Parameter of the steps until the answer will be usable; left out where the policy takes no prefix."""
NOISE_SEED = "noise_seed"
"""Parameter with the seed of a single row, tensor with the seeds of several."""
ENVIRONMENT_NAMES = f"{ENVIRONMENT_STATE}.names"
"""Tensor of the names beside the privileged state; left out where they are unknown."""
SPEC_PROPERTY = "ray_eval.policy_spec"
"""Property of the model's metadata that carries the PolicySpec as JSON."""
VERSIONS_PROPERTY = "ray_eval.versions"
"""Property of ModelMetadataResponse with the versions of the policy's interpreter and packages as JSON."""
METRICS_PROPERTY = "ray_eval.metrics"
"""Property of the metadata that carries the server's totals so far, as JSON."""
PLATFORM = "ray_eval"
"""Platform that the model's metadata names."""

MAX_RANK = 6
"""Most dimensions of a tensor, the batch included."""
MAX_NAMED = 64
"""Most tensors, and most parameters, of one message."""
MAX_ID_BYTES = 1024
"""Longest id of a request, which a server keeps with its answer; our own have some sixty."""
MAX_TEXT_BYTES = 64 * 1024
"""Longest instruction, and longest JSON list of names."""

_DTYPES: Mapping[str, np.dtype[Any]] = {
    "UINT8": np.dtype("u1"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "INT64": np.dtype("<i8"),
}
_BYTES = "BYTES"
_Piece = bytes | memoryview
_LENGTH = struct.Struct("<I")
_RAW_INPUT_TAG = bytes([pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | 2])  # 2: a length and so many bytes
_INTEGERS = ("task_id", "init_state_id", "repeat", "step", DELAY_STEPS)
_PARAMETERS = ("suite", *_INTEGERS, NOISE_SEED, "episode_id")


class CodecError(ContractError):
    """A message, or a value on its way into one, is not what the protocol and the policy's spec call for."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor of either direction before its content is looked at."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes

    def fail(self, expected: str, got: object) -> CodecError:
        return CodecError(f"tensor {self.name!r}: expected {expected}, got {got}")


@dataclass(frozen=True, slots=True)
class Region:
    """Shared memory that the server has mapped."""

    name: str
    """Under which it is registered."""
    memory: Array
    """(bytes,) uint8, to be written."""


def datatype_of(key: str) -> str:
    """The wire's usual data type of an observation key."""
    return datatypes_of(key)[0]


def datatypes_of(key: str) -> tuple[str, ...]:
    """The wire's data types of an observation key: the privileged state may come as exact as its env has it."""
    if is_image(key):
        return ("UINT8",)
    return ("FP32", "FP64") if key == ENVIRONMENT_STATE else ("FP32",)


def check_observation(observation: Observation, spec: PolicySpec) -> None:
    """Passes when the arrays are those that the spec asks for: keys, dtype, history axis, image size.

    Raises:
        CodecError: naming the key, what was expected and what is there.
    """
    if set(observation.arrays) != set(spec.keys):
        raise CodecError(f"observation: expected the keys {sorted(spec.keys)}, got {sorted(observation.arrays)}")
    for key, array in observation.arrays.items():
        dtypes = [_DTYPES[name] for name in datatypes_of(key)]
        if array.dtype not in dtypes:
            expected = " or ".join(dtype.name for dtype in dtypes)
            raise CodecError(f"observation {key!r}: expected {expected}, got {array.dtype}")
        _check_row_shape(key, array.shape, spec)


def _check_row_shape(key: str, shape: tuple[int, ...], spec: PolicySpec) -> None:
    """Passes when one row's shape is that of an image or of a vector, behind the history axis if there is one."""
    history = (spec.n_obs_steps,) if spec.n_obs_steps > 1 else ()
    if datatype_of(key) == "UINT8":
        expected: tuple[int | None, ...] = (*history, spec.image_size_px, spec.image_size_px, 3)
    else:
        expected = (*history, None)
    fits = len(shape) == len(expected) and all(
        got >= 1 and want in (None, got) for got, want in zip(shape, expected, strict=True)
    )
    if not fits:
        text = ", ".join("any" if size is None else str(size) for size in expected)
        raise CodecError(f"observation {key!r}: expected shape ({text}), got {shape}")


def encode_request(observations: Sequence[Observation], spec: PolicySpec, request_id: str = "") -> pb.ModelInferRequest:
    """A request with one row per observation; rows share everything that is a parameter.

    Raises:
        CodecError: an observation is not what the spec asks for, or the rows cannot share one request.
    """
    draft = _draft(observations, spec, request_id)
    draft.head.raw_input_contents.extend(b"".join(pieces) for pieces in draft.contents)
    return draft.head


def encode_request_bytes(
    observations: Sequence[Observation], spec: PolicySpec, request_id: str = "", region: Region | None = None
) -> bytes:
    """What `encode_request` gives, serialised; each array is copied once, into the bytes or, an image, into the region.

    In protobuf's format a message is its fields one after the other, so that the raw contents can stand behind the
    serialised rest. Protobuf itself copies them into the message, and again into a buffer that it grows on the way.

    Args:
        observations: The rows.
        spec: The policy's.
        request_id: By which the server knows a repeat.
        region: Where the images go, `image_bytes` in all; None has them in the message.

    Raises:
        CodecError: as of `encode_request`.
    """
    draft = _draft(observations, spec, request_id, region)
    parts: list[_Piece] = [draft.head.SerializeToString()]
    for pieces in draft.contents:
        parts += [_RAW_INPUT_TAG, _varint(sum(memoryview(piece).nbytes for piece in pieces)), *pieces]
    return b"".join(parts)


def image_bytes(observation: Observation) -> int:
    """Bytes of an observation's images."""
    return sum(array.nbytes for key, array in observation.arrays.items() if datatype_of(key) == "UINT8")


@dataclass(slots=True)
class _Draft:
    """A request whose tensors' contents are still the callers' own arrays, but for images in shared memory."""

    head: pb.ModelInferRequest
    contents: list[list[_Piece]]
    region: Region | None = None
    used_bytes: int = 0

    def put(self, name: str, datatype: str, shape: Sequence[int], pieces: list[_Piece]) -> None:
        tensor = self.head.inputs.add(name=name, datatype=datatype, shape=shape)
        if self.region is None or datatype != "UINT8":
            self.contents.append(pieces)
            return
        tensor.parameters[REGION].string_param = self.region.name
        tensor.parameters[OFFSET].int64_param = start = self.used_bytes
        for piece in pieces:
            content = np.frombuffer(piece, np.uint8)
            self.region.memory[self.used_bytes : self.used_bytes + len(content)] = content
            self.used_bytes += len(content)
        tensor.parameters[BYTE_SIZE].int64_param = self.used_bytes - start


def _draft(
    observations: Sequence[Observation], spec: PolicySpec, request_id: str, region: Region | None = None
) -> _Draft:
    if not observations:
        raise CodecError("request: expected at least one observation, got none")
    for observation in observations:
        check_observation(observation, spec)
    head = pb.ModelInferRequest(model_name=spec.name, model_version=spec.version, id=request_id)
    draft = _Draft(head, [], region)
    _put_parameters(draft.head, observations, spec)
    for key in spec.keys:
        rows = [observation.arrays[key] for observation in observations]
        _put_array(draft, key, _sent_as(key, rows), rows)
    _put_texts(draft, observations)
    _put_prefixes(draft, observations, spec)
    if len(observations) > 1:
        _put_array(draft, NOISE_SEED, "INT64", [np.int64(row.noise_seed) for row in observations])
    return draft


def _sent_as(key: str, rows: Sequence[Array]) -> str:
    """The one data type of all rows.

    Raises:
        CodecError: they differ.
    """
    found = {name for row in rows for name in datatypes_of(key) if row.dtype == _DTYPES[name]}
    if len(found) > 1:
        raise CodecError(f"tensor {key!r}: expected rows of one data type, got {sorted(found)}; send them one by one")
    return found.pop()


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that more follow."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _put_parameters(request: pb.ModelInferRequest, observations: Sequence[Observation], spec: PolicySpec) -> None:
    first = observations[0]
    integers = [name for name in _INTEGERS if name != DELAY_STEPS or spec.takes_prefix]
    for name in ("suite", *integers):
        values = {getattr(observation, name) for observation in observations}
        if len(values) > 1:
            raise CodecError(f"parameter {name!r}: expected one value for all rows, got {sorted(values)}")
    request.parameters["suite"].string_param = first.suite
    for name in integers:
        request.parameters[name].int64_param = getattr(first, name)
    if len(observations) == 1:
        request.parameters[NOISE_SEED].int64_param = first.noise_seed


def _put_prefixes(draft: _Draft, observations: Sequence[Observation], spec: PolicySpec) -> None:
    prefixes = [observation.action_raw for observation in observations if observation.action_raw is not None]
    if not prefixes:
        return
    if not spec.takes_prefix or len(prefixes) < len(observations):
        raise CodecError(f"observation {ACTION_RAW!r}: expected one for every row of a policy that takes it, or none")
    for prefix in prefixes:
        if prefix.ndim != 2 or prefix.dtype != np.float32 or not 1 <= len(prefix) <= spec.chunk_len:
            expected = f"float32 (1 to {spec.chunk_len}, any)"
            raise CodecError(f"observation {ACTION_RAW!r}: expected {expected}, got {prefix.dtype} {prefix.shape}")
    _put_array(draft, ACTION_RAW, "FP32", prefixes)


def _put_array(draft: _Draft, name: str, datatype: str, rows: Sequence[Any]) -> None:
    shapes = {np.shape(row) for row in rows}
    if len(shapes) > 1:
        raise CodecError(f"tensor {name!r}: expected rows of one shape, got {sorted(shapes)}; send them one by one")
    pieces: list[_Piece] = [np.ascontiguousarray(row, dtype=_DTYPES[datatype]).data for row in rows]
    draft.put(name, datatype, (len(rows), *shapes.pop()), pieces)


def _put_texts(draft: _Draft, observations: Sequence[Observation]) -> None:
    columns = {TASK: [observation.task.encode() for observation in observations]}
    if any(observation.environment_names for observation in observations):
        columns[ENVIRONMENT_NAMES] = [json.dumps(row.environment_names).encode() for row in observations]
    if any(observation.policy_state for observation in observations):
        columns[POLICY_STATE] = [observation.policy_state for observation in observations]
    for name, elements in columns.items():
        draft.put(name, _BYTES, (len(elements), 1), [_joined(elements)])


def _joined(elements: Sequence[bytes]) -> bytes:
    return b"".join(_LENGTH.pack(len(element)) + element for element in elements)


def check_id(request: pb.ModelInferRequest) -> None:
    """Passes when the request's id is none that fills the server's memory.

    Raises:
        CodecError: it is too long.
    """
    length = len(request.id)
    if length > MAX_ID_BYTES or len(request.id.encode()) > MAX_ID_BYTES:
        raise CodecError(f"request: expected an id of at most {MAX_ID_BYTES} bytes, got {length} letters")


def contents_of(request: pb.ModelInferRequest, memory_of: Callable[[str], Attached]) -> list[bytes]:
    """The content of each input, from the message or from the shared memory that the input names.

    Args:
        request: As it came.
        memory_of: A registered region by its name; what it raises is not caught.

    Raises:
        CodecError: an input names memory that is not in its region, or there are not as many contents as inputs.
    """
    sent = iter(request.raw_input_contents)
    found: list[bytes] = []
    for tensor in request.inputs:
        if REGION in tensor.parameters or BYTE_SIZE in tensor.parameters:
            found.append(_shared_content(tensor, memory_of))
        elif (raw := next(sent, None)) is not None:
            found.append(raw)
    if any(REGION in output.parameters for output in request.outputs):
        raise CodecError(f"output: expected no parameter {REGION!r}, got one; an answer is small, and is sent")
    return [*found, *sent]


def _shared_content(tensor: Any, memory_of: Callable[[str], Attached]) -> bytes:
    """A copy, which takes microseconds: a policy may keep what it is given, and some write into it."""
    parameters = tensor.parameters
    name, size, start = parameters[REGION].string_param, parameters[BYTE_SIZE].int64_param, 0
    if OFFSET in parameters:
        start = parameters[OFFSET].int64_param
    memory = memory_of(name)
    if size < 1 or not 0 <= start <= memory.byte_size - size:
        raise CodecError(
            f"tensor {tensor.name!r}: expected a part of the {memory.byte_size} bytes of its region, "
            f"got {size} at {start}"
        )
    try:
        return memory.read(start, size)
    except (ValueError, OSError) as error:
        raise CodecError(f"tensor {tensor.name!r}: {error}") from error


def decode_request(
    request: pb.ModelInferRequest, spec: PolicySpec, max_rows: int = 1, contents: Sequence[bytes] | None = None
) -> list[Observation]:
    """The request's rows, whose arrays are read-only views of its contents.

    Args:
        request: As it came.
        spec: The policy's.
        max_rows: Most rows.
        contents: What `contents_of` gave; None where all is in the message.

    Raises:
        CodecError: naming the tensor or parameter, what was expected and what came.
    """
    tensors = _named_tensors(request.inputs, request.raw_input_contents if contents is None else contents)
    row_count = _row_count(tensors, spec, max_rows)
    shared = _parameters(request.parameters)
    seeds = _noise_seeds(shared.pop(NOISE_SEED, None), tensors.pop(NOISE_SEED, None), row_count)
    tasks = [_text(TASK, element) for element in _elements(tensors.pop(TASK), row_count, MAX_TEXT_BYTES)]
    names = _names(tensors.pop(ENVIRONMENT_NAMES, None), row_count)
    states = _policy_states(tensors.pop(POLICY_STATE, None), row_count)
    prefixes = _prefixes(tensors.pop(ACTION_RAW, None), row_count, spec)
    arrays = {key: _rows(tensor, row_count, spec) for key, tensor in tensors.items()}
    return [
        Observation(
            arrays={key: rows[i] for key, rows in arrays.items()},
            task=tasks[i],
            noise_seed=seeds[i],
            environment_names=names[i],
            policy_state=states[i],
            action_raw=prefixes[i],
            **shared,
        )
        for i in range(row_count)
    ]


def _named_tensors(heads: Sequence[Any], contents: Sequence[bytes]) -> dict[str, _Tensor]:
    """The tensors by name, each name once and each with its raw content."""
    if len(heads) > MAX_NAMED:
        raise CodecError(f"message: expected at most {MAX_NAMED} tensors, got {len(heads)}")
    if len(heads) != len(contents):
        raise CodecError(f"raw contents: expected one for each of {len(heads)} tensors, got {len(contents)}")
    tensors: dict[str, _Tensor] = {}
    for head, raw in zip(heads, contents, strict=True):
        tensor = _Tensor(head.name, head.datatype, tuple(head.shape), raw)
        if head.name in tensors:
            raise tensor.fail("it once", "it twice")
        if head.HasField("contents"):
            raise tensor.fail("its values in the raw contents", "typed contents")
        _check_shape(tensor)
        tensors[head.name] = tensor
    return tensors


def _check_shape(tensor: _Tensor) -> None:
    if not 1 <= len(tensor.shape) <= MAX_RANK:
        raise tensor.fail(f"1 to {MAX_RANK} dimensions", len(tensor.shape))
    if min(tensor.shape) < 1:
        raise tensor.fail("positive dimensions", list(tensor.shape))
    if tensor.datatype != _BYTES and tensor.datatype not in _DTYPES:
        raise tensor.fail(f"one of {', '.join((*_DTYPES, _BYTES))}", repr(tensor.datatype))


def _row_count(tensors: Mapping[str, _Tensor], spec: PolicySpec, max_rows: int) -> int:
    """The common leading dimension of tensors that are all known and, where they must be, there."""
    required = (*spec.keys, TASK)
    prefix = (ACTION_RAW,) if spec.takes_prefix else ()
    known = (*required, ENVIRONMENT_NAMES, POLICY_STATE, NOISE_SEED, *prefix)
    for name in tensors:
        if name not in known:
            raise CodecError(
                f"tensor {name!r}: expected one of {', '.join(known)}.{did_you_mean(name[:MAX_NAMED], known)}"
            )
    for name in required:
        if name not in tensors:
            raise CodecError(f"tensor {name!r}: expected it, got {', '.join(tensors) or 'no tensors'}")
    counts = {tensor.shape[0] for tensor in tensors.values()}
    if len(counts) > 1 or max(counts) > max_rows:
        raise CodecError(f"batch dimension: expected the same 1 to {max_rows} for all tensors, got {sorted(counts)}")
    return counts.pop()


def _view(tensor: _Tensor, datatype: str) -> Array:
    """A read-only view of the content, made after its byte count is known to be right."""
    if tensor.datatype != datatype:
        raise tensor.fail(datatype, tensor.datatype)
    dtype = _DTYPES[datatype]
    expected_bytes = math.prod(tensor.shape) * dtype.itemsize
    if len(tensor.raw) != expected_bytes:
        raise tensor.fail(f"{expected_bytes} bytes for shape {list(tensor.shape)}", f"{len(tensor.raw)} bytes")
    return np.frombuffer(tensor.raw, dtype=dtype).reshape(tensor.shape)


def _rows(tensor: _Tensor, row_count: int, spec: PolicySpec) -> list[Array]:
    _check_row_shape(tensor.name, tensor.shape[1:], spec)
    known = datatypes_of(tensor.name)
    array = _view(tensor, tensor.datatype if tensor.datatype in known else known[0])
    return [array[i] for i in range(row_count)]


def _elements(tensor: _Tensor, row_count: int, max_bytes: int) -> list[bytes]:
    """The elements of a BYTES [B, 1] tensor, none longer than `max_bytes`."""
    if tensor.datatype != _BYTES or tensor.shape != (row_count, 1):
        raise tensor.fail(f"BYTES [{row_count}, 1]", f"{tensor.datatype} {list(tensor.shape)}")
    elements: list[bytes] = []
    offset = 0
    for _ in range(row_count):
        if len(tensor.raw) - offset < _LENGTH.size:
            raise tensor.fail("a 4-byte length before each element", f"{len(tensor.raw) - offset} bytes")
        (length,) = _LENGTH.unpack_from(tensor.raw, offset)
        offset += _LENGTH.size
        if length > min(max_bytes, len(tensor.raw) - offset):
            raise tensor.fail(f"an element of at most {min(max_bytes, len(tensor.raw) - offset)} bytes", length)
        elements.append(tensor.raw[offset : offset + length])
        offset += length
    if offset != len(tensor.raw):
        raise tensor.fail("nothing behind the last element", f"{len(tensor.raw) - offset} bytes")
    return elements


def _text(name: str, element: bytes) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise CodecError(f"tensor {name!r}: expected UTF-8, got {error}") from None


def _names(tensor: _Tensor | None, row_count: int) -> list[tuple[str, ...]]:
    if tensor is None:
        return [()] * row_count
    return [_name_list(_text(tensor.name, element)) for element in _elements(tensor, row_count, MAX_TEXT_BYTES)]


def _name_list(text: str) -> tuple[str, ...]:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CodecError(f"tensor {ENVIRONMENT_NAMES!r}: expected JSON, got {error}") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CodecError(f"tensor {ENVIRONMENT_NAMES!r}: expected a list of strings, got {text[:80]!r}")
    return tuple(names)


def _policy_states(tensor: _Tensor | None, row_count: int) -> list[bytes]:
    return [b""] * row_count if tensor is None else _elements(tensor, row_count, POLICY_STATE_LIMIT_BYTES)


def _prefixes(tensor: _Tensor | None, row_count: int, spec: PolicySpec) -> list[Array | None]:
    if tensor is None:
        return [None] * row_count
    if len(tensor.shape) != 3 or tensor.shape[1] > spec.chunk_len:
        raise tensor.fail(f"shape [{row_count}, 1 to {spec.chunk_len}, any]", list(tensor.shape))
    rows = _view(tensor, "FP32")
    return [rows[i] for i in range(row_count)]


def _parameters(parameters: Mapping[str, pb.InferParameter]) -> dict[str, Any]:
    """The parameters that are fields of an observation, each of its type; a misspelt one is not passed over."""
    if len(parameters) > MAX_NAMED:
        raise CodecError(f"message: expected at most {MAX_NAMED} parameters, got {len(parameters)}")
    values: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if name not in _PARAMETERS:
            hint = did_you_mean(name[:MAX_NAMED], _PARAMETERS)
            raise CodecError(f"parameter {name!r}: expected one of {', '.join(_PARAMETERS)}.{hint}")
        values[name] = _parameter(name, parameter)
    values.pop("episode_id", None)
    return values


def _parameter(name: str, parameter: pb.InferParameter) -> str | int:
    kind = parameter.WhichOneof("parameter_choice")
    expected = "int64_param" if name in (*_INTEGERS, NOISE_SEED) else "string_param"
    if kind != expected:
        raise CodecError(f"parameter {name!r}: expected {expected}, got {kind}")
    value: str | int = getattr(parameter, expected)
    if isinstance(value, int) and value < 0:
        raise CodecError(f"parameter {name!r}: expected at least 0, got {value}")
    return value


def _noise_seeds(parameter: int | None, tensor: _Tensor | None, row_count: int) -> list[int]:
    """One seed per row: from the parameter of a single row, or from the tensor; 0 where neither is there."""
    if tensor is None:
        if parameter is not None and row_count > 1:
            raise CodecError(f"noise_seed: expected an INT64 tensor [{row_count}], got a parameter")
        return [parameter or 0] * row_count
    if parameter is not None:
        raise tensor.fail("a tensor or a parameter", "both")
    if tensor.shape != (row_count,):
        raise tensor.fail(f"shape [{row_count}]", list(tensor.shape))
    seeds = [int(seed) for seed in _view(tensor, "INT64")]
    if min(seeds) < 0:
        raise tensor.fail("seeds of at least 0", min(seeds))
    return seeds


def encode_response(chunks: Sequence[ActionChunk], spec: PolicySpec, request_id: str = "") -> pb.ModelInferResponse:
    """A response with one row per chunk.

    Raises:
        CodecError: a chunk is not (chunk_len, action_dim) float32.
    """
    shape = (spec.chunk_len, spec.action_dim)
    for chunk in chunks:
        if chunk.actions.shape != shape or chunk.actions.dtype != np.float32:
            raise CodecError(f"actions: expected float32 {shape}, got {chunk.actions.dtype} {chunk.actions.shape}")
    response = pb.ModelInferResponse(model_name=spec.name, model_version=spec.version, id=request_id)
    response.outputs.add(name=ACTION, datatype="FP32", shape=(len(chunks), *shape))
    response.raw_output_contents.append(b"".join(chunk.actions.astype("<f4", copy=False).tobytes() for chunk in chunks))
    if any(chunk.policy_state for chunk in chunks):
        response.outputs.add(name=POLICY_STATE, datatype=_BYTES, shape=(len(chunks), 1))
        response.raw_output_contents.append(_joined([chunk.policy_state for chunk in chunks]))
    _put_raw(response, chunks, spec)
    return response


def _put_raw(response: pb.ModelInferResponse, chunks: Sequence[ActionChunk], spec: PolicySpec) -> None:
    raws = [chunk.action_raw for chunk in chunks if chunk.action_raw is not None]
    if not raws:
        return
    shapes = {raw.shape for raw in raws}
    shape = shapes.pop()
    if shapes or len(raws) < len(chunks) or len(shape) != 2 or shape[0] != spec.chunk_len:
        expected = f"({spec.chunk_len}, any) for every chunk or for none"
        raise CodecError(f"{ACTION_RAW}: expected {expected}, got {shape} for {len(raws)} of {len(chunks)}")
    response.outputs.add(name=ACTION_RAW, datatype="FP32", shape=(len(chunks), *shape))
    response.raw_output_contents.append(b"".join(np.asarray(raw, dtype="<f4").tobytes() for raw in raws))


def decode_response(response: pb.ModelInferResponse, spec: PolicySpec, row_count: int = 1) -> list[ActionChunk]:
    """The response's rows, whose actions are read-only views of its bytes; outputs of other names are left alone.

    Raises:
        CodecError: the actions are not there, or not FP32 [row_count, chunk_len, action_dim].
    """
    tensors = _named_tensors(response.outputs, response.raw_output_contents)
    if ACTION not in tensors:
        raise CodecError(f"tensor {ACTION!r}: expected it, got {', '.join(tensors) or 'no tensors'}")
    expected = (row_count, spec.chunk_len, spec.action_dim)
    if tensors[ACTION].shape != expected:
        raise tensors[ACTION].fail(f"shape {list(expected)}", list(tensors[ACTION].shape))
    actions = _view(tensors[ACTION], "FP32")
    states = _policy_states(tensors.get(POLICY_STATE), row_count)
    raws = _prefixes(tensors.get(ACTION_RAW), row_count, spec) if spec.takes_prefix else [None] * row_count
    return [ActionChunk(actions[i], states[i], raws[i]) for i in range(row_count)]


def encode_metadata(spec: PolicySpec) -> pb.ModelMetadataResponse:
    """The model's metadata: its tensors for any client, and the whole spec for ours."""
    metadata = pb.ModelMetadataResponse(name=spec.name, versions=[spec.version], platform=PLATFORM)
    history = (spec.n_obs_steps,) if spec.n_obs_steps > 1 else ()
    size = spec.image_size_px or -1
    for key in spec.keys:
        row = (size, size, 3) if datatype_of(key) == "UINT8" else (-1,)
        metadata.inputs.add(name=key, datatype=datatype_of(key), shape=(-1, *history, *row))
    metadata.inputs.add(name=TASK, datatype=_BYTES, shape=(-1, 1))
    metadata.outputs.add(name=ACTION, datatype="FP32", shape=(-1, spec.chunk_len, spec.action_dim))
    metadata.properties[SPEC_PROPERTY] = json.dumps(spec.to_json(), sort_keys=True)
    return metadata


def decode_answered_count(metadata: pb.ModelMetadataResponse) -> int | None:
    """Requests that the server has answered since its start; None where it does not say."""
    try:
        count = json.loads(metadata.properties.get(METRICS_PROPERTY, "null"))["requests"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return count if isinstance(count, int) else None


def decode_metadata(metadata: pb.ModelMetadataResponse) -> PolicySpec:
    """The spec that the server declares.

    Raises:
        CodecError: the server declares none, or one that this version does not read.
    """
    text = metadata.properties.get(SPEC_PROPERTY)
    if text is None:
        raise CodecError(f"metadata of {metadata.name!r}: expected the property {SPEC_PROPERTY!r}, got none")
    try:
        return PolicySpec.from_json(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CodecError(f"metadata of {metadata.name!r}: expected a PolicySpec as JSON, got {error!r}") from None

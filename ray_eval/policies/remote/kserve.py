"""Servers of the Open Inference Protocol over gRPC: ours, which say what they read, and others such as Triton."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from ray_eval.errors import ConfigError, ContractError, EpisodeError, PolicyChanged, PolicyUnavailable, SetupError
from ray_eval.policies.remote.policy import RemotePolicy, changed, host_and_port, the_same, token_of
from ray_eval.policies.remote.pool import BadAnswerError, LinkBrokenError, Pool
from ray_eval.sections import ConnectSection, KservePolicySection
from ray_eval.types import ACTION, Array, Observation, PolicySpec
from ray_eval.wire import codec
from ray_eval.wire import open_inference_pb2 as pb
from ray_eval.wire.channel import call_metadata, open_channel
from ray_eval.wire.open_inference_pb2_grpc import GRPCInferenceServiceStub

_BROKEN = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
)
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "UINT8": np.dtype("u1"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}


class NotServedError(EpisodeError):
    """The server knows no such model, or no such version of it."""


class KserveLink:
    """One channel; each address may have many."""

    def __init__(self, section: ConnectSection) -> None:
        self.address = section.address
        self._channel = open_channel(section)
        self._stub = GRPCInferenceServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._credentials = call_metadata(section)

    def call(self, method: str, request: Any, timeout_s: float) -> Any:
        """The server's answer to one unary call.

        Raises:
            LinkBrokenError: the server is not there, or did not answer in time.
            EpisodeError: it answered that it cannot.
        """
        try:
            return getattr(self._stub, method)(
                request, timeout=timeout_s, metadata=self._credentials, wait_for_ready=False
            )
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
            if code in _BROKEN:
                raise LinkBrokenError(f"{code.name}: {details}") from error
            if code is grpc.StatusCode.NOT_FOUND:
                raise NotServedError(f"policy server at {self.address}: {details}") from error
            raise EpisodeError(f"policy server at {self.address}: {code.name}: {details}") from error

    def close(self) -> None:
        """Hangs up."""
        self._channel.close()


class KservePolicy(RemotePolicy):
    """A policy behind an Open Inference server; every observation is one ModelInfer."""

    def __init__(self, section: KservePolicySection) -> None:
        """Asks every server for the model's metadata.

        Raises:
            SetupError: a server does not answer, does not serve the model, or serves another than the others.
            ConfigError: the server does not say what the model reads, and neither does the section.
        """
        self._certificate = _contents(section.certificate)
        self._token = token_of(section)
        self._section = section
        self._known: str | None = None
        self._wanted = section.model or ""
        self._names = section.rename
        self._pool = Pool(section.addresses, self._opened, section.connections, section.timeout_s)
        metadata = self._metadata(section)
        self._inputs = {tensor.name: tensor for tensor in metadata.inputs}
        self._model = section.model or metadata.name
        self._versions = tuple(metadata.versions)
        self._theirs = codec.decode_metadata(metadata) if codec.SPEC_PROPERTY in metadata.properties else None
        self._spec = self._spec_of(section, metadata)
        if self._theirs is None:
            self._known = _told(metadata)

    def _opened(self, address: str, timeout_s: float) -> KserveLink:
        """A connection to a server that says of its model what was said at the start.

        One of ours is known by the version in each request, which finds out a server that was restarted unnoticed.

        Raises:
            PolicyChanged: it says something else.
            LinkBrokenError: it does not say in time.
        """
        link = KserveLink(ConnectSection(host_and_port(address), token=self._token, certificate_pem=self._certificate))
        if self._known is None:
            return link
        try:
            told = _told(self._metadata_of(link, timeout_s))
        except BaseException:
            link.close()
            raise
        if told != self._known:
            link.close()
            raise changed(address, self._known, told)
        return link

    def _metadata(self, section: KservePolicySection) -> pb.ModelMetadataResponse:
        try:
            found = self._pool.ask_each(self._metadata_of)
        except PolicyUnavailable as error:
            raise SetupError(str(error)) from error
        except EpisodeError as error:
            raise SetupError(f"{error}; name the model by policy.model") from error
        the_same({address: _told(metadata) for address, metadata in found.items()}, "model")
        return found[section.addresses[0]]

    def _metadata_of(self, link: KserveLink, timeout_s: float) -> pb.ModelMetadataResponse:
        request = pb.ModelMetadataRequest(name=self._wanted)
        metadata: pb.ModelMetadataResponse = link.call("ModelMetadata", request, timeout_s)
        return metadata

    def _spec_of(self, section: KservePolicySection, metadata: pb.ModelMetadataResponse) -> PolicySpec:
        """The server's own spec, or what the section says of a foreign one, whose noise nobody controls."""
        if self._theirs is not None:
            # Its name is the model's, by which requests are addressed; our batches do not reach it as batches.
            return dataclasses.replace(self._theirs, batch_invariant=True)
        if section.chunk_len is None or not section.keys:
            raise ConfigError(
                f"policy.keys, policy.chunk_len: expected what model {metadata.name!r} reads and answers, because its "
                f"server does not say it; its inputs are {', '.join(self._inputs) or 'unknown'}"
            )
        missing = [key for key in section.keys if self._inputs and self._name(key) not in self._inputs]
        if missing:
            raise ConfigError(
                f"policy.keys: expected names among the model's inputs {', '.join(self._inputs)}, got "
                f"{self._name(missing[0])!r}; write policy.rename with {missing[0]} in it"
            )
        name = metadata.name or section.model or "kserve"
        return PolicySpec(
            name,
            section.keys,
            section.chunk_len,
            section.action_dim,
            image_size_px=section.image_size_px,
            state_dim=section.state_dim,
            batch_invariant=True,
            is_reproducible=False,
            runtime={"server": metadata.platform or "kserve", "versions": ",".join(metadata.versions)},
            remarks=(f"policy {name}: noise is not under control: the server does not say that it takes seeds",),
        )

    def _name(self, key: str) -> str:
        return str(self._names.get(key, key))

    def _ask(self, link: KserveLink, observation: Observation, timeout_s: float) -> Any:
        if self._theirs is None:
            return link.call("ModelInfer", self._foreign_request(observation), timeout_s)
        try:
            return link.call("ModelInfer", codec.encode_request([observation], self._theirs), timeout_s)
        except NotServedError as error:
            raise PolicyChanged(str(error)) from error

    def _chunk(self, actions: Any, address: str) -> Any:
        """Reads a ModelInferResponse, memory included where the server is ours."""
        try:
            if self._theirs is not None:
                return codec.decode_response(actions, self._theirs)[0]
            return super()._chunk(self._foreign_actions(actions, address), address)
        except codec.CodecError as error:
            raise BadAnswerError(f"policy server at {address}: {error}") from error

    def _foreign_request(self, observation: Observation) -> pb.ModelInferRequest:
        request = pb.ModelInferRequest(model_name=self._model)
        for key in self._spec.keys:
            self._add_input(request, self._name(key), observation.arrays[key])
        task = self._name(codec.TASK)
        if task in self._inputs or codec.TASK in self._names:
            text = observation.task.encode()
            request.inputs.add(name=task, datatype="BYTES", shape=(1, 1))
            request.raw_input_contents.append(len(text).to_bytes(4, "little") + text)
        return request

    def _add_input(self, request: pb.ModelInferRequest, name: str, array: Array) -> None:
        declared = self._inputs[name].datatype if name in self._inputs else None
        datatype = declared or ("UINT8" if array.dtype == np.uint8 else "FP32")
        if datatype not in _DTYPES:
            raise ContractError(f"policy {self._spec.name!r}: input {name!r}: expected numbers, got {datatype}")
        request.inputs.add(name=name, datatype=datatype, shape=(1, *array.shape))
        request.raw_input_contents.append(array.astype(_DTYPES[datatype]).tobytes())

    def _foreign_actions(self, response: pb.ModelInferResponse, address: str) -> Array:
        wanted = self._name(ACTION)
        if response.model_version and self._versions and response.model_version not in self._versions:
            raise changed(address, f"version {' or '.join(self._versions)}", f"version {response.model_version}")
        for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=False):
            if tensor.name == wanted:
                return _array(tensor, raw, address)
        got = ", ".join(tensor.name for tensor in response.outputs) or "none with raw contents"
        raise BadAnswerError(
            f"policy server at {address}: expected the output {wanted!r}, got {got}; write policy.rename.action=NAME"
        )


def _told(metadata: pb.ModelMetadataResponse) -> str:
    """What a server says of its model, for a comparison: for one of ours the spec, else names, versions and tensors."""
    if codec.SPEC_PROPERTY in metadata.properties:
        return codec.decode_metadata(metadata).described()
    tensors = [
        f"{tensor.name} {tensor.datatype} {list(tensor.shape)}" for tensor in (*metadata.inputs, *metadata.outputs)
    ]
    versions = f"version {' or '.join(metadata.versions)}" if metadata.versions else "no version"
    return f"{metadata.name!r} ({', '.join([versions, metadata.platform or 'no platform', *tensors])})"


def _array(tensor: Any, raw: bytes, address: str) -> Array:
    """The first row of an output."""
    dtype = _DTYPES.get(tensor.datatype)
    if dtype is None or min(tensor.shape, default=0) < 1 or len(raw) != math.prod(tensor.shape) * dtype.itemsize:
        raise BadAnswerError(
            f"policy server at {address}: output {tensor.name!r}: expected numbers, as many as its shape says, got "
            f"{tensor.datatype} {list(tensor.shape)} in {len(raw)} bytes"
        )
    array: Array = np.frombuffer(raw, dtype).reshape(tensor.shape)
    return array[0] if array.ndim > 2 else array


def _contents(file: str | None) -> bytes | None:
    if file is None:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise SetupError(f"policy.certificate {file}: expected a readable file, got {error}") from error

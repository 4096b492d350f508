"""Servers of the Open Inference Protocol over gRPC: ours, which say what they read, and others such as Triton."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from ray_eval.errors import ConfigError, EpisodeError, PolicyChanged, PolicyUnavailable, SetupError
from ray_eval.policies.contract import trial_observation
from ray_eval.policies.remote import tensors
from ray_eval.policies.remote.endpoint import host_and_port
from ray_eval.policies.remote.policy import (
    RemotePolicy,
    changed,
    patience_of,
    spec_by_asking,
    the_same,
    token_of,
    unasked_spec,
    unnoticed,
)
from ray_eval.policies.remote.pool import BadAnswerError, LinkBrokenError, NoAnswerError, Pool, WrongServerError
from ray_eval.sections import ConnectSection, KservePolicySection
from ray_eval.types import ACTION, Array, Observation, PolicySpec
from ray_eval.wire import codec
from ray_eval.wire import open_inference_pb2 as pb
from ray_eval.wire.channel import call_metadata, open_channel
from ray_eval.wire.open_inference_pb2_grpc import GRPCInferenceServiceStub

_BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED)
_NO_GRPC = ("Failed parsing HTTP/2", "http1.x", "SETTINGS frame")
"""Words of gRPC about somebody who does not speak it."""


class NotServedError(EpisodeError):
    """The server knows no such model, or no such version of it."""


class NoSuchMethodError(EpisodeError):
    """The server does not offer that method of the protocol."""


class RefusedError(EpisodeError):
    """The server answered a request with an error of its own."""


def told_failure(error: grpc.RpcError, address: str) -> Exception:
    """What a failed call means for the request: to be sent again, never to be, or refused."""
    code, details = error.code(), error.details() or ""
    where = f"policy server at {address}"
    if code is grpc.StatusCode.UNAVAILABLE and any(word in details for word in _NO_GRPC):
        return WrongServerError(
            f"{where}: expected a gRPC server, got another one; mend policy.addresses, or name the policy type that it "
            f"speaks ({details[:120]})"
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return NoAnswerError(f"no answer ({details})")
    if code in _BROKEN:
        return LinkBrokenError(f"{code.name}: {details}")
    if code is grpc.StatusCode.NOT_FOUND:
        return NotServedError(f"{where}: {details}")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return NoSuchMethodError(f"{where}: UNIMPLEMENTED: {details or 'it has no such method'}")
    return RefusedError(f"{where}: {code.name}: {details}")


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
            raise told_failure(error, self.address) from error

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
        self._section: KservePolicySection = section
        self._known: str | None = None
        self._pool = Pool(section.addresses, self._opened, section.connections, patience_of(section))
        with self._pool.closed_on_failure():
            metadata = self._metadata(section)
            self._theirs = codec.decode_metadata(metadata) if codec.SPEC_PROPERTY in metadata.properties else None
            if self._theirs is not None:
                # Its name is the model's, by which requests are addressed; our batches do not reach it as batches.
                self._spec = dataclasses.replace(self._theirs, batch_invariant=True)
                return
            self._known = _told(metadata)
            self._model = _ForeignModel(section, metadata)
            self._spec = spec_by_asking(self, self._model.spec(), section)

    @property
    def is_proved(self) -> bool:
        """Whether every server is one of ours: its policy may know its own episodes alone, and made-up ones not."""
        return self._theirs is not None

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
            found = self._pool.ask_each(self._metadata_of, is_answer=False)
        except (PolicyUnavailable, WrongServerError) as error:
            raise SetupError(str(error)) from error
        except NoSuchMethodError as error:
            raise ConfigError(
                f"policy.model, policy.keys: expected both, because the server does not say what it serves ({error}); "
                "write policy.model=NAME policy.keys=[...] policy.chunk_len=N"
            ) from error
        except EpisodeError as error:
            remedy = "mend policy.model" if section.model else "name the model by policy.model"
            raise SetupError(f"{error}; {remedy}") from error
        the_same({address: _told(metadata) for address, metadata in found.items()}, "model")
        return found[section.addresses[0]]

    def _metadata_of(self, link: KserveLink, timeout_s: float) -> pb.ModelMetadataResponse:
        request = pb.ModelMetadataRequest(name=self._section.model or "")
        try:
            metadata: pb.ModelMetadataResponse = link.call("ModelMetadata", request, timeout_s)
        except NoSuchMethodError:
            if not (self._section.model and self._section.keys):
                raise
            return pb.ModelMetadataResponse(name=self._section.model)
        return metadata

    def _ask(self, link: KserveLink, observation: Observation, timeout_s: float) -> Any:
        if self._theirs is None:
            return self._model.ask(link, observation, timeout_s)
        try:
            return link.call("ModelInfer", codec.encode_request([observation], self._theirs), timeout_s)
        except NotServedError as error:
            raise PolicyChanged(str(error)) from error

    def _chunk(self, actions: Any, observation: Observation, address: str) -> Any:
        """Reads a ModelInferResponse of ours, memory included; a foreign one's actions were read already."""
        if self._theirs is None:
            return super()._chunk(actions, observation, address)
        try:
            return codec.decode_response(actions, self._theirs)[0]
        except codec.CodecError as error:
            raise BadAnswerError(f"policy server at {address}: {error}") from error


class _ForeignModel:
    """A model of somebody else's server: which tensors it wants of an observation, and which one is the answer."""

    def __init__(self, section: KservePolicySection, metadata: pb.ModelMetadataResponse) -> None:
        self._section = section
        self._metadata = metadata
        self._name = section.model or metadata.name
        self._inputs = {tensor.name: tensor for tensor in metadata.inputs}
        self._versions = set(metadata.versions)
        self._task = self._task_input()
        self._outputs = self._output_names()
        self._is_typed = {"raw": False, "typed": True}.get(section.contents or "")

    def spec(self) -> PolicySpec:
        """What the section says of the model, whose noise nobody controls; the answer's shape is still to be asked.

        Raises:
            ConfigError: neither the server nor the section says what the model reads.
        """
        section, name = self._section, self._name or "kserve"
        if not section.keys:
            raise ConfigError(
                f"policy.keys, policy.chunk_len: expected what model {self._metadata.name!r} reads and answers, "
                f"because its server does not say it; its inputs are {', '.join(self._inputs) or 'unknown'}"
            )
        missing = [key for key in section.keys if self._inputs and self._renamed(key) not in self._inputs]
        if missing:
            raise ConfigError(
                f"policy.keys: expected names among the model's inputs {', '.join(self._inputs)}, got "
                f"{self._renamed(missing[0])!r}; write policy.rename with {missing[0]} in it"
            )
        noise = f"policy {name}: noise is not under control: the server does not say that it takes seeds"
        spec = unasked_spec(
            name,
            section,
            section.keys,
            {
                "server": self._metadata.platform or "kserve",
                "versions": ",".join(self._metadata.versions),
            },
            (noise,) if self._metadata.versions else (noise, unnoticed(name)),
        )
        self._check_ranks(spec)
        return spec

    def ask(self, link: KserveLink, observation: Observation, timeout_s: float) -> Array:
        """The model's actions, by the way of sending numbers that it takes.

        Raises:
            EpisodeError: it refuses them.
        """
        ways = (False, True) if self._is_typed is None else (self._is_typed,)
        refusals: list[EpisodeError] = []
        for is_typed in ways:
            try:
                response = link.call("ModelInfer", self._request(observation, is_typed=is_typed), timeout_s)
            except RefusedError as error:
                refusals.append(error)
                continue
            except _NoTypedFieldError:
                continue
            self._is_typed = is_typed
            return self._actions(response, link.address)
        raise EpisodeError(f"{refusals[0]}{self._not_sent()}") from refusals[-1]

    def _task_input(self) -> str | None:
        """The input that takes the instruction: `task`, what it is renamed to, or the only one that takes texts."""
        if codec.TASK in self._section.rename:
            return self._renamed(codec.TASK)
        if codec.TASK in self._inputs:
            return codec.TASK
        texts = [
            name
            for name, tensor in self._inputs.items()
            if tensor.datatype == tensors.BYTES and name not in self._section.texts
        ]
        return texts[0] if len(texts) == 1 else None

    def _output_names(self) -> tuple[str, ...]:
        if ACTION in self._section.rename:
            return (self._renamed(ACTION),)
        only = [tensor.name for tensor in self._metadata.outputs]
        return (ACTION, "actions", *(only if len(only) == 1 else ()))

    def _renamed(self, key: str) -> str:
        return str(self._section.rename.get(key, key))

    def _request(self, observation: Observation, *, is_typed: bool) -> pb.ModelInferRequest:
        request = pb.ModelInferRequest(model_name=self._name)
        for key in self._section.keys:
            self._add_numbers(request, key, observation.arrays[key], is_typed=is_typed)
        texts = {self._task: observation.task} if self._task else {}
        for name, text in {**texts, **self._section.texts}.items():
            self._add_text(request, str(name), text, is_typed=is_typed)
        if ACTION in self._section.rename:
            request.outputs.add(name=self._outputs[0])
        return request

    def _add_numbers(self, request: pb.ModelInferRequest, key: str, array: Array, *, is_typed: bool) -> None:
        name, datatype = self._renamed(key), self._datatype(key, array)
        shape = (1, *array.shape) if self._has_batch_axis(name, array.ndim) else array.shape
        tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
        if not is_typed:
            request.raw_input_contents.append(tensors.raw_numbers(array, datatype))
        elif datatype in tensors.TYPED_FIELDS:
            tensors.fill_typed(tensor.contents, array, datatype)
        else:
            raise _NoTypedFieldError

    def _add_text(self, request: pb.ModelInferRequest, name: str, text: str, *, is_typed: bool) -> None:
        shape = (1, 1) if self._has_batch_axis(name, 1) else (1,)
        tensor = request.inputs.add(name=name, datatype=tensors.BYTES, shape=shape)
        if is_typed:
            tensor.contents.bytes_contents.append(text.encode())
        else:
            request.raw_input_contents.append(tensors.raw_text(text))

    def _datatype(self, key: str, array: Array) -> str:
        """What the server declares, else what the section says, else what the array is.

        Raises:
            ConfigError: it is no format of numbers.
        """
        name = self._renamed(key)
        declared = self._inputs[name].datatype if name in self._inputs else self._section.datatypes.get(key)
        datatype = str(declared or ("UINT8" if array.dtype == np.uint8 else "FP32"))
        if datatype not in tensors.DTYPES:
            raise ConfigError(f"policy.keys: input {name!r}: expected numbers, got {datatype}")
        return datatype

    def _has_batch_axis(self, name: str, rank: int) -> bool:
        if self._section.batch_axis is not None:
            return self._section.batch_axis
        declared = self._inputs[name].shape if name in self._inputs else ()
        return len(declared) != rank or rank == 0

    def _check_ranks(self, spec: PolicySpec) -> None:
        """Refuses inputs that are declared with more or fewer axes than an observation has, with or without a batch.

        Raises:
            ConfigError: there is one.
        """
        if self._section.batch_axis is not None:
            return
        for key, array in trial_observation(spec, 0).arrays.items():
            name = self._renamed(key)
            declared = list(self._inputs[name].shape) if name in self._inputs else []
            if declared and len(declared) not in (array.ndim, array.ndim + 1):
                raise ConfigError(
                    f"policy.keys: input {name!r}: expected {array.ndim} axes, or {array.ndim + 1} with a batch, got "
                    f"the model's {declared}; mend policy.rename, or say policy.batch_axis"
                )

    def _actions(self, response: pb.ModelInferResponse, address: str) -> Array:
        version = response.model_version
        if version and self._versions and version not in self._versions:
            raise changed(address, f"version {' or '.join(sorted(self._versions))}", f"version {version}")
        if version:
            self._versions = self._versions or {version}
        return tensors.output_of(response, self._outputs, address)

    def _not_sent(self) -> str:
        sent = {*map(self._renamed, self._section.keys), self._task, *self._section.texts}
        left = [name for name in self._inputs if name not in sent]
        return f"; not sent: {', '.join(left)} (policy.keys, policy.rename, policy.texts)" if left else ""


class _NoTypedFieldError(Exception):
    """FP16 and BF16 travel as bytes alone."""


def _told(metadata: pb.ModelMetadataResponse) -> str:
    """What a server says of its model, for a comparison: for one of ours the spec, else names, versions and tensors."""
    if codec.SPEC_PROPERTY in metadata.properties:
        return codec.decode_metadata(metadata).described()
    declared: Sequence[Any] = (*metadata.inputs, *metadata.outputs)
    described = [f"{tensor.name} {tensor.datatype} {list(tensor.shape)}" for tensor in declared]
    versions = f"version {' or '.join(metadata.versions)}" if metadata.versions else "no version"
    return f"{metadata.name!r} ({', '.join([versions, metadata.platform or 'no platform', *described])})"


def _contents(file: str | None) -> bytes | None:
    if file is None:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise SetupError(f"policy.certificate {file}: expected a readable file, got {error}") from error

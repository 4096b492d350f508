"""The gRPC server before a policy: decode, batch, encode; runs in the policy actor or alone."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import hmac
import importlib.metadata
import json
import logging
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from ray_eval.errors import ContractError, EpisodeError, PolicyChanged, PolicyUnavailable, SetupError
from ray_eval.interfaces import Policy, RowwisePolicy
from ray_eval.sections import BatchingSection, ListenSection
from ray_eval.serving.batcher import Batcher, BatcherMetrics, QueueFullError, Ticket
from ray_eval.serving.dedup import AnswerCache, ReusedIdError
from ray_eval.serving.listening import check_listen, remove_stale, unix_path
from ray_eval.serving.regions import RegionExistsError, Regions, RegionsNotOfferedError, UnknownRegionError
from ray_eval.serving.sizes import served_spec
from ray_eval.serving.versions import installed_versions
from ray_eval.types import ActionChunk, Observation, PolicySpec
from ray_eval.wire import codec, shared_memory
from ray_eval.wire import open_inference_pb2 as pb
from ray_eval.wire.transport import AUTHORIZATION, MESSAGE_OPTIONS, SERVICE_NAME, UNIX_PREFIX, bearer

logger = logging.getLogger(__name__)

STOP_GRACE_S = 10.0
"""How long requests in flight may take when a server stops."""

# gRPC would otherwise let a second server bind the same port, and each would get some of the requests.
# A connection that says nothing is let go. Its streams have no limit: gRPC 1.85.1 refuses those that a client opened
# before it heard of one, and an honest client's first requests fail.
_SERVER_OPTIONS = (
    *MESSAGE_OPTIONS,
    ("grpc.so_reuseport", 0),
    ("grpc.server_handshake_timeout_ms", 20_000),
    ("grpc.max_connection_idle_ms", 1_800_000),
)

SWITCH_INTERVAL_S = 0.0005
"""Longest that the forwards' thread waits for the event loop's to let go of the interpreter; Python's own is 5 ms."""

EXPIRY_MARGIN_S = 0.5
"""A call cancelled with less than this left of its deadline has run into it; the ends' clocks differ that little."""
DETAILS_LIMIT = 1000
"""Longest error message; gRPC refuses trailers of more than 8 KiB."""


class UnknownModelError(ContractError):
    """A request names a model that is not served here."""


# In this order: the first that fits decides.
_STATUS_CODES = (
    (codec.CodecError, grpc.StatusCode.INVALID_ARGUMENT),
    (ReusedIdError, grpc.StatusCode.INVALID_ARGUMENT),
    (UnknownRegionError, grpc.StatusCode.ABORTED),
    (RegionExistsError, grpc.StatusCode.ALREADY_EXISTS),
    (RegionsNotOfferedError, grpc.StatusCode.UNIMPLEMENTED),
    (UnknownModelError, grpc.StatusCode.NOT_FOUND),
    (PolicyChanged, grpc.StatusCode.NOT_FOUND),
    (QueueFullError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (ContractError, grpc.StatusCode.FAILED_PRECONDITION),
    (SetupError, grpc.StatusCode.FAILED_PRECONDITION),
    (PolicyUnavailable, grpc.StatusCode.UNAVAILABLE),
    (EpisodeError, grpc.StatusCode.INTERNAL),
)

UNAUTHENTICATED = "expected a valid bearer token in `authorization`"
"""What a caller without the token is told."""

Context = Any  # grpc.aio.ServicerContext[bytes, Message]; generic in the stubs alone
Method = Callable[[Any, Context], Awaitable[Message]]


class PolicyServer:
    """One policy behind the Open Inference Protocol, on the running event loop.

    Args:
        policy: Loaded, and called from one thread of its own, or from one for each of its lanes.
        listen: Address and credentials.
        batching: Limits of a batch and of the queue.

    Raises:
        SetupError: the address would be open to other hosts without credentials, or is malformed.
    """

    def __init__(self, policy: Policy, listen: ListenSection, batching: BatchingSection) -> None:
        check_listen(listen)
        self._spec = served_spec(policy.spec, batching)
        self._listen = listen
        self._max_rows = batching.max_batch_size
        lanes = policy.lanes if isinstance(policy, RowwisePolicy) else 1
        self._executor = ThreadPoolExecutor(max_workers=lanes, thread_name_prefix="policy")
        self._stager = ThreadPoolExecutor(max_workers=1, thread_name_prefix="staging")
        self._batcher = Batcher(policy, batching, self._executor, stager=self._stager)
        self._answers: AnswerCache[pb.ModelInferResponse] = AnswerCache(lambda response: response.ByteSize())
        self._regions = Regions(is_offered=listen.address.startswith(UNIX_PREFIX))
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._server: grpc.aio.Server | None = None
        self._socket: Path | None = None
        self._is_ready = False

    @property
    def spec(self) -> PolicySpec:
        """The policy's spec as it is served."""
        return self._spec

    async def start(self) -> str:
        """Starts serving and returns the bound address.

        Raises:
            SetupError: the address is in use, or cannot be had.
        """
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._server = grpc.aio.server(options=_SERVER_OPTIONS)
        self._server.add_generic_rpc_handlers((self._service(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        address = _bind(self._server, self._listen)
        if address.startswith(UNIX_PREFIX):
            self._socket = unix_path(address)
        await self._server.start()
        await self._set_ready(True)
        return address

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Refuses new requests, finishes those in flight within the grace, and frees address and thread."""
        await self._set_ready(False)
        if self._server is not None:
            await self._server.stop(grace_s)
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)
        for executor in (self._executor, self._stager):
            executor.shutdown(wait=False, cancel_futures=True)

    def metrics(self) -> BatcherMetrics:
        """The batcher's totals so far."""
        return self._batcher.metrics()

    async def _set_ready(self, is_ready: bool) -> None:
        self._is_ready = is_ready
        statuses = health_pb2.HealthCheckResponse
        status = statuses.SERVING if is_ready else statuses.NOT_SERVING
        for service in (health.OVERALL_HEALTH, SERVICE_NAME):
            await self._health.set(service, status)

    def _service(self) -> grpc.GenericRpcHandler[bytes, Message]:
        """The protocol's methods. Requests arrive as bytes, so that malformed ones get an answer of ours."""
        methods: dict[str, tuple[type[Message], Method]] = {
            "ServerLive": (pb.ServerLiveRequest, self._server_live),
            "ServerReady": (pb.ServerReadyRequest, self._server_ready),
            "ModelReady": (pb.ModelReadyRequest, self._model_ready),
            "ServerMetadata": (pb.ServerMetadataRequest, self._server_metadata),
            "ModelMetadata": (pb.ModelMetadataRequest, self._model_metadata),
            "ModelInfer": (pb.ModelInferRequest, self._model_infer),
            "SystemSharedMemoryStatus": (pb.SystemSharedMemoryStatusRequest, self._region_status),
            "SystemSharedMemoryRegister": (pb.SystemSharedMemoryRegisterRequest, self._register_region),
            "SystemSharedMemoryUnregister": (pb.SystemSharedMemoryUnregisterRequest, self._unregister_region),
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                self._guarded(request_type, method), response_serializer=lambda message: message.SerializeToString()
            )
            for name, (request_type, method) in methods.items()
        }
        return _Methods(handlers, self._is_authorised)

    def _guarded(self, request_type: type[Message], method: Method) -> Callable[[bytes, Context], Awaitable[Message]]:
        """The method behind parsing, its exceptions turned into status codes."""

        async def call(body: bytes, context: Context) -> Message:
            try:
                return await method(_parsed(request_type, body), context)
            except Exception as error:
                await context.abort(*_status(error))
                raise

        return call

    def _is_authorised(self, metadata: Sequence[tuple[str, str | bytes]]) -> bool:
        if self._listen.token is None:
            return True
        expected = bearer(self._listen.token).encode()
        given = next((value for key, value in metadata if key == AUTHORIZATION), "")
        return hmac.compare_digest(given.encode() if isinstance(given, str) else bytes(given), expected)

    def _check_model(self, name: str) -> None:
        if name not in ("", self._spec.name):
            raise UnknownModelError(f"model: expected {self._spec.name!r}, got {name!r}")

    def _check_version(self, version: str) -> None:
        """Passes where the request is meant for the policy that is served, or does not say."""
        if version not in ("", self._spec.version):
            raise PolicyChanged(
                f"expected the policy that the run began with (version {version}), got {self._spec.described()}; put "
                "its files and versions back and go on with --resume, or start another run"
            )

    async def _server_live(self, _request: pb.ServerLiveRequest, _context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, _request: pb.ServerReadyRequest, _context: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._is_ready)

    async def _model_ready(self, request: pb.ModelReadyRequest, _context: Context) -> pb.ModelReadyResponse:
        self._check_model(request.name)
        return pb.ModelReadyResponse(ready=self._is_ready)

    async def _server_metadata(
        self, _request: pb.ServerMetadataRequest, _context: Context
    ) -> pb.ServerMetadataResponse:
        extensions = [shared_memory.EXTENSION] if self._regions.is_offered else []
        return pb.ServerMetadataResponse(name="ray-eval", version=_version(), extensions=extensions)

    async def _model_metadata(self, request: pb.ModelMetadataRequest, _context: Context) -> pb.ModelMetadataResponse:
        self._check_model(request.name)
        metadata = codec.encode_metadata(self._spec)
        metadata.properties[codec.METRICS_PROPERTY] = json.dumps(dataclasses.asdict(self.metrics()))
        metadata.properties[codec.VERSIONS_PROPERTY] = json.dumps(dict(installed_versions()))
        return metadata

    async def _model_infer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        # Before anything else is looked at: another policy may well read other arrays.
        self._check_version(request.model_version)
        codec.check_id(request)
        contents = codec.contents_of(request, self._regions.find)
        observations = codec.decode_request(request, self._spec, self._max_rows, contents)
        self._check_model(request.model_name)
        if not request.id:
            return await self._rows(observations, "").result()
        return await self._answers.answer(
            request.id,
            lambda: _digest(request, contents),
            lambda: self._rows(observations, request.id),
            lambda: _is_expired(context),
        )

    async def _region_status(
        self, request: pb.SystemSharedMemoryStatusRequest, _context: Context
    ) -> pb.SystemSharedMemoryStatusResponse:
        return self._regions.status(request.name)

    async def _register_region(
        self, request: pb.SystemSharedMemoryRegisterRequest, _context: Context
    ) -> pb.SystemSharedMemoryRegisterResponse:
        self._regions.register(request)
        return pb.SystemSharedMemoryRegisterResponse()

    async def _unregister_region(
        self, request: pb.SystemSharedMemoryUnregisterRequest, _context: Context
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        self._regions.unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    def _rows(self, observations: Sequence[Observation], request_id: str) -> _Rows:
        return _Rows(self._batcher, self._batcher.submit(observations), self._spec, request_id)


class _Methods(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs alone
    """The protocol's methods by name, for those who may call them; of others not one byte of a message is read."""

    def __init__(
        self,
        handlers: Mapping[str, grpc.RpcMethodHandler[bytes, Message]],
        is_authorised: Callable[[Sequence[tuple[str, str | bytes]]], bool],
    ) -> None:
        self._handlers = {f"/{SERVICE_NAME}/{name}": handler for name, handler in handlers.items()}
        self._is_authorised = is_authorised
        # Of a stream nothing is read before it is asked for; a unary method's message is read as a whole first.
        self._refusal = grpc.stream_unary_rpc_method_handler(_refuse)

    def service(self, handler_call_details: Any) -> Any:
        """What answers a call; None where there is no such method."""
        handler = self._handlers.get(handler_call_details.method)
        is_open = handler is None or self._is_authorised(handler_call_details.invocation_metadata)
        return handler if is_open else self._refusal


async def _refuse(_messages: Any, context: Context) -> None:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, UNAUTHENTICATED)


def _bind(server: grpc.aio.Server, listen: ListenSection) -> str:
    """Binds the server and returns the address it has; a socket file that nobody listens on is replaced.

    Raises:
        SetupError: the address is in use, or cannot be had.
    """
    if listen.address.startswith(UNIX_PREFIX):
        remove_stale(unix_path(listen.address))
    try:
        port = _add_port(server, listen)
    except RuntimeError as error:
        raise SetupError(
            f"listen {listen.address!r}: expected a free address of this host, got {error}; choose another port,"
            " or port 0 for any free one"
        ) from error
    if listen.address.startswith(UNIX_PREFIX):
        unix_path(listen.address).chmod(0o600)
        return listen.address
    return f"{listen.address.rpartition(':')[0]}:{port}"


def _add_port(server: grpc.aio.Server, listen: ListenSection) -> int:
    if listen.certificate_pem is None or listen.private_key_pem is None:
        return server.add_insecure_port(listen.address)
    credentials = grpc.ssl_server_credentials([(listen.private_key_pem, listen.certificate_pem)])
    return server.add_secure_port(listen.address, credentials)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of one request on their way through the batcher."""

    batcher: Batcher
    tickets: Sequence[Ticket]
    spec: PolicySpec
    request_id: str

    async def result(self) -> pb.ModelInferResponse:
        try:
            chunks = await self._chunks()
        except asyncio.CancelledError:
            self.withdraw()
            raise
        return codec.encode_response(chunks, self.spec, self.request_id)

    async def _chunks(self) -> list[ActionChunk]:
        if len(self.tickets) == 1:  # without the event loop's turns that gathering takes
            return [await self.tickets[0].answer]
        return await asyncio.gather(*(ticket.answer for ticket in self.tickets))

    def withdraw(self) -> bool:
        return self.batcher.withdraw(self.tickets)


def _digest(request: pb.ModelInferRequest, contents: Sequence[bytes]) -> bytes:
    """SHA-256 of what a request says, whether it sends it or has it in shared memory.

    The images are hashed where they are, and not copied into one message first.
    """
    head = pb.ModelInferRequest(model_name=request.model_name, outputs=request.outputs)
    for tensor in request.inputs:
        head.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    for name, parameter in request.parameters.items():
        head.parameters[name].CopyFrom(parameter)
    digest = hashlib.sha256(head.SerializeToString(deterministic=True))
    for raw in contents:
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.digest()


def _version() -> str:
    """The distribution's version; empty where the package runs from a folder that was never installed."""
    try:
        return importlib.metadata.version("ray-eval")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _is_expired(context: Context) -> bool:
    """Whether the call ended by its deadline, so that the client will come again, rather than by its will."""
    remaining_s = context.time_remaining()
    return remaining_s is not None and remaining_s < EXPIRY_MARGIN_S


def _parsed(request_type: type[Message], body: bytes) -> Message:
    try:
        return request_type.FromString(body)
    except DecodeError as error:
        raise codec.CodecError(f"request: expected a {request_type.DESCRIPTOR.name}, got {error}") from None


def _status(error: Exception) -> tuple[grpc.StatusCode, str]:
    """The status code that tells a client what to do, and the message."""
    details = str(error).encode("ascii", "backslashreplace").decode()[:DETAILS_LIMIT]
    for kind, code in _STATUS_CODES:
        if isinstance(error, kind):
            return code, details
    logger.error("the server broke", exc_info=error)
    return grpc.StatusCode.INTERNAL, f"server: {type(error).__name__}: {details}"


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that runs in a thread of this process."""

    address: str
    """Where it listens."""
    server: PolicyServer
    """The server; its coroutines belong to its own thread's event loop."""

    @property
    def spec(self) -> PolicySpec:
        """What it declares."""
        return self.server.spec

    def metrics(self) -> dict[str, Any]:
        """`BatcherMetrics` as a dictionary."""
        return dataclasses.asdict(self.server.metrics())

    def versions(self) -> dict[str, str]:
        """Versions of this process."""
        return dict(installed_versions())


@contextmanager
def serve_in_thread(
    policy: Policy, listen: ListenSection, batching: BatchingSection, grace_s: float = STOP_GRACE_S
) -> Iterator[RunningServer]:
    """Serves from a thread with an event loop of its own for as long as the context lasts.

    Raises:
        SetupError: the address cannot be had, or must not be had without credentials.
    """
    server = PolicyServer(policy, listen, batching)
    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(
        target=lambda: asyncio.run(_serve_until_told(server, started, grace_s)), name="policy-server", daemon=True
    )
    thread.start()
    try:
        address, loop, stop = started.result()
    except BaseException:
        thread.join()
        raise
    try:
        yield RunningServer(address, server)
    finally:
        with suppress(RuntimeError):  # the loop is closed where the policy took the thread down with it
            loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _serve_until_told(
    server: PolicyServer, started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]], grace_s: float
) -> None:
    stop = asyncio.Event()
    try:
        address = await server.start()
    except Exception as error:  # noqa: BLE001 - raised again in the thread that waits for the address
        await server.stop(0)
        started.set_exception(error)
        return
    started.set_result((address, asyncio.get_running_loop(), stop))
    await stop.wait()
    await server.stop(grace_s)

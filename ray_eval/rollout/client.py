"""The worker's way to the policy: one unary call per chunk, repeated under the same id when it is lost."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import grpc

from ray_eval.errors import ContractError, EpisodeError, PolicyChanged, PolicyUnavailable, RayEvalError, SetupError
from ray_eval.rollout.regions import RegionPool
from ray_eval.sections import ConnectSection
from ray_eval.types import ActionChunk, Observation, PolicySpec
from ray_eval.wire import codec
from ray_eval.wire import open_inference_pb2 as pb
from ray_eval.wire.channel import call_metadata, infer_method, open_channel
from ray_eval.wire.open_inference_pb2_grpc import GRPCInferenceServiceStub
from ray_eval.wire.transport import MESSAGE_LIMIT_BYTES, UNIX_PREFIX

Value = TypeVar("Value")

TRY_TIMEOUT_S = 15.0
"""Longest wait for a single try; a request or an answer that got lost costs this much."""
TRIES_PER_TIMEOUT = 4
"""Least number of tries within `infer_timeout_s`, so that the server is asked in between whether it gets on."""
FIRST_BACKOFF_S = 0.05
"""Pause before the second try; doubled before each later one."""
MAX_BACKOFF_S = 1.0
"""Longest pause between two tries."""
SHORT_BYTES = 64 * 1024
"""So much goes into a socket that nobody reads. For more, gRPC waits past its deadline, until somebody does."""
OVERTIME_S = 1.0
"""A call that has outlived its deadline by so much is left to itself."""

_TRANSIENT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
}
_WAITING = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
"""What a request meets whose turn has not come."""
_ERRORS: dict[grpc.StatusCode, type[RayEvalError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: ContractError,
    grpc.StatusCode.FAILED_PRECONDITION: ContractError,
    grpc.StatusCode.NOT_FOUND: PolicyChanged,
    grpc.StatusCode.UNIMPLEMENTED: ContractError,
    grpc.StatusCode.UNAUTHENTICATED: SetupError,
    grpc.StatusCode.PERMISSION_DENIED: SetupError,
}


class Connection:
    """A channel to wherever the policy server is now; used by one thread.

    Args:
        connect: Says where; asked again at each reconnect. May raise PolicyUnavailable.
        try_timeout_s: Longest wait for a single try.
        clock: Monotonic seconds.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        connect: Callable[[], ConnectSection],
        try_timeout_s: float,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._connect = connect
        self.try_timeout_s = try_timeout_s
        self._sleep = sleep
        self.clock = clock
        self.section = connect()
        self._answered: int | None = None
        self._open()

    def reconnect(self, pause_s: float) -> None:
        """Waits, asks again where the server is, and opens a new channel if it has moved."""
        self._sleep(pause_s)
        try:
            section = self._connect()
        except PolicyUnavailable:
            return
        if section != self.section:
            self.close()
            self.section = section
            self._open()

    def gets_on(self) -> bool:
        """Whether the server has answered anybody since this was asked last; False where that is not known."""
        before, self._answered = self._answered, self._answered_count()
        return None not in (before, self._answered) and before != self._answered

    def _answered_count(self) -> int | None:
        """Requests that the server has answered since its start; None where it does not say."""
        timeout_s = min(self.try_timeout_s, self.section.infer_timeout_s / TRIES_PER_TIMEOUT)
        try:
            said = self.ask_metadata(pb.ModelMetadataRequest(), timeout=timeout_s, metadata=self.metadata)
        except grpc.RpcError:
            return None
        return codec.decode_answered_count(said)

    def close(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        if self.regions is not None:
            self.regions.close()
        # It waits for calls that gRPC cannot end, as those to a server that reads nothing.
        threading.Thread(target=self._channel.close, daemon=True).start()

    def _open(self) -> None:
        self._channel = open_channel(self.section)
        stub = GRPCInferenceServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self.ask_metadata = stub.ModelMetadata
        self.ask_infer = infer_method(self._channel)
        self.metadata = call_metadata(self.section)
        self.regions = RegionPool(stub, self.metadata) if self.section.address.startswith(UNIX_PREFIX) else None


class _AwaitedCall:
    """A call that is made when its result is asked for, in the asker's thread: no other one wakes it up."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._answer: Any = None
        self._is_cancelled = False

    def done(self) -> bool:
        return False

    def cancel(self) -> None:
        self._is_cancelled = True

    def result(self, timeout: float | None = None) -> Any:  # noqa: ARG002 -- the seam's signature; gRPC keeps the time
        if self._answer is None:
            if self._is_cancelled:
                raise grpc.FutureCancelledError
            self._answer = self._make()
        return self._answer


class Request(Protocol):
    """What a method takes, try after try."""

    def message(self) -> Any:
        """What the next try sends."""
        ...

    def settle(self, *, may_be_read: bool) -> None:
        """Nobody waits for a try any more; one that failed or was given up may still be read by the server."""
        ...


class _MetadataRequest:
    """The question what the policy is."""

    def message(self) -> pb.ModelMetadataRequest:
        return pb.ModelMetadataRequest()

    def settle(self, *, may_be_read: bool) -> None:
        pass


class _InferRequest:
    """An observation; its images are in shared memory in the first try, and sent in a repeat.

    The server may have started anew by then, and know of no region.

    Raises:
        ContractError: the observation is not what the policy's spec asks for, or too large.
    """

    def __init__(self, observation: Observation, spec: PolicySpec, request_id: str, regions: RegionPool | None) -> None:
        self._observation, self._spec, self._request_id = observation, spec, request_id
        self._regions = regions
        self._region = None if regions is None else regions.take(codec.image_bytes(observation))
        self._body: bytes | None = None
        try:
            self._body = self._encoded(self._region)
        except BaseException:
            self.settle(may_be_read=False)
            raise

    def message(self) -> bytes:
        if self._body is None:
            self._body = self._encoded(None)
        return self._body

    def _encoded(self, region: codec.Region | None) -> bytes:
        body = codec.encode_request_bytes([self._observation], self._spec, self._request_id, region)
        if len(body) > MESSAGE_LIMIT_BYTES:
            raise ContractError(
                f"request {self._request_id!r}: expected at most {MESSAGE_LIMIT_BYTES} bytes, got {len(body)}"
            )
        return body

    def settle(self, *, may_be_read: bool) -> None:
        if self._regions is None or self._region is None:
            return
        region, self._region, self._body = self._region, None, None
        if may_be_read:
            self._regions.forget(region)
        else:
            self._regions.give_back(region)


class Pending(Generic[Value]):
    """An answer under way; the first try is sent at construction, later ones from within `result`.

    Args:
        connection: Where the request goes.
        method: The connection's method, whatever server it leads to by then.
        request: What the method takes.
        decode: Makes the value of its answer.
        is_awaited: Whether `result` follows at once. All tries are then sent from within it, a millisecond sooner
            each; a signal interrupts the wait in both cases.
    """

    def __init__(
        self,
        connection: Connection,
        method: Callable[[Connection], Any],
        request: Request,
        decode: Callable[[Any], Value],
        *,
        is_awaited: bool,
    ) -> None:
        self._connection = connection
        self._method = method
        self._request: Request | None = request
        self._decode = decode
        self._is_awaited = is_awaited
        self._started_at = connection.clock()
        self._waits_since = self._started_at
        self._finished_at = math.nan
        self._is_cancelled = False
        self._left_at = math.inf
        self._call = self._send()

    @property
    def elapsed_ms(self) -> float:
        """From sending to the answer's arrival, repeats included, in milliseconds; NaN while it is not here."""
        return (self._finished_at - self._started_at) * 1000

    @property
    def is_done(self) -> bool:
        """Whether the present try has ended, with an answer or with an error that `result` may still cure."""
        return bool(self._call.done())

    def cancel(self) -> None:
        """Gives the answer up; the server forgets the request unless its forward has begun."""
        self._is_cancelled = True
        self._call.cancel()
        self._settle(may_be_read=True)

    def result(self) -> Value:
        """Waits for the answer, repeating lost tries until `infer_timeout_s` have passed without it.

        The time begins anew while the server answers others: how many wait before it is nothing that it is to fail of.

        Raises:
            PolicyUnavailable: no answer within the time.
            ContractError: the server refused the request, or the answer is not what the spec says.
            EpisodeError: the policy raised.
            SetupError: the server does not accept the credentials.
            PolicyChanged: it does not serve the policy of the request any more.
        """
        pause_s = FIRST_BACKOFF_S
        while True:
            try:
                answer = self._call.result(timeout=max(0.0, self._left_at - self._connection.clock()))
                self._note_arrival()
                self._settle(may_be_read=False)
                self._request = None  # an episode keeps its answers to the end, and need not keep the images with them
                return self._decode(answer)
            except (grpc.RpcError, grpc.FutureCancelledError, grpc.FutureTimeoutError) as error:
                self._call.cancel()
                self._settle(may_be_read=True)
                self._raise_unless_transient(error)
            except BaseException:  # a signal, in mid-wait
                self._settle(may_be_read=True)
                raise
            self._connection.reconnect(min(pause_s, max(0.0, self._remaining_s())))
            self._call = self._send()
            pause_s = min(2 * pause_s, MAX_BACKOFF_S)

    def _settle(self, *, may_be_read: bool) -> None:
        if self._request is not None:
            self._request.settle(may_be_read=may_be_read)

    def _remaining_s(self) -> float:
        return self._waits_since + self._connection.section.infer_timeout_s - self._connection.clock()

    def _send(self) -> Any:
        assert self._request is not None, "kept until there is an answer"  # noqa: S101 -- for the type
        message, method = self._request.message(), self._method(self._connection)
        if self._is_awaited and (not isinstance(message, bytes) or len(message) <= SHORT_BYTES):
            return _AwaitedCall(lambda: self._start(method, message))
        call = self._start(method.future, message)
        call.add_done_callback(self._end)
        return call

    def _start(self, send: Callable[..., Any], message: Any) -> Any:
        longest_s = self._connection.section.infer_timeout_s / TRIES_PER_TIMEOUT
        timeout_s = min(self._connection.try_timeout_s, longest_s, max(0.001, self._remaining_s()))
        self._left_at = self._connection.clock() + timeout_s + OVERTIME_S
        return send(message, timeout=timeout_s, metadata=self._connection.metadata)

    def _end(self, call: Any) -> None:
        """Called in gRPC's thread, so that the time is the answer's and not that of `result`."""
        if not call.cancelled() and call.code() is grpc.StatusCode.OK:
            self._note_arrival()

    def _note_arrival(self) -> None:
        if math.isnan(self._finished_at):
            self._finished_at = self._connection.clock()

    def _raise_unless_transient(self, error: Exception) -> None:
        address = self._connection.section.address
        code, details = _code_and_details(error)
        if self._is_cancelled:
            raise EpisodeError(f"policy server at {address}: the request was cancelled") from error
        if code not in _TRANSIENT and "RST_STREAM" not in details:
            said = details if code is grpc.StatusCode.NOT_FOUND else f"{code.name}: {details}"
            raise _ERRORS.get(code, EpisodeError)(f"policy server at {address}: {said}") from error
        if code in _WAITING and self._connection.gets_on():
            self._waits_since = self._connection.clock()
        if self._remaining_s() <= 0:
            timeout_s = self._connection.section.infer_timeout_s
            raise PolicyUnavailable(
                f"policy server at {address}: expected an answer within {timeout_s:g} s, got {code.name}: {details};"
                " see the policy actor's log"
            ) from error


def _code_and_details(error: Exception) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, grpc.Call):
        return error.code(), error.details() or ""
    if isinstance(error, grpc.FutureTimeoutError):
        return grpc.StatusCode.DEADLINE_EXCEEDED, "it reads nothing"
    return grpc.StatusCode.CANCELLED, "the channel was closed"


class PolicyClient:
    """A policy on the other end of a connection; used by one thread.

    Args:
        connect: Says where the server is; asked again at each reconnect.
        spec: The policy's spec where it is known already; None asks the server for it when it is first needed.
        try_timeout_s: Longest wait for a single try; a request that expires keeps its place in the server's queue.
        clock: Monotonic seconds.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        connect: Callable[[], ConnectSection],
        spec: PolicySpec | None = None,
        try_timeout_s: float = TRY_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = Connection(connect, try_timeout_s, clock, sleep)
        self._spec = spec

    def spec(self) -> PolicySpec:
        """What the policy needs and answers, asked once; waits for a server that is still starting.

        Raises:
            PolicyUnavailable: no answer within `infer_timeout_s`.
            ContractError: the server declares no spec.
        """
        if self._spec is None:
            pending: Pending[PolicySpec] = Pending(
                self._connection,
                lambda connection: connection.ask_metadata,
                _MetadataRequest(),
                codec.decode_metadata,
                is_awaited=True,
            )
            self._spec = pending.result()
        return self._spec

    def infer(self, observation: Observation, request_id: str, *, is_awaited: bool = False) -> Pending[ActionChunk]:
        """Sends the observation without waiting; an id is used for one observation alone.

        Args:
            observation: What the policy is asked about; not to be changed before the answer, as a repeat is made of it.
            request_id: By which the server knows a repeat.
            is_awaited: Whether the caller asks for the result at once; the observation is then sent from within that.

        Raises:
            ContractError: the observation is not what the policy's spec asks for.
        """
        spec = self.spec()
        return Pending(
            self._connection,
            lambda connection: connection.ask_infer,
            _InferRequest(observation, spec, request_id, self._connection.regions),
            lambda response: codec.decode_response(response, spec)[0],
            is_awaited=is_awaited,
        )

    def close(self) -> None:
        """Closes the connection; answers under way are given up."""
        self._connection.close()

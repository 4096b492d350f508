"""Hundreds of connections that send nothing, slowly, or half a message: what they cost a server is bounded."""

import random
import select
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import grpc
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

import hostile

from ray_eval.wire import open_inference_pb2 as pb
from ray_eval.wire.open_inference_pb2_grpc import GRPCInferenceServiceStub
from ray_eval.wire.transport import AUTHORIZATION, MESSAGE_LIMIT_BYTES, SERVICE_NAME, bearer

TOKEN = "t" * 32
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, WINDOW_UPDATE = 0, 1, 4, 8


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def headers(token: str | None) -> bytes:
    """A call of ModelInfer; every field as a literal of HPACK."""
    fields = {":method": "POST", ":scheme": "http", ":path": f"/{SERVICE_NAME}/ModelInfer", ":authority": "x"}
    fields |= {"content-type": "application/grpc", "te": "trailers"}
    if token is not None:
        fields[AUTHORIZATION] = bearer(token)
    return b"".join(b"\0" + bytes([len(k)]) + k.encode() + bytes([len(v)]) + v.encode() for k, v in fields.items())


class Connection:
    """One that speaks HTTP/2 by hand, and respects the other side's windows, without which it would be hung up on."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.sent = 0
        self._window = self._stream_window = 65_535
        self._input = b""

    def open(self) -> None:
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))

    def call(self, token: str | None) -> None:
        """Begins a message as long as may be."""
        self.open()
        self.socket.sendall(frame(HEADERS, 4, 1, headers(token)))
        self._send(b"\0" + struct.pack(">I", MESSAGE_LIMIT_BYTES - 64))

    def more(self) -> bool:
        """Sends what the windows allow, at most 16 kB; whether it could."""
        self._read()
        length = min(16_000, self._window, self._stream_window)
        if length > 0:
            self._send(b"x" * length)
        return length > 0

    def _send(self, payload: bytes) -> None:
        self.socket.sendall(frame(DATA, 0, 1, payload))
        self.sent += len(payload)
        self._window -= len(payload)
        self._stream_window -= len(payload)

    def _read(self) -> None:
        while select.select([self.socket], [], [], 0)[0]:
            received = self.socket.recv(65536)
            if not received:
                raise ConnectionError
            self._input += received
        while len(self._input) >= 9 and len(self._input) >= 9 + int.from_bytes(self._input[:3], "big"):
            length = int.from_bytes(self._input[:3], "big")
            head, payload, self._input = self._input[:9], self._input[9 : 9 + length], self._input[9 + length :]
            stream = int.from_bytes(head[5:9], "big")
            if head[3] == WINDOW_UPDATE:
                self._grow(stream, int.from_bytes(payload, "big"))
            elif head[3] == SETTINGS and not head[4] & 1:
                for at in range(0, length, 6):
                    if int.from_bytes(payload[at : at + 2], "big") == 4:
                        self._stream_window += int.from_bytes(payload[at + 2 : at + 6], "big") - 65_535
                self.socket.sendall(frame(SETTINGS, 1, 0, b""))
            elif stream == 1 and (head[3] == 3 or (head[3] == HEADERS and head[4] & 1)):
                raise ConnectionError  # the call was ended

    def _grow(self, stream: int, by: int) -> None:
        if stream:
            self._stream_window += by
        else:
            self._window += by


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    token = tmp_path_factory.mktemp("server") / "token"
    token.write_text(TOKEN)
    command = [sys.executable, "-m", "ray_eval", "serve", "random", "--address", "127.0.0.1:0", "--token-file", token]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    line = ""
    while "127.0.0.1:" not in line:
        line = process.stdout.readline()
        assert line
    yield psutil.Process(process.pid), int(line.rpartition(":")[2].split()[0].rstrip(".;,"))
    process.terminate()
    assert process.wait(60) == 0
    process.stdout.close()
    process.stdin.close()


def cost(process: psutil.Process) -> dict[str, float]:
    return {"mb": process.memory_info().rss / 2**20, "descriptors": process.num_fds(), "threads": process.num_threads()}


def is_served(port: int, patience_s: float = 20) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        metadata = ((AUTHORIZATION, bearer(TOKEN)),)
        return (
            GRPCInferenceServiceStub(channel)
            .ServerReady(pb.ServerReadyRequest(), timeout=patience_s, metadata=metadata)
            .ready
        )


def nothing(connection: Connection) -> None:
    pass


def half_a_preface(connection: Connection) -> None:
    connection.socket.sendall(PREFACE[:9])


def settings_alone(connection: Connection) -> None:
    connection.open()


def half_a_message(connection: Connection) -> None:
    connection.call(None)


def pour(connections: list[Connection]) -> None:
    """All send as much as they are let, until nobody may send for a while."""
    idle, going = 0, list(connections)
    while going and idle < 20:
        moved = False
        for connection in list(going):
            try:
                moved |= connection.more()
            except OSError:
                going.remove(connection)
        idle = 0 if moved else idle + 1
        if not moved:
            time.sleep(0.05)


@pytest.mark.parametrize(
    "behave",
    [
        *(pytest.param(each, marks=pytest.mark.nightly) for each in (nothing, half_a_preface, settings_alone)),
        half_a_message,
    ],
)
@pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.nightly)])
def test_connections_of_strangers_cost_a_descriptor_and_little_memory_each(server, behave, count):
    process, port = server
    assert is_served(port)
    before = cost(process)
    connections = [Connection(port) for _ in range(count)]
    for connection in connections:
        behave(connection)
    if behave is half_a_message:
        pour(connections)
    during = cost(process)
    assert is_served(port)
    for connection in connections:
        connection.socket.close()
    deadline = time.monotonic() + 60
    while (after := cost(process))["descriptors"] > before["descriptors"] + 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    print(behave.__name__, count, before, during, after)
    assert during["descriptors"] - before["descriptors"] <= count + 5
    assert during["threads"] - before["threads"] <= 4
    assert during["mb"] - before["mb"] < 0.5 * count
    assert after["descriptors"] <= before["descriptors"] + 2


METHODS = ("ModelInfer", "ModelMetadata", "SystemSharedMemoryRegister", "SystemSharedMemoryStatus", "NoSuchMethod")


@pytest.mark.parametrize("has_token", [True, False])
@pytest.mark.parametrize("count", [200, pytest.param(20_000, marks=pytest.mark.nightly)])
def test_spoilt_requests_of_anybody_are_answered_and_the_server_serves_on(server, has_token, count):
    process, port = server
    draws, codes = random.Random(count), Counter()
    metadata = ((AUTHORIZATION, bearer(TOKEN if has_token else "x" * 32)),)
    before = cost(process)
    with hostile.targets() as found, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        calls = [channel.unary_unary(f"/{SERVICE_NAME}/{name}") for name in METHODS]
        valid = [data for name in ("request", "register", "metadata") for data in found[name][1]]
        for _ in range(count // 100):
            bodies = [hostile.spoilt(draws, draws.choice(valid)) for _ in range(100)]
            asked = [draws.choice(calls).future(body, timeout=60, metadata=metadata) for body in bodies]
            codes.update(call.code().name for call in asked)
    print(has_token, count, dict(codes), before, cost(process))
    refusals = (
        {"INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "ABORTED", "OK"}
        if has_token
        else {"UNAUTHENTICATED", "UNIMPLEMENTED"}
    )
    assert set(codes) <= refusals
    assert is_served(port)
    assert cost(process)["mb"] < before["mb"] + 60

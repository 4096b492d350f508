"""Real gRPC between the server and the worker's client."""

import contextlib
import dataclasses
import os
import pickle
import random
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ray_eval.errors import ContractError, EpisodeError, PolicyUnavailable, SetupError
from ray_eval.rollout.client import PolicyClient
from ray_eval.sections import BatchingSection, ConnectSection, ListenSection
from ray_eval.serving.credentials import new_token, self_signed_certificate
from ray_eval.serving.server import serve_in_thread
from ray_eval.types import IMAGE, STATE, ActionChunk, Observation, PolicySpec
from ray_eval.wire import codec
from ray_eval.wire import open_inference_pb2 as pb
from ray_eval.wire.open_inference_pb2_grpc import GRPCInferenceServiceStub
from ray_eval.wire.transport import AUTHORIZATION, MESSAGE_LIMIT_BYTES, SERVICE_NAME, bearer

SPEC = PolicySpec(name="toy", keys=(IMAGE, STATE), chunk_len=2, batch_invariant=True)
LOOPBACK = ListenSection("127.0.0.1:0")
INVALID = grpc.StatusCode.INVALID_ARGUMENT


class Toy:
    """Answers with the noise seed, once the gate is open; certain seeds are poison."""

    spec = SPEC

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.is_busy = threading.Event()
        self.seen = []
        self.pause_s = 0.0

    def infer_batch(self, observations):
        self.is_busy.set()
        time.sleep(self.pause_s)
        self.gate.wait(20)
        self.seen += [row.noise_seed for row in observations]
        return [self.answer(row) for row in observations]

    def answer(self, row):
        if row.noise_seed == 666:
            raise ValueError("poison")
        value = np.nan if row.noise_seed == 667 else row.noise_seed
        return ActionChunk(np.full((2, 7), value, np.float32), row.policy_state + b"+")


def ask(seed=1, **changes):
    arrays = {IMAGE: np.zeros((8, 8, 3), np.uint8), STATE: np.zeros(8, np.float32)}
    return dataclasses.replace(Observation(arrays, "t", noise_seed=seed), **changes)


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def policy():
    toy = Toy()
    yield toy
    toy.gate.set()


@pytest.fixture
def running(policy):
    with serve_in_thread(policy, LOOPBACK, BatchingSection(max_batch_size=4)) as server:
        yield server


@pytest.fixture
def stub(running):
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(running.address, options) as channel:
        yield GRPCInferenceServiceStub(channel)


@pytest.fixture
def client(running):
    client = client_of(running.address)
    yield client
    client.close()


def client_of(address, **section):
    return PolicyClient(lambda: ConnectSection(address, **section))


def infer_bytes(running, body):
    """The status code that the server answers to a raw ModelInfer."""
    with grpc.insecure_channel(running.address) as channel:
        return code_of(lambda: channel.unary_unary(f"/{SERVICE_NAME}/ModelInfer")(body, timeout=10))


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def encoded(seed=1, request_id=""):
    return codec.encode_request([ask(seed)], SPEC, request_id)


both_ways = pytest.mark.parametrize("is_awaited", [False, True])


@both_ways
def test_an_observation_goes_there_and_a_chunk_comes_back(client, policy, is_awaited):
    assert client.spec() == SPEC
    pending = client.infer(ask(5, policy_state=b"memory"), "run/e/1/0", is_awaited=is_awaited)
    chunk = pending.result()
    assert chunk.actions.shape == (2, 7)
    assert (chunk.actions == 5).all()
    assert chunk.policy_state == b"memory+"
    assert 0 < pending.elapsed_ms < 10_000
    assert (pending.result().actions == 5).all()
    assert policy.seen == [5]


def test_many_clients_share_forwards_and_each_gets_its_own_answer(running, policy):
    def many(worker):
        client = client_of(running.address)
        chunks = [client.infer(ask(100 * worker + i), f"{worker}/{i}").result() for i in range(50)]
        client.close()
        return [int(chunk.actions[0, 0]) - 100 * worker for chunk in chunks]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(many, range(8))) == [list(range(50))] * 8
    metrics = running.metrics()
    assert metrics["requests"] == len(policy.seen) == 400
    assert metrics["batches"] < 400


def test_several_rows_in_one_request_are_split_and_answered_in_order(stub):
    request = codec.encode_request([ask(3), ask(1), ask(2)], SPEC)
    chunks = codec.decode_response(stub.ModelInfer(request), SPEC, row_count=3)
    assert [chunk.actions[0, 0] for chunk in chunks] == [3, 1, 2]


def test_more_rows_than_the_limit_are_refused(stub):
    assert code_of(lambda: stub.ModelInfer(codec.encode_request([ask()] * 5, SPEC))) is INVALID


@pytest.mark.parametrize("kind", ["tcp", "unix", "tls", "tls-other-name", "tls-unix"])
def test_every_kind_of_address_takes_a_token(kind, tmp_path, policy):
    token = new_token()
    pems = self_signed_certificate("policy-host") if kind.startswith("tls") else (None, None)
    address = f"unix:{tmp_path}/policy.sock" if kind.endswith("unix") else "127.0.0.1:0"
    with serve_in_thread(policy, ListenSection(address, token, *pems), BatchingSection()) as server:
        reached = server.address.replace("127.0.0.1", "localhost") if kind == "tls-other-name" else server.address
        client = client_of(reached, token=token, certificate_pem=pems[0])
        assert client.infer(ask(4), "a").result().actions[0, 0] == 4
        client.close()


@pytest.mark.parametrize("given", [None, "wrong", ""])
def test_a_call_without_the_token_is_refused_and_health_is_not(given, policy):
    with serve_in_thread(policy, ListenSection("127.0.0.1:0", "secret"), BatchingSection()) as server:
        client = client_of(server.address, token=given)
        with pytest.raises(SetupError, match="UNAUTHENTICATED"):
            client.spec()
        client.close()
        with grpc.insecure_channel(server.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for service in ("", SERVICE_NAME):
                answer = health.Check(health_pb2.HealthCheckRequest(service=service))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            metadata = ((AUTHORIZATION, bearer("secret")),)
            assert GRPCInferenceServiceStub(channel).ServerLive(pb.ServerLiveRequest(), metadata=metadata).live


@pytest.mark.parametrize(
    ("listen", "message"),
    [
        (ListenSection("0.0.0.0:0"), "no token"),
        (ListenSection("[::]:0", "token"), "no TLS"),
        (ListenSection("192.0.2.1:0", None, b"c", b"k"), "no token"),
        (ListenSection("127.0.0.1:0", None, b"c"), "certificate and its key"),
        (ListenSection("127.0.0.1"), "host:port"),
        (ListenSection("127.0.0.1:http"), "host:port"),
        (ListenSection("unix:/tmp/" + "x" * 108), "at most 107 bytes"),
        (ListenSection("unix:/nowhere-at-all/s"), "folder /nowhere-at-all"),
        (ListenSection("127.0.0.1:0", "to\nken"), "printable"),
    ],
)
def test_an_address_that_must_not_be_had_is_a_setup_error(listen, message, policy):
    with pytest.raises(SetupError, match=message), serve_in_thread(policy, listen, BatchingSection()):
        pass


def test_a_port_that_is_taken_is_a_setup_error(running, policy):
    listen = ListenSection(running.address)
    with pytest.raises(SetupError, match="choose another port"), serve_in_thread(policy, listen, BatchingSection()):
        pass


def test_a_unix_socket_is_private_exclusive_and_gone_afterwards(tmp_path, policy):
    path = tmp_path / "policy.sock"
    listen = ListenSection(f"unix:{path}")
    with serve_in_thread(policy, listen, BatchingSection()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(SetupError, match="a server that runs"), serve_in_thread(policy, listen, BatchingSection()):
            pass
        assert path.exists()
    assert not path.exists()


def test_a_stale_socket_is_replaced_and_another_file_is_not(tmp_path, policy):
    stale, other = tmp_path / "stale.sock", tmp_path / "notes.txt"
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(stale))
    with serve_in_thread(policy, ListenSection(f"unix:{stale}"), BatchingSection()) as server:
        client = client_of(server.address)
        assert client.spec() == SPEC
        client.close()
    other.write_text("mine")
    with pytest.raises(SetupError, match="no socket"):
        serve_in_thread(policy, ListenSection(f"unix:{other}"), BatchingSection()).__enter__()
    assert other.read_text() == "mine"


def test_the_metadata_calls_answer(stub):
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name="toy")).ready
    assert stub.ServerMetadata(pb.ServerMetadataRequest()).name == "ray-eval"
    unknown = pb.ModelMetadataRequest(name="other")
    assert code_of(lambda: stub.ModelMetadata(unknown)) is grpc.StatusCode.NOT_FOUND


def test_a_raising_policy_fails_its_own_request_as_an_episode_error(client):
    with pytest.raises(EpisodeError, match="ValueError: poison") as caught:
        client.infer(ask(666), "a").result()
    assert not isinstance(caught.value, PolicyUnavailable)
    assert client.infer(ask(1), "b").result().actions[0, 0] == 1


def test_a_policy_that_answers_nan_is_a_contract_error(client):
    with pytest.raises(ContractError, match=r"FAILED_PRECONDITION.*finite actions, got nan"):
        client.infer(ask(667), "a").result()


def test_an_observation_that_the_policy_did_not_ask_for_is_never_sent(client, policy):
    with pytest.raises(ContractError, match="expected the keys"):
        client.infer(Observation({STATE: np.zeros(8, np.float32)}, "t"), "a")
    assert not policy.seen


def malformed_bodies(count):
    """Random bytes, truncations, and well-formed messages that ask for the impossible."""
    rng = random.Random(0)
    whole = encoded().SerializeToString()
    yield pickle.dumps({"observation": 1})
    yield b""
    for i in range(count):
        if i % 3 == 0:
            yield rng.randbytes(rng.randrange(1, 400))
        elif i % 3 == 1:
            yield whole[: rng.randrange(1, len(whole) - 1)]
        else:
            spoiled = encoded()
            index = rng.randrange(len(spoiled.inputs))
            spoiled.inputs[index].shape[0] = rng.choice([-1, 0, 2, 2**62, -(2**63)])
            yield spoiled.SerializeToString()


def test_malformed_requests_are_refused_and_the_server_serves_on(running, client, policy):
    with grpc.insecure_channel(running.address) as channel:
        infer = channel.unary_unary(f"/{SERVICE_NAME}/ModelInfer")
        calls = [infer.future(body, timeout=20) for body in malformed_bodies(600)]
        assert {call.code() for call in calls} == {INVALID}
    assert not policy.seen
    assert client.infer(ask(1), "a").result().actions[0, 0] == 1


def test_an_oversized_request_is_refused_and_the_server_serves_on(running, stub, client):
    request = encoded()
    request.raw_input_contents[0] = b"\0" * MESSAGE_LIMIT_BYTES
    assert code_of(lambda: stub.ModelInfer(request)) is grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(ContractError, match="at most 67108864 bytes"):
        client.infer(ask(1, arrays={**ask().arrays, IMAGE: np.zeros((4800, 4800, 3), np.uint8)}), "big")
    assert client.infer(ask(1), "a").result().actions[0, 0] == 1


def test_an_error_message_is_kept_short(stub):
    request = encoded()
    request.inputs[0].name = "\N{SNOWMAN}" * 100_000
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request)
    assert caught.value.code() is INVALID
    assert len(caught.value.details()) <= 1000


def test_a_repeat_under_the_same_id_is_answered_from_memory(stub, policy):
    answers = [stub.ModelInfer(encoded(3, "run/e/1/0")) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert policy.seen == [3]
    assert code_of(lambda: stub.ModelInfer(encoded(4, "run/e/1/0"))) is INVALID


def test_a_repeat_after_a_deadline_gets_the_answer_of_the_first_forward(stub, policy):
    policy.gate.clear()
    late = code_of(lambda: stub.ModelInfer(encoded(3, "a"), timeout=0.2))
    assert late is grpc.StatusCode.DEADLINE_EXCEEDED
    repeat = stub.ModelInfer.future(encoded(3, "a"))
    policy.gate.set()
    assert codec.decode_response(repeat.result(), SPEC)[0].actions[0, 0] == 3
    assert policy.seen == [3]


def test_a_request_that_expires_in_the_queue_keeps_its_place(stub, running, policy):
    policy.gate.clear()
    pendings = [stub.ModelInfer.future(encoded(1, "a"))]
    policy.is_busy.wait(10)
    assert code_of(lambda: stub.ModelInfer(encoded(2, "b"), timeout=0.2)) is grpc.StatusCode.DEADLINE_EXCEEDED
    pendings += [stub.ModelInfer.future(encoded(3, "c")), stub.ModelInfer.future(encoded(2, "b"))]
    wait_until(lambda: running.metrics()["waiting"] == 2)
    policy.gate.set()
    assert all(pending.result() for pending in pendings)
    assert policy.seen == [1, 2, 3]


class LossyProxy(grpc.GenericRpcHandler):
    """Forwards ModelInfer, and loses a seeded share of requests and answers, or says UNAVAILABLE meanwhile."""

    def __init__(self, target, seed):
        self._channel = grpc.insecure_channel(target)
        self._rng = random.Random(seed)
        self.faults = {"request": 0, "answer": 0, "unavailable": 0}

    def service(self, details):
        forward = self._channel.unary_unary(details.method)
        if not details.method.endswith("ModelInfer"):
            return grpc.unary_unary_rpc_method_handler(lambda body, context: forward(body))
        return grpc.unary_unary_rpc_method_handler(lambda body, context: self.infer(forward, body, context))

    def infer(self, forward, body, context):
        fault = self._rng.choices(["request", "answer", "unavailable", None], [1, 1, 1, 7])[0]
        if fault:
            self.faults[fault] += 1
        if fault == "unavailable":
            forward.future(body)
            context.abort(grpc.StatusCode.UNAVAILABLE, "injected")
        answer = None if fault == "request" else forward(body)
        while fault and context.is_active():
            time.sleep(0.005)
        return answer

    def close(self):
        self._channel.close()


@both_ways
def test_lost_requests_and_answers_are_repeated_and_no_row_is_computed_twice(running, policy, is_awaited):
    proxy = LossyProxy(running.address, seed=0)
    server = grpc.server(ThreadPoolExecutor(8), handlers=(proxy,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client = PolicyClient(lambda: ConnectSection(f"127.0.0.1:{port}"), try_timeout_s=0.1, sleep=lambda _: None)
    pendings = (client.infer(ask(i), f"run/{i}", is_awaited=is_awaited) for i in range(100))
    answers = [pending.result().actions[0, 0] for pending in pendings]
    client.close()
    server.stop(None).wait()
    proxy.close()
    assert answers == list(range(100))
    assert policy.seen == list(range(100))
    assert min(proxy.faults.values()) > 3


@pytest.mark.parametrize("request_id", ["", "b"])
def test_a_cancelled_request_that_waits_never_reaches_the_policy(stub, running, policy, request_id):
    policy.gate.clear()
    first = stub.ModelInfer.future(encoded(1, "a"))
    policy.is_busy.wait(10)
    second = stub.ModelInfer.future(encoded(2, request_id))
    wait_until(lambda: running.metrics()["waiting"] == 1)
    second.cancel()
    wait_until(lambda: running.metrics()["waiting"] == 0)
    policy.gate.set()
    first.result()
    assert policy.seen == [1]


def test_a_full_queue_is_resource_exhausted_and_the_client_tries_again(policy):
    policy.gate.clear()
    with serve_in_thread(policy, LOOPBACK, BatchingSection(max_queue=1)) as server:
        clients = [client_of(server.address) for _ in range(3)]
        pendings = [clients[0].infer(ask(0), "0")]
        policy.is_busy.wait(10)
        pendings.append(clients[1].infer(ask(1), "1"))
        wait_until(lambda: server.metrics()["waiting"] == 1)
        with grpc.insecure_channel(server.address) as channel:
            code = code_of(lambda: GRPCInferenceServiceStub(channel).ModelInfer(encoded(9)))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        pendings.append(clients[2].infer(ask(2), "2"))
        threading.Timer(0.2, policy.gate.set).start()
        assert [pending.result().actions[0, 0] for pending in pendings] == [0, 1, 2]
        for client in clients:
            client.close()


def test_stopping_finishes_what_is_in_flight(policy):
    policy.gate.clear()
    with serve_in_thread(policy, LOOPBACK, BatchingSection()) as server:
        client = client_of(server.address)
        pending = client.infer(ask(8), "a")
        policy.is_busy.wait(10)
        threading.Timer(0.2, policy.gate.set).start()
    assert pending.result().actions[0, 0] == 8
    client.close()


@pytest.mark.parametrize("kind", ["port", "unix"])
def test_a_client_outlives_a_server_that_restarts_under_the_same_address(kind, tmp_path, policy):
    listen = ListenSection(f"unix:{tmp_path}/s") if kind == "unix" else LOOPBACK
    policy.gate.clear()
    with serve_in_thread(policy, listen, BatchingSection(), grace_s=0) as server:
        client = client_of(server.address)
        pending = client.infer(ask(5), "a")
        policy.is_busy.wait(10)
    successor = Toy()
    with serve_in_thread(successor, ListenSection(server.address), BatchingSection()):
        assert pending.result().actions[0, 0] == 5
        assert successor.seen == [5]
        assert client.infer(ask(6), "b").result().actions[0, 0] == 6
        client.close()


def test_an_awaited_answer_outlives_a_server_that_dies_in_the_forward(tmp_path, policy):
    listen = ListenSection(f"unix:{tmp_path}/s")
    policy.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        with serve_in_thread(policy, listen, BatchingSection(), grace_s=0):
            client = client_of(listen.address)
            answer = pool.submit(lambda: client.infer(ask(5), "a", is_awaited=True).result())
            policy.is_busy.wait(10)
        successor = Toy()
        with serve_in_thread(successor, listen, BatchingSection()):
            assert answer.result(30).actions[0, 0] == 5
        assert successor.seen == [5]
        client.close()


def test_a_client_follows_a_server_that_moves(policy):
    addresses = []
    with serve_in_thread(policy, LOOPBACK, BatchingSection()) as server:
        addresses.append(server.address)
        client = PolicyClient(lambda: ConnectSection(addresses[-1]))
        client.spec()
    with serve_in_thread(policy, LOOPBACK, BatchingSection()) as server:
        addresses.append(server.address)
        assert client.infer(ask(5), "a").result().actions[0, 0] == 5
        client.close()


class StandingClock:
    """Time passes only in sleeps."""

    def __init__(self):
        self.now_s = 0.0
        self.pauses_s = []

    def __call__(self):
        return self.now_s

    def sleep(self, pause_s):
        self.pauses_s.append(pause_s)
        self.now_s += pause_s


@both_ways
def test_a_server_that_is_not_there_is_unavailable_after_the_timeout(tmp_path, is_awaited):
    clock = StandingClock()
    section = ConnectSection(f"unix:{tmp_path}/none", infer_timeout_s=3.0)
    client = PolicyClient(lambda: section, SPEC, clock=clock, sleep=clock.sleep)
    pending = client.infer(ask(), "a", is_awaited=is_awaited)
    with pytest.raises(PolicyUnavailable, match="expected an answer within 3 s, got UNAVAILABLE"):
        pending.result()
    assert clock.pauses_s[:6] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0]
    assert clock.now_s == pytest.approx(3.0)
    assert np.isnan(pending.elapsed_ms)
    client.close()


def test_a_cancelled_answer_is_not_asked_for_again(client, policy):
    policy.gate.clear()
    client.spec()
    pending = client.infer(ask(1), "a")
    policy.is_busy.wait(10)
    pending.cancel()
    with pytest.raises(EpisodeError, match="cancelled"):
        pending.result()


def test_an_awaited_answer_that_was_cancelled_is_never_asked_for(client, policy):
    pending = client.infer(ask(1), "a", is_awaited=True)
    assert not pending.is_done
    pending.cancel()
    with pytest.raises(EpisodeError, match="cancelled"):
        pending.result()
    assert client.infer(ask(2), "b").result().actions[0, 0] == 2
    assert policy.seen == [2]


@both_ways
def test_a_policy_that_does_not_answer_in_time_is_unavailable(running, policy, is_awaited):
    policy.gate.clear()
    client = PolicyClient(lambda: ConnectSection(running.address, infer_timeout_s=0.5), SPEC, try_timeout_s=0.2)
    with pytest.raises(PolicyUnavailable, match=r"within 0\.5 s, got DEADLINE_EXCEEDED"):
        client.infer(ask(1), "a", is_awaited=is_awaited).result()
    client.close()


def test_a_request_waits_as_long_as_others_are_answered_before_it(policy):
    """What one client alone would get in time, it gets beside any number of others."""
    policy.pause_s, count = 0.3, 12
    with (
        serve_in_thread(policy, LOOPBACK, BatchingSection(max_batch_size=1)) as server,
        ThreadPoolExecutor(count) as pool,
    ):
        clients = [client_of(server.address, infer_timeout_s=2.0) for _ in range(count)]
        answers = [client.infer(ask(n), f"{n}", is_awaited=n % 2 == 0) for n, client in enumerate(clients)]
        found = list(pool.map(lambda pending: pending.result(), answers))
        for client in clients:
            client.close()
    assert [chunk.actions[0, 0] for chunk in found] == list(range(count))


WAIT = """
import signal, sys
import numpy as np
from ray_eval.rollout.client import PolicyClient
from ray_eval.sections import ConnectSection
from ray_eval.types import IMAGE, STATE, Observation

address, is_awaited = sys.argv[1:]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell has put the tests in the background
client = PolicyClient(lambda: ConnectSection(address, infer_timeout_s=3600), try_timeout_s=3600)
observation = Observation({IMAGE: np.zeros((8, 8, 3), np.uint8), STATE: np.zeros(8, np.float32)}, "t", noise_seed=2)
try:
    client.infer(observation, "b", is_awaited=is_awaited == "True").result()
except KeyboardInterrupt:
    sys.exit(2)
finally:
    client.close()
"""


def told_to_end(process, number):
    """The exit code; told again where the exception came in a callback, in which Python can only drop it."""
    while True:
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(60)


@both_ways
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 3), (signal.SIGINT, 2)])
def test_a_signal_ends_the_wait_for_an_answer_and_takes_the_request_back(
    running, stub, policy, number, code, is_awaited
):
    policy.gate.clear()
    first = stub.ModelInfer.future(encoded(1, "a"))
    policy.is_busy.wait(10)
    with subprocess.Popen([sys.executable, "-c", WAIT, running.address, str(is_awaited)]) as process:
        wait_until(lambda: running.metrics()["waiting"] == 1)
        assert told_to_end(process, number) == code
    wait_until(lambda: running.metrics()["waiting"] == 0)
    policy.gate.set()
    first.result()
    assert policy.seen == [1]


SERVE = """
import numpy as np
from ray_eval.sections import BatchingSection, ListenSection
from ray_eval.serving.standalone import serve
from ray_eval.types import STATE, ActionChunk, PolicySpec

class Still:
    spec = PolicySpec(name="still", keys=(STATE,), chunk_len=2)
    def infer_batch(self, observations):
        return [ActionChunk(np.zeros((2, 7), np.float32)) for _ in observations]

serve(Still(), ListenSection("127.0.0.1:0"), BatchingSection())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_of_its_own_says_where_it_is_and_stops_when_told(number):
    process = subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True, env={**os.environ})
    with process:
        address = process.stdout.readline().split("served at ")[1].split()[0]
        client = client_of(address)
        assert client.spec().name == "still"
        client.close()
        process.send_signal(number)
        assert process.wait(15) == 0


def test_a_server_that_stands_still_and_reads_nothing_is_unavailable_in_time(tmp_path):
    """Images that its socket has no room for: gRPC waits for the socket, past its own deadline."""
    seeing = SERVE.replace("keys=(STATE,)", "keys=('observation.images.image',)")
    seeing = seeing.replace('"127.0.0.1:0"', repr(f"unix:{tmp_path}/s"))
    with subprocess.Popen([sys.executable, "-c", seeing], stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().split("served at ")[1].split()[0]
        client = client_of(address, infer_timeout_s=2.0)
        image = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
        observation = Observation({IMAGE: image}, "t")
        assert client.infer(observation, "a", is_awaited=True).result().actions.shape == (2, 7)
        process.send_signal(signal.SIGSTOP)
        # Nobody lets it go on before this has ended, and what it ends with is what closes the client.
        with pytest.raises(PolicyUnavailable, match="got DEADLINE_EXCEEDED"):
            client.infer(observation, "b", is_awaited=True).result()
        client.close()
        process.kill()

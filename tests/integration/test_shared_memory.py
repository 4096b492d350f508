"""Images through shared memory, between real ends: a policy sees the pixels that it is asked about, and none stay."""

import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from test_server import INVALID, LossyProxy, Toy, code_of, wait_until

from ray_eval.errors import EpisodeError
from ray_eval.rollout import regions as worker_regions
from ray_eval.rollout.client import PolicyClient
from ray_eval.sections import BatchingSection, ConnectSection, ListenSection
from ray_eval.serving.regions import Regions, UnknownRegionError
from ray_eval.serving.server import serve_in_thread
from ray_eval.types import IMAGE, STATE, WRIST_IMAGE, ActionChunk, Observation, PolicySpec
from ray_eval.wire import codec, shared_memory
from ray_eval.wire import open_inference_pb2 as pb
from ray_eval.wire.open_inference_pb2_grpc import GRPCInferenceServiceStub

SPEC = PolicySpec(name="looker", keys=(IMAGE, WRIST_IMAGE, STATE), chunk_len=1, batch_invariant=True)
SIZE_PX = 128


class Looker(Toy):
    """Answers with the noise seed, if every pixel of both images belongs to it, else with -1."""

    spec = SPEC

    def answer(self, row):
        expected = images(row.noise_seed)
        is_own = all(np.array_equal(row.arrays[key], expected[key]) for key in expected)
        return ActionChunk(np.full((1, 7), row.noise_seed if is_own else -1, np.float32))


def images(seed, size_px=SIZE_PX):
    pixels = np.random.default_rng(seed).integers(0, 256, (2, size_px, size_px, 3), np.uint8)
    return dict(zip((IMAGE, WRIST_IMAGE), pixels, strict=True))


def ask(seed, size_px=SIZE_PX):
    return Observation({**images(seed, size_px), STATE: np.zeros(8, np.float32)}, "t", noise_seed=seed)


def value(pending):
    return pending.result().actions[0, 0]


def left_behind(pid=None):
    return list(Path("/dev/shm").glob(f"ray-eval-{pid or os.getpid()}-*"))


@pytest.fixture
def policy():
    looker = Looker()
    yield looker
    looker.gate.set()


@pytest.fixture
def listen(tmp_path):
    return ListenSection(f"unix:{tmp_path}/s")


@pytest.fixture
def running(policy, listen):
    with serve_in_thread(policy, listen, BatchingSection(max_batch_size=4)) as server:
        yield server


@pytest.fixture
def stub(running):
    with grpc.insecure_channel(running.address) as channel:
        yield GRPCInferenceServiceStub(channel)


@pytest.fixture
def client(running):
    client = PolicyClient(lambda: ConnectSection(running.address))
    yield client
    client.close()


def registered(stub):
    return dict(stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest()).regions)


@pytest.mark.parametrize("is_awaited", [False, True])
def test_one_region_serves_request_after_request(client, stub, is_awaited):
    assert [value(client.infer(ask(i), f"{i}", is_awaited=is_awaited)) for i in range(20)] == list(range(20))
    (region,) = registered(stub).values()
    assert region.byte_size == 2 * 3 * SIZE_PX**2
    assert not left_behind()


def test_requests_under_way_together_have_regions_of_their_own_or_are_sent(client, policy, stub):
    policy.gate.clear()
    pendings = [client.infer(ask(i), f"{i}") for i in range(worker_regions.MOST_REGIONS + 4)]
    assert len(registered(stub)) == worker_regions.MOST_REGIONS
    policy.gate.set()
    assert [value(pending) for pending in pendings] == list(range(len(pendings)))
    assert [value(client.infer(ask(i), f"again/{i}")) for i in range(4)] == list(range(4))
    assert len(registered(stub)) == worker_regions.MOST_REGIONS


def test_a_larger_observation_gets_a_larger_region(client, stub, policy):
    assert value(client.infer(ask(1), "a")) == 1
    assert value(client.infer(ask(2, 2 * SIZE_PX), "b")) == -1  # the policy expects the pixels of the smaller one
    wait_until(lambda: [region.byte_size for region in registered(stub).values()] == [8 * 3 * SIZE_PX**2])
    assert value(client.infer(ask(3), "c")) == 3


def test_what_was_given_up_is_not_written_to(client, policy, stub):
    policy.gate.clear()
    given_up = client.infer(ask(1), "a")
    assert policy.is_busy.wait(10)
    (name,) = registered(stub)
    given_up.cancel()
    with pytest.raises(EpisodeError, match="cancelled"):
        given_up.result()
    kept = [client.infer(ask(i), f"{i}") for i in (2, 3)]
    seen = policy.answer
    answers = []
    policy.answer = lambda row: answers.append(seen(row).actions[0, 0]) or seen(row)
    policy.gate.set()
    assert [value(pending) for pending in kept] == [2, 3]
    assert answers == [1, 2, 3]
    wait_until(lambda: name not in registered(stub))


def test_the_server_keeps_no_region_of_what_was_given_up_or_of_who_has_left(running, stub):
    client = PolicyClient(lambda: ConnectSection(running.address))
    for i in range(40):
        client.infer(ask(i), f"{i}").cancel()
    assert value(client.infer(ask(1), "a")) == 1
    under_way = client.infer(ask(2), "b")
    wait_until(lambda: len(registered(stub)) == 1)
    client.close()
    assert not registered(stub)
    under_way.cancel()


def test_a_policy_may_keep_what_it_has_seen(client, policy):
    kept, answer = [], policy.answer
    policy.answer = lambda row: kept.append(row.arrays[IMAGE]) or answer(row)
    assert [value(client.infer(ask(i), f"{i}")) for i in (1, 2)] == [1, 2]
    for seed, pixels in zip((1, 2), kept, strict=True):
        np.testing.assert_array_equal(pixels, images(seed)[IMAGE])


def test_an_interrupted_wait_takes_no_region_along(client, policy, stub):
    def interrupt(*_):
        raise KeyboardInterrupt

    client.spec()
    policy.gate.clear()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for i in range(worker_regions.MOST_REGIONS + 2):
            pending = client.infer(ask(i), f"{i}", is_awaited=i % 2 == 0)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(KeyboardInterrupt):
                pending.result()
    finally:
        signal.signal(signal.SIGALRM, before)
    policy.gate.set()
    assert value(client.infer(ask(1), "a")) == 1
    wait_until(lambda: len(registered(stub)) == 1)


def test_several_requests_under_way_follow_a_server_that_moves(policy, tmp_path):
    sections = [ConnectSection(f"unix:{tmp_path}/{name}") for name in ("first", "second")]
    policy.gate.clear()
    client = PolicyClient(lambda: sections[0])
    with serve_in_thread(policy, ListenSection(sections[0].address), BatchingSection(), grace_s=0):
        pendings = [client.infer(ask(i), f"{i}") for i in (1, 2)]
        assert policy.is_busy.wait(10)
    del sections[0]
    with serve_in_thread(Looker(), ListenSection(sections[0].address), BatchingSection()):
        assert [value(pending) for pending in pendings] == [1, 2]
        late = client.infer(ask(3), "3")
        client.close()
        late.cancel()


def test_a_server_that_was_busy_once_is_asked_for_a_region_again(client, stub, tmp_path, monkeypatch):
    theirs = client._connection.regions._stub
    with grpc.insecure_channel(f"unix:{tmp_path}/none") as channel:
        silent = GRPCInferenceServiceStub(channel).SystemSharedMemoryRegister
        with monkeypatch.context() as busy:
            busy.setattr(
                theirs,
                "SystemSharedMemoryRegister",
                lambda request, **_: silent(request, timeout=0.1, wait_for_ready=True),
            )
            assert value(client.infer(ask(1), "a")) == 1
        assert not registered(stub)
    assert value(client.infer(ask(2), "b")) == 2
    assert len(registered(stub)) == 1


@pytest.mark.parametrize("is_awaited", [False, True])
def test_lost_requests_and_answers_are_repeated_with_the_right_pixels(running, policy, tmp_path, is_awaited):
    proxy = LossyProxy(running.address, seed=0)
    server = grpc.server(ThreadPoolExecutor(8), handlers=(proxy,))
    server.add_insecure_port(f"unix:{tmp_path}/proxy")
    server.start()
    section = ConnectSection(f"unix:{tmp_path}/proxy")
    client = PolicyClient(lambda: section, try_timeout_s=0.2, sleep=lambda _: None)
    pendings = (client.infer(ask(i), f"run/{i}", is_awaited=is_awaited) for i in range(60))
    assert [value(pending) for pending in pendings] == list(range(60))
    client.close()
    server.stop(None).wait()
    proxy.close()
    assert policy.seen == list(range(60))
    assert min(proxy.faults.values()) >= 3


def test_a_server_that_starts_anew_gets_the_pixels_and_then_a_region(policy, listen):
    client = PolicyClient(lambda: ConnectSection(listen.address))
    with serve_in_thread(policy, listen, BatchingSection()):
        assert value(client.infer(ask(1), "a")) == 1
    successor = Looker()
    with serve_in_thread(successor, listen, BatchingSection()), grpc.insecure_channel(listen.address) as channel:
        assert [value(client.infer(ask(i), f"{i}")) for i in (2, 3)] == [2, 3]
        assert len(registered(GRPCInferenceServiceStub(channel))) == 1
        client.close()
    assert successor.seen == [2, 3]


def test_a_repeat_is_known_whether_its_pixels_are_sent_or_shared(client, stub, policy):
    assert value(client.infer(ask(5), "run/e/1/0")) == 5
    for _ in range(2):
        response = stub.ModelInfer(codec.encode_request([ask(5)], SPEC, "run/e/1/0"))
        assert codec.decode_response(response, SPEC)[0].actions[0, 0] == 5
    assert policy.seen == [5]
    assert code_of(lambda: stub.ModelInfer(codec.encode_request([ask(6)], SPEC, "run/e/1/0"))) is INVALID


def test_where_there_is_no_memory_the_pixels_are_sent(client, stub, monkeypatch):
    def full(_byte_size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared_memory, "create", full)
    assert [value(client.infer(ask(i), f"{i}")) for i in range(3)] == [0, 1, 2]
    assert not registered(stub)


def test_an_object_larger_than_the_memory_is_not_made():
    memory = os.statvfs("/dev/shm")
    with pytest.raises(OSError, match="No space left"):
        shared_memory.create(memory.f_blocks * memory.f_frsize + 2**20)
    assert not left_behind()


def test_servers_that_other_hosts_may_reach_map_nothing(policy):
    with serve_in_thread(policy, ListenSection("127.0.0.1:0"), BatchingSection()) as server:
        client = PolicyClient(lambda: ConnectSection(server.address))
        assert value(client.infer(ask(1), "a")) == 1
        client.close()
        with grpc.insecure_channel(server.address) as channel:
            stub = GRPCInferenceServiceStub(channel)
            assert not stub.ServerMetadata(pb.ServerMetadataRequest()).extensions
            key, _memory = shared_memory.create(100)
            try:
                request = pb.SystemSharedMemoryRegisterRequest(name="r", key=key, byte_size=100)
                unimplemented = grpc.StatusCode.UNIMPLEMENTED
                assert code_of(lambda: stub.SystemSharedMemoryRegister(request)) is unimplemented
                nothing = pb.SystemSharedMemoryStatusRequest()
                assert code_of(lambda: stub.SystemSharedMemoryStatus(nothing)) is unimplemented
            finally:
                shared_memory.unlink(key)


KILLED = """
import os, signal, sys
import numpy as np
from ray_eval.rollout.client import PolicyClient
from ray_eval.sections import ConnectSection
from ray_eval.types import IMAGE, STATE, WRIST_IMAGE, Observation

client = PolicyClient(lambda: ConnectSection(sys.argv[1]))
pixels = np.zeros((128, 128, 3), np.uint8)
client.infer(Observation({IMAGE: pixels, WRIST_IMAGE: pixels, STATE: np.zeros(8, np.float32)}, "t"), "a").result()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_that_is_killed_leaves_nothing_behind(running, stub):
    process = subprocess.Popen([sys.executable, "-c", KILLED, running.address])
    assert process.wait(30) == -signal.SIGKILL
    assert len(registered(stub)) == 1
    assert not left_behind(process.pid)


@pytest.fixture
def memory():
    key, content = shared_memory.create(1000)
    content[:] = bytes(range(250)) * 4
    yield key
    shared_memory.unlink(key)


def register(key, name="r", offset=0, byte_size=1000):
    return pb.SystemSharedMemoryRegisterRequest(name=name, key=key, offset=offset, byte_size=byte_size)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": "/there-is-none"}, "No such file"),
        ({"key": "/../../etc/passwd"}, "expected the key"),
        ({"key": "/.."}, "expected the key"),
        ({"key": "no-slash"}, "expected the key"),
        ({"key": ""}, "expected the key"),
        ({"byte_size": 0}, "expected 0 bytes at 0"),
        ({"byte_size": 1001}, "got 1000 in all"),
        ({"offset": 1, "byte_size": 1000}, "got 1000 in all"),
        ({"offset": 2**63, "byte_size": 10}, "got 1000 in all"),
        ({"byte_size": 2**40}, "at most 67108864 bytes"),
        ({"name": ""}, "a name of 1 to 255 letters"),
        ({"name": "x" * 256}, "a name of 1 to 255 letters"),
    ],
)
def test_memory_that_is_not_there_is_refused(stub, memory, changes, message):
    with pytest.raises(grpc.RpcError, match=message) as caught:
        stub.SystemSharedMemoryRegister(register(**{"key": memory, **changes}))
    assert caught.value.code() is INVALID
    assert not registered(stub)


def test_something_else_than_an_object_is_refused(stub):
    folder, link, pipe = (Path(f"/dev/shm/ray-eval-{os.getpid()}-{kind}") for kind in ("folder", "link", "pipe"))
    folder.mkdir()
    link.symlink_to("/etc/passwd")
    os.mkfifo(pipe)
    try:
        for path in (folder, link, pipe):
            assert code_of(lambda path=path: stub.SystemSharedMemoryRegister(register(f"/{path.name}"))) is INVALID
    finally:
        folder.rmdir()
        link.unlink()
        pipe.unlink()


def test_a_name_is_taken_once_and_can_be_given_back(stub, memory):
    stub.SystemSharedMemoryRegister(register(memory, offset=10, byte_size=20))
    assert code_of(lambda: stub.SystemSharedMemoryRegister(register(memory))) is grpc.StatusCode.ALREADY_EXISTS
    (status,) = stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest(name="r")).regions.values()
    assert (status.name, status.key, status.offset, status.byte_size) == ("r", memory, 10, 20)
    assert list(stub.ServerMetadata(pb.ServerMetadataRequest()).extensions) == ["system_shared_memory"]
    stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest(name="r"))
    assert not registered(stub)
    unknown = pb.SystemSharedMemoryStatusRequest(name="r")
    assert code_of(lambda: stub.SystemSharedMemoryStatus(unknown)) is grpc.StatusCode.ABORTED
    for name in ("a", "b"):
        stub.SystemSharedMemoryRegister(register(memory, name))
    stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest())
    assert not registered(stub)


def shared(request, **parameters):
    """The request with the first image's content taken away and these parameters in its place."""
    tensor = request.inputs[0]
    assert tensor.name == IMAGE
    del request.raw_input_contents[0]
    for name, found in parameters.items():
        field = "string_param" if isinstance(found, str) else "int64_param"
        setattr(tensor.parameters[f"shared_memory_{name}"], field, found)
    return request


def test_a_request_of_any_client_may_point_into_a_region(stub, policy):
    pixels = ask(7).arrays[IMAGE].tobytes()
    key, content = shared_memory.create(100 + len(pixels))
    content[100:] = pixels
    stub.SystemSharedMemoryRegister(register(key, offset=40, byte_size=60 + len(pixels)))
    shared_memory.unlink(key)
    request = shared(codec.encode_request([ask(7)], SPEC), region="r", offset=60, byte_size=len(pixels))
    assert codec.decode_response(stub.ModelInfer(request), SPEC)[0].actions[0, 0] == 7


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"region": "other", "byte_size": 10}, grpc.StatusCode.ABORTED),
        ({"byte_size": 10}, grpc.StatusCode.ABORTED),
        ({"region": "r"}, INVALID),
        ({"region": "r", "byte_size": 1001}, INVALID),
        ({"region": "r", "byte_size": 1000, "offset": 1}, INVALID),
        ({"region": "r", "byte_size": 1000, "offset": -1}, INVALID),
        ({"region": "r", "byte_size": 2**63 - 1, "offset": 2**63 - 1}, INVALID),
        ({"region": "r", "byte_size": 1000}, INVALID),
        ({"region": 5, "byte_size": 1000}, grpc.StatusCode.ABORTED),
    ],
)
def test_content_that_is_not_in_the_region_is_refused(stub, memory, policy, parameters, code):
    stub.SystemSharedMemoryRegister(register(memory))
    request = shared(codec.encode_request([ask(7)], SPEC), **parameters)
    assert code_of(lambda: stub.ModelInfer(request)) is code
    assert not policy.seen


def test_a_region_that_was_cut_short_is_refused_and_the_server_goes_on(running, stub, policy):
    pixels = ask(7).arrays[IMAGE].tobytes()
    key, _content = shared_memory.create(len(pixels))
    stub.SystemSharedMemoryRegister(register(key, byte_size=len(pixels)))
    os.truncate(f"/dev/shm{key}", 4096)
    request = shared(codec.encode_request([ask(7)], SPEC), region="r", byte_size=len(pixels))
    with pytest.raises(grpc.RpcError, match="bytes at 0, got 4096; its owner has cut it short") as caught:
        stub.ModelInfer(request)
    assert caught.value.code() is INVALID
    os.truncate(f"/dev/shm{key}", len(pixels))
    shared_memory.unlink(key)
    assert not policy.seen
    answer = stub.ModelInfer(codec.encode_request([ask(8)], SPEC))
    assert codec.decode_response(answer, SPEC)[0].actions[0, 0] == 8


def test_no_descriptor_stays_of_a_region_that_was_given_back(stub, memory):
    def held():
        return sum(os.path.realpath(path).startswith(f"/dev/shm{memory}") for path in Path("/proc/self/fd").iterdir())

    before = held()
    for name in "abc":
        stub.SystemSharedMemoryRegister(register(memory, name))
    assert held() == before + 3
    stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest())
    assert held() == before


def test_a_request_with_an_id_of_a_book_is_refused(stub, policy):
    request = codec.encode_request([ask(7)], SPEC, "x" * (codec.MAX_ID_BYTES + 1))
    with pytest.raises(grpc.RpcError, match="expected an id of at most 1024 bytes, got 1025 letters") as caught:
        stub.ModelInfer(request)
    assert caught.value.code() is INVALID
    umlauts = codec.encode_request([ask(7)], SPEC, "ü" * codec.MAX_ID_BYTES)
    assert code_of(lambda: stub.ModelInfer(umlauts)) is INVALID
    assert not policy.seen
    response = stub.ModelInfer(codec.encode_request([ask(7)], SPEC, "x" * codec.MAX_ID_BYTES))
    assert len(response.id) == codec.MAX_ID_BYTES


def test_an_answer_into_shared_memory_is_refused(stub, memory):
    stub.SystemSharedMemoryRegister(register(memory))
    request = codec.encode_request([ask(7)], SPEC)
    request.outputs.add(name="action").parameters["shared_memory_region"].string_param = "r"
    with pytest.raises(grpc.RpcError, match="an answer is small"):
        stub.ModelInfer(request)


def test_random_parameters_break_no_server(stub, memory, policy):
    draws = random.Random(0)
    stub.SystemSharedMemoryRegister(register(memory))
    for _ in range(200):
        parameters = {
            name: draws.choice([-1, 0, 7, 1000, 2**31, 2**63 - 1, "r", "", "x"])
            for name in ("region", "offset", "byte_size")
            if draws.random() < 0.8
        }
        assert code_of(
            lambda found=parameters: stub.ModelInfer(shared(codec.encode_request([ask(7)], SPEC), **found))
        ) in (
            INVALID,
            grpc.StatusCode.ABORTED,
        )
    assert not policy.seen


def test_of_too_many_regions_the_one_unused_for_longest_goes(memory):
    regions = Regions(is_offered=True, most=2)
    for name in ("a", "b"):
        regions.register(register(memory, name))
    assert regions.find("a").read(0, 3) == b"\0\1\2"
    regions.register(register(memory, "c"))
    assert set(regions.status("").regions) == {"a", "c"}
    with pytest.raises(UnknownRegionError, match="send the content itself"):
        regions.find("b")

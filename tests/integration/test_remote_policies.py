"""Policies on other servers, over real websockets and real gRPC, against the real packages of those servers."""

import asyncio
import contextlib
import dataclasses
import json
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import grpc
import numpy as np
import openpi_client.msgpack_numpy as openpi_codec
import pytest
from openpi_client.websocket_client_policy import WebsocketClientPolicy
from vla_eval.model_servers.predict import PredictModelServer
from vla_eval.model_servers.serve import serve_async
from vla_eval.specs import GRIPPER_CLOSE_POS, IMAGE_RGB, LANGUAGE, POSITION_DELTA, ROTATION_AA
from websockets.asyncio.server import serve

import ray_eval
from ray_eval.errors import ConfigError, ContractError, EpisodeError, PolicyChanged, PolicyUnavailable, SetupError
from ray_eval.policies import make_policy
from ray_eval.policies.contract import continued, trial_observation
from ray_eval.policies.fake import FakePolicy
from ray_eval.policies.remote.lerobot_wire import read_actions
from ray_eval.policies.remote.packing import pack, unpack
from ray_eval.sections import (
    BatchingSection,
    KservePolicySection,
    LeRobotServerPolicySection,
    ListenSection,
    Names,
    OpenpiPolicySection,
    OraclePolicy,
    ReplayPolicy,
    VlaEvalPolicySection,
)
from ray_eval.serving.determinism import load_policy, prove
from ray_eval.serving.server import serve_in_thread
from ray_eval.testing import check_policy
from ray_eval.types import IMAGE, STATE, WRIST_IMAGE, Observation, PolicySpec
from ray_eval.wire import open_inference_pb2 as pb
from ray_eval.wire.open_inference_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
QUICK_S = 5.0
RUN_WARNINGS = ("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_kept():
    yield
    ray_eval.release()


def observation(seed=0, step=0, keys=(IMAGE, WRIST_IMAGE, STATE), **changes):
    row = trial_observation(PolicySpec("p", keys, 1, image_size_px=32), seed)
    return dataclasses.replace(row, step=step, **changes)


class Loop:
    """An event loop in a thread; servers live in it until they are told to stop."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture(scope="module")
def loop():
    loop = Loop()
    yield loop
    loop.close()


class OpenpiServer:
    """Speaks as openpi's `serve_policy.py`: metadata first, then an answer per observation, packed by openpi's codec.

    The task tells it what to do wrong.
    """

    def __init__(self, loop, port=0):
        self.loop, self.port = loop, port
        self.seen, self.connections, self.gate = [], 0, threading.Event()
        self.model = "pi05"
        self.metadata, self.answers = None, None
        self.gate.set()

    def __enter__(self):
        self.server = self.loop.run(self._start())
        self.port = self.server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_):
        self.loop.run(self._stop())

    async def _start(self):
        return await serve(self._handle, "127.0.0.1", self.port, compression=None, max_size=None)

    async def _stop(self):
        self.server.close()
        await self.server.wait_closed()

    async def _handle(self, socket):
        self.connections += 1
        metadata = {"model": self.model, "action_horizon": 10} if self.metadata is None else self.metadata
        await socket.send(openpi_codec.packb(metadata))
        async for message in socket:
            seen = openpi_codec.unpackb(message)
            self.seen.append(seen)
            await asyncio.to_thread(self.gate.wait)
            answer = self.answer(seen)
            await socket.send(answer)
            if isinstance(answer, str):  # as openpi's server does after a traceback
                await socket.close(1011, "Internal server error")

    def answer(self, seen):
        if self.answers is not None:
            return self.answers
        wrong = {
            "raise": "Traceback (most recent call last):\n  ...\nKeyError: 'observation/image'\n",
            "garbage": b"\xc1\x00 what?",
            "objects": openpi_codec.packb(
                {"actions": {b"__ndarray__": True, b"data": b"", b"dtype": "O", b"shape": [0]}}
            ),
            "torn": openpi_codec.packb(
                {"actions": {b"__ndarray__": True, b"data": b"12", b"dtype": "<f4", b"shape": [9]}}
            ),
            "another": openpi_codec.packb({"answer": 1}),
            "shape": openpi_codec.packb({"actions": np.zeros((3, 7))}),
            "nan": openpi_codec.packb({"actions": np.full((10, 7), np.nan)}),
        }.get(seen["prompt"])
        return wrong or openpi_codec.packb(
            {"actions": np.full((10, 7), self.value(seen)), "policy_timing": {"ms": 1.5}}
        )

    def value(self, seen):
        mean = seen["observation/image"].mean() + seen["observation/wrist_image"].max()
        return (mean + len(seen["prompt"])) / 1000 + seen["observation/state"].sum()


def forged(data, dtype, shape):
    return openpi_codec.packb({"actions": {b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": shape}})


@pytest.fixture
def openpi(loop):
    with OpenpiServer(loop) as server:
        yield server


def openpi_policy(*servers, **settings):
    section = {"addresses": tuple(server.address for server in servers), "timeout_s": QUICK_S, **settings}
    return make_policy(OpenpiPolicySection(**section))


@pytest.mark.filterwarnings("ignore:connect\\(\\) must be used:DeprecationWarning")
def test_openpi_is_asked_as_its_own_client_asks(openpi):
    policy = openpi_policy(openpi)
    check_policy(policy)
    row = observation(task="pick up the bowl")
    openpi.seen.clear()
    (chunk,) = policy.infer_batch([row])
    theirs = WebsocketClientPolicy("127.0.0.1", openpi.port)
    request = {
        "observation/image": row.arrays[IMAGE],
        "observation/wrist_image": row.arrays[WRIST_IMAGE],
        "observation/state": row.arrays[STATE],
        "prompt": "pick up the bowl",
    }
    answer = theirs.infer(request)
    assert np.array_equal(chunk.actions, answer["actions"].astype(np.float32))
    ours, reference = openpi.seen
    assert ours.keys() == reference.keys()
    assert all(np.array_equal(ours[key], reference[key]) for key in ours)
    assert theirs.get_server_metadata() == {"model": "pi05", "action_horizon": 10}
    theirs._ws.close()


def test_openpis_codec_reads_ours_and_ours_reads_openpis():
    value = {"a": np.arange(6, dtype=np.uint8).reshape(2, 3), "b": np.float32(0.5), "c": ["x", 1], "d": np.ones(3)}
    back = openpi_codec.unpackb(pack(value, "bytes_keys"))
    there = unpack(openpi_codec.packb(value), "here")
    for read in (back, there):
        assert np.array_equal(read["a"], value["a"])
        assert (float(read["b"]), read["c"]) == (0.5, ["x", 1])
        assert np.array_equal(read["d"], value["d"])


def test_the_spec_comes_from_the_servers_first_answer_and_promises_no_bytes(openpi):
    spec = openpi_policy(openpi).spec
    assert (spec.chunk_len, spec.action_dim, spec.is_reproducible) == (10, 7, False)
    assert spec.runtime["server_metadata"] == '{"action_horizon": 10, "model": "pi05"}'
    assert "draws its own noise" in spec.remarks[0]


def test_a_server_is_asked_for_its_shape_with_as_many_state_numbers_as_its_policy_reads(openpi):
    assert openpi_policy(openpi, state_dim=9).spec.state_dim == 9
    assert openpi.seen[-1]["observation/state"].shape == (9,)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("raise", r"expected actions, got KeyError: 'observation/image'"),
        ("garbage", "expected msgpack, got 8 bytes that are none"),
        ("objects", "expected an array of numbers, got object"),
        ("torn", "expected 36 bytes, got 2"),
        ("another", r"expected 'actions' or 'action', got \['answer'\]; write policy.rename.action=NAME"),
        ("shape", r"expected actions of shape \(10, 7\), got \(3, 7\)"),
        ("nan", "expected finite actions"),
    ],
)
def test_what_a_server_does_wrong_costs_an_attempt_and_not_the_next(openpi, wrong, said):
    policy = openpi_policy(openpi)
    with pytest.raises(EpisodeError, match=rf"policy server at {openpi.address}: .*{said}"):
        policy.infer_batch([observation(task=wrong)])
    assert len(policy.infer_batch([observation()])) == 1


def test_one_bad_row_leaves_the_others_of_its_batch_alone(openpi):
    policy = openpi_policy(openpi, connections=3)
    tasks = ["a", "garbage", "b"]
    outcomes = policy.infer_rows([observation(task=task) for task in tasks])
    assert [isinstance(outcome, EpisodeError) for outcome in outcomes] == [False, True, False]


def test_a_server_that_restarts_is_found_again(loop, openpi):
    policy = openpi_policy(openpi)
    before = policy.infer_batch([observation()])[0].actions
    openpi.__exit__()
    later = threading.Timer(0.5, openpi.__enter__)
    later.start()
    after = policy.infer_batch([observation()])[0].actions
    later.join()
    assert np.array_equal(before, after)
    assert openpi.connections == 3  # twice at the start, for what differs between connections


def test_an_openpi_server_that_comes_back_as_another_ends_the_run(openpi):
    policy = openpi_policy(openpi)
    openpi.__exit__()
    openpi.model = "pi0"
    openpi.__enter__()
    with pytest.raises(PolicyChanged, match=r"expected what the run began with, .*pi05.*, got .*pi0"):
        policy.infer_batch([observation()])


def test_a_time_stamp_in_the_metadata_is_no_other_policy_and_what_the_user_names_is_none_either(openpi):
    openpi.metadata = {b"model": "pi05", "started_at": 1.0, "gpu": "a"}
    policy, strict = openpi_policy(openpi, ignore_metadata=("gpu",)), openpi_policy(openpi)
    openpi.__exit__()
    openpi.metadata = {b"model": "pi05", "started_at": 2.0, "gpu": "b"}
    openpi.__enter__()
    assert len(policy.infer_batch([observation()])) == 1
    with pytest.raises(
        PolicyChanged, match=r"gpu: .*, got .*policy\.ignore_metadata=\[gpu\] if it is not the policy's"
    ):
        strict.infer_batch([observation()])


@pytest.mark.parametrize(
    ("answer", "rename"),
    [
        ({"actions": np.ones((1, 10, 7))}, {}),
        ({"action": np.ones((10, 7))}, {}),
        ({"data": {"actions": np.ones((1, 10, 7), np.float32)}, "status": "ok"}, {}),
        ({"chunk": np.ones((10, 7)), "actions": np.zeros((10, 7))}, {"action": "chunk"}),
        ({"a": {"x": np.ones((10, 7))}, "b": {"x": np.zeros((10, 7))}}, {"action": "a.x"}),
    ],
)
def test_servers_like_openpis_answer_under_other_keys_in_envelopes_and_with_a_batch_axis(openpi, answer, rename):
    openpi.answers = openpi_codec.packb(answer)
    policy = openpi_policy(openpi, rename=Names(rename))
    assert np.array_equal(policy.infer_batch([observation()])[0].actions, np.ones((10, 7)))


@pytest.mark.parametrize("shape", [(100_000, 7), (2, 10, 7), (10, 1, 7)])
def test_what_is_no_chunk_is_refused_at_the_start(openpi, shape):
    openpi.answers = openpi_codec.packb({"actions": np.zeros(shape, np.float32)})
    with pytest.raises(SetupError, match=rf"got \({shape[0]}, "):
        openpi_policy(openpi)


def test_a_server_that_says_nothing_of_its_checkpoint_is_remarked_on(openpi):
    openpi.metadata = {}
    assert "says nothing of its checkpoint" in openpi_policy(openpi).spec.remarks[-1]


def test_a_slow_server_is_given_up_in_time_and_its_late_answer_is_nobody_elses(openpi):
    policy = openpi_policy(openpi, timeout_s=0.5)
    openpi.gate.clear()
    with pytest.raises(PolicyUnavailable, match=r"within 0\.5 s, got no answer within"):
        policy.infer_batch([observation(task="the first")])
    openpi.gate.set()
    fast, again = (policy.infer_batch([observation(task="the second one")])[0].actions for _ in range(2))
    assert np.array_equal(fast, again)


def test_a_server_that_is_down_is_one_clear_error_at_the_start():
    with pytest.raises(SetupError, match=r"127\.0\.0\.1:1: expected an answer within 1 s.*policy\.addresses"):
        make_policy(OpenpiPolicySection(addresses=("127.0.0.1:1",), timeout_s=1.0))


def test_of_several_servers_the_least_loaded_is_asked_and_one_that_is_down_is_passed_over(loop, openpi):
    with OpenpiServer(loop) as second:
        policy = openpi_policy(openpi, second, connections=2)
        for server in (openpi, second):
            server.seen.clear()
            server.gate.clear()
        with ThreadPoolExecutor(1) as pool:
            answers = pool.submit(policy.infer_batch, [observation(seed) for seed in range(4)])
            deadline = time.monotonic() + 10
            while len(openpi.seen) + len(second.seen) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert openpi.seen
            assert second.seen
            for server in (openpi, second):
                server.gate.set()
            alone = openpi_policy(openpi)
            for chunk, seed in zip(answers.result(), range(4), strict=True):
                assert np.array_equal(chunk.actions, alone.infer_batch([observation(seed)])[0].actions)
    openpi.seen.clear()
    assert len(policy.infer_batch([observation(seed) for seed in range(4)])) == 4
    assert len(openpi.seen) == 4


# --- vla-eval's real model server ---


class Counting(PredictModelServer):
    """Row i of its n-th chunk is n + i / 10; the task may ask for trouble."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.calls = {}
        self.seen = []

    def predict(self, obs, ctx):
        if obs["task_description"] == "trouble":
            raise ValueError("no such task")
        self.seen.append(obs)
        self.calls[ctx.episode_id] = self.calls.get(ctx.episode_id, 0) + 1
        rows = self.calls[ctx.episode_id] + np.arange(4, dtype=np.float32)[:, None] / 10
        return {"actions": np.tile(rows, (1, 7))}

    def get_observation_params(self):
        return {"send_wrist_image": True, "send_state": True, "quat_no_antipodal": True}

    def get_action_spec(self):
        return {"position": POSITION_DELTA, "rotation": ROTATION_AA, "gripper": GRIPPER_CLOSE_POS}

    def get_observation_spec(self):
        return {"agentview": IMAGE_RGB, "language": LANGUAGE}


@contextlib.contextmanager
def vla_eval_server(**settings):
    """vla-eval's own server in a thread of its own."""
    model, ready, done = Counting(**settings), threading.Event(), threading.Event()
    box = {}

    async def main():
        async with anyio.create_task_group() as group:
            box["port"] = await group.start(serve_async, model, "127.0.0.1", 0)
            ready.set()
            await anyio.to_thread.run_sync(done.wait)
            group.cancel_scope.cancel()

    thread = threading.Thread(target=anyio.run, args=(main,), daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield model, f"127.0.0.1:{box['port']}"
    finally:
        done.set()
        thread.join(20)


def vla_eval_policy(*addresses, **settings):
    return make_policy(VlaEvalPolicySection(addresses=addresses, **{"timeout_s": QUICK_S, **settings}))


def values(policy, *observations):
    return [float(chunk.actions[0, 0]) for chunk in policy.infer_batch(observations)]


class Running:
    """An episode that asks at each step and hands back what it was given, as a worker's queue does."""

    def __init__(self, init_state_id=0):
        self.now = observation(init_state_id=init_state_id)

    @staticmethod
    def values(policy, *episodes):
        chunks = policy.infer_batch([episode.now for episode in episodes])
        for episode, chunk in zip(episodes, chunks, strict=True):
            episode.now = continued(episode.now, chunk)
        return [float(chunk.actions[0, 0]) for chunk in chunks]


def test_vla_evals_model_server_is_asked_at_every_step_and_episodes_do_not_mix():
    with vla_eval_server(chunk_size=4) as (model, address):
        policy = vla_eval_policy(address)
        assert policy.spec.keys == (IMAGE, WRIST_IMAGE, STATE)
        assert (policy.spec.chunk_len, policy.spec.is_reproducible) == (1, False)
        assert "quat_no_antipodal" in policy.spec.remarks[1]
        episodes = [Running(0), Running(1)]
        found = [Running.values(policy, *episodes) for _ in range(6)]
        assert np.allclose(found, [[v, v] for v in (1.0, 1.1, 1.2, 1.3, 2.0, 2.1)])
        assert np.allclose(values(policy, observation(0, 0, init_state_id=0)), [1.0])  # another attempt begins anew
        seen = model.seen[-1]
        row = observation(0, 0, init_state_id=0)
        assert np.array_equal(seen["images"]["agentview"], row.arrays[IMAGE])
        assert np.array_equal(seen["images"]["wrist"], row.arrays[WRIST_IMAGE])
        assert np.array_equal(seen["states"], row.arrays[STATE])


def test_the_same_episode_of_two_sweep_points_is_two_sessions():
    with vla_eval_server(chunk_size=4) as (_, address):
        policy = vla_eval_policy(address, connections=3)
        one, other = Running(), Running()
        found = {one: [], other: []}
        for episode in (one, one, one, other, one, other, other, one, other, one):
            found[episode] += Running.values(policy, episode)
        assert np.allclose(found[one], (1.0, 1.1, 1.2, 1.3, 2.0, 2.1))
        assert np.allclose(found[other], (1.0, 1.1, 1.2, 1.3))


def test_a_vla_eval_server_that_sends_whole_chunks_is_asked_once_for_each():
    with vla_eval_server() as (_, address):
        policy = vla_eval_policy(address)
        assert policy.spec.chunk_len == 4
        prove(policy, BatchingSection())


def test_what_vla_evals_server_cannot_do_costs_an_attempt():
    with vla_eval_server(chunk_size=4) as (_, address):
        policy = vla_eval_policy(address)
        with pytest.raises(EpisodeError, match="ValueError: no such task"):
            policy.infer_batch([observation(task="trouble")])
        with pytest.raises(EpisodeError, match="expected its session with the server, got none"):
            policy.infer_batch([observation(step=3)])
        assert np.allclose(values(policy, observation()), [1.0])


def test_a_vla_eval_server_that_went_away_takes_its_episodes_along_and_a_new_one_is_found():
    with vla_eval_server(chunk_size=4) as (_, first), vla_eval_server(chunk_size=4) as (_, second):
        policy = vla_eval_policy(first, second, connections=2)
        episodes = [Running(i) for i in range(3)]
        assert np.allclose([*Running.values(policy, episodes[0]), *Running.values(policy, episodes[1])], [1.0, 1.0])
        assert {session.address for session in policy._sessions.values()} == {first, second}
        assert np.allclose(Running.values(policy, episodes[2]), [1.0])  # in the place of the oldest
        with pytest.raises(EpisodeError, match=r"policy\.connections is too small"):
            Running.values(policy, episodes[0])
    with pytest.raises(SetupError, match=r"policy\.addresses"):
        vla_eval_policy(first, timeout_s=0.5)


# --- the Open Inference Protocol ---


def kserve(*addresses, **settings):
    return make_policy(KservePolicySection(addresses=addresses, timeout_s=QUICK_S, **settings))


def test_a_server_of_ours_is_a_policy_with_its_own_spec_and_memory():
    policy = FakePolicy()
    with serve_in_thread(policy, ListenSection("127.0.0.1:0"), BatchingSection()) as first:
        with serve_in_thread(policy, ListenSection("127.0.0.1:0"), BatchingSection()) as second:
            remote = kserve(first.address, second.address)
            assert remote.spec == policy.spec
            check_policy(remote)
            rows = [trial_observation(policy.spec, i) for i in range(20)]
            mine, theirs = policy.infer_batch(rows), remote.infer_batch(rows)
            assert [a.actions.tobytes() for a in mine] == [a.actions.tobytes() for a in theirs]
            assert [a.policy_state for a in mine] == [a.policy_state for a in theirs]
            assert min(first.metrics()["requests"], second.metrics()["requests"]) > 0
        assert len(remote.infer_batch(rows)) == 20  # the other one answers for both


class Digested(FakePolicy):
    """A policy with another checkpoint than the one beside it."""

    def __init__(self, digest):
        super().__init__()
        self.digest = digest

    @property
    def spec(self):
        return dataclasses.replace(super().spec, digest=self.digest)


def serving(digest, address="127.0.0.1:0"):
    return serve_in_thread(Digested(digest), ListenSection(address), BatchingSection())


def test_every_address_is_asked_what_it_serves_and_another_checkpoint_is_named():
    with serving("a" * 64) as first, serving("a" * 64) as second, serving("b" * 64) as third:
        assert kserve(first.address, second.address).spec.digest == "a" * 64
        with pytest.raises(
            SetupError, match=rf"SHA-256 aaaa.* at {first.address} and .*SHA-256 bbbb.* at {third.address}"
        ):
            kserve(first.address, second.address, third.address)


def test_a_server_of_ours_that_comes_back_with_another_checkpoint_is_asked_nothing():
    with serving("a" * 64) as server:
        address = server.address
        remote = kserve(address)
        rows = [trial_observation(remote.spec, i) for i in range(2)]
        before = remote.infer_batch(rows)[0].actions
    with serving("a" * 64, address):
        assert np.array_equal(remote.infer_batch(rows)[0].actions, before)
    with serving("b" * 64, address) as server:
        for asked in (rows, rows[:1]):
            with pytest.raises(PolicyChanged, match=r"expected the policy that the run began with.*SHA-256 bbbb"):
                remote.infer_batch(asked)
        assert server.metrics()["requests"] == 0


def test_token_and_tls_reach_a_server_of_ours(tmp_path):
    from ray_eval.serving.credentials import self_signed_certificate

    certificate, key = self_signed_certificate("localhost")
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "cert.pem").write_bytes(certificate)
    listen = ListenSection("127.0.0.1:0", "secret", certificate, key)
    words = {"token_file": str(tmp_path / "token"), "certificate": str(tmp_path / "cert.pem")}
    with serve_in_thread(FakePolicy(), listen, BatchingSection()) as server:
        assert kserve(server.address, **words).spec.name == "fake"
        (tmp_path / "token").write_text("guess")
        with pytest.raises(SetupError, match="UNAUTHENTICATED"):
            kserve(server.address, **words)


@pytest.mark.parametrize("is_replay", [False, True], ids=["oracle", "replay"])
def test_a_policy_that_knows_its_own_episodes_alone_is_taken_from_a_server_of_ours_as_it_was_proved_there(
    is_replay, tmp_path
):
    section = ReplayPolicy(path=str(tmp_path)) if is_replay else OraclePolicy()
    with serve_in_thread(make_policy(section), ListenSection("127.0.0.1:0"), BatchingSection()) as server:
        remote = KservePolicySection(addresses=(server.address,), timeout_s=QUICK_S)
        policy, sizes = load_policy(remote, BatchingSection())
        assert (policy.spec, sizes) == (make_policy(section).spec, BatchingSection())
        with pytest.raises(SetupError, match="an answer to a made-up observation"):
            prove(policy, BatchingSection())


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings(*RUN_WARNINGS)
def test_the_expert_behind_a_server_of_ours_runs_the_episodes_of_the_expert_itself(tmp_path):
    words = ["suite=libero_object", "tasks=[0]", "episodes_per_task=1", "workers=1"]
    with serve_in_thread(make_policy(OraclePolicy()), ListenSection("127.0.0.1:0"), BatchingSection()) as server:
        asked = ["policy=kserve", f"policy.addresses=[{server.address}]", f"out={tmp_path / 'asked'}"]
        (theirs,) = ray_eval.evaluate(None, [*words, *asked]).results
    (own,) = ray_eval.evaluate(None, [*words, "policy=oracle", f"out={tmp_path / 'own'}"]).results
    assert str(own.outcome) == "success"
    assert (theirs.steps, theirs.trajectory_sha256) == (own.steps, own.trajectory_sha256)


class Triton(GRPCInferenceServiceServicer):
    """A model that is not ours: its own names, FP32 images, no word about seeds."""

    output = "OUT"
    version = "3"

    def ModelMetadata(self, request, context):
        metadata = pb.ModelMetadataResponse(name="vla", versions=[self.version], platform="onnxruntime_onnx")
        metadata.inputs.add(name="PIXELS", datatype="FP32", shape=(-1, -1, -1, 3))
        metadata.inputs.add(name="STATE", datatype="FP32", shape=(-1, 8))
        return metadata

    def ModelInfer(self, request, context):
        assert [(each.name, each.datatype) for each in request.inputs] == [("PIXELS", "FP32"), ("STATE", "FP32")]
        assert request.model_name == "vla"
        pixels, state = (np.frombuffer(raw, "<f4") for raw in request.raw_input_contents)
        actions = np.full((1, 2, 7), pixels.mean() + state.sum(), "<f4")
        response = pb.ModelInferResponse(model_name="vla", model_version=self.version)
        response.outputs.add(name=self.output, datatype="FP32", shape=actions.shape)
        response.raw_output_contents.append(actions.tobytes())
        return response


@pytest.fixture
def model():
    return Triton()


@pytest.fixture
def triton(model):
    server = grpc.server(ThreadPoolExecutor(4))
    add_GRPCInferenceServiceServicer_to_server(model, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


RENAMED = Names({IMAGE: "PIXELS", STATE: "STATE", "action": "OUT"})


def test_a_model_of_triton_is_asked_by_its_own_names_and_the_run_says_that_noise_is_not_under_control(triton):
    policy = kserve(triton, keys=(IMAGE, STATE), chunk_len=2, rename=RENAMED)
    row = observation(keys=(IMAGE, STATE))
    expected = row.arrays[IMAGE].astype(np.float32).mean() + row.arrays[STATE].sum()
    assert np.allclose(policy.infer_batch([row])[0].actions, expected, atol=1e-3)
    assert not policy.spec.is_reproducible
    assert "noise is not under control" in policy.spec.remarks[0]


def test_a_model_of_triton_in_another_version_is_found_out_by_its_answer_and_by_a_new_connection(triton, model):
    policy = kserve(triton, keys=(IMAGE, STATE), chunk_len=2, rename=RENAMED)
    model.version = "4"
    for _ in range(2):  # the first answer closes the connection
        with pytest.raises(
            PolicyChanged, match=rf"policy server at {triton}: expected what the run began with.* 3.* 4"
        ):
            policy.infer_batch([observation(keys=(IMAGE, STATE))])


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({}, ConfigError, r"policy\.keys, policy\.chunk_len: expected what model 'vla' reads.*PIXELS, STATE"),
        ({"keys": (IMAGE,), "chunk_len": 2}, ConfigError, r"among the model's inputs PIXELS, STATE"),
    ],
)
def test_what_a_foreign_server_does_not_say_is_asked_of_the_user(triton, settings, error, said):
    with pytest.raises(error, match=said):
        kserve(triton, **settings)


def test_an_answer_under_another_name_or_of_another_shape_is_named(triton):
    row = observation(keys=(IMAGE, STATE))
    for settings, said in (
        ({"rename": Names({**RENAMED, "action": "ELSE"}), "chunk_len": 2}, "expected the output 'ELSE', got OUT"),
        ({"rename": RENAMED, "chunk_len": 3}, r"expected actions of shape \(3, 7\), got \(1, 2, 7\)"),
    ):
        with pytest.raises(EpisodeError, match=said):
            kserve(triton, keys=(IMAGE, STATE), **settings).infer_batch([row])


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_what_lerobots_server_sends_is_read_without_running_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for hostile in (pickle.dumps([Bomb()]), pickle.dumps({"actions": 1}), b"no pickle"):
        with pytest.raises(pickle.UnpicklingError):
            read_actions(hostile)
    assert not (tmp_path / "exploded").exists()


def test_pickles_are_exchanged_only_with_trust():
    with pytest.raises(ConfigError, match=r"policy\.trust: expected true.*unpickles whatever reaches it"):
        make_policy(LeRobotServerPolicySection(addresses=("127.0.0.1:1",), path="x"))


def test_the_observation_of_a_poor_client_is_still_a_contract_error():
    listen = ListenSection("127.0.0.1:0")
    with serve_in_thread(FakePolicy(), listen, BatchingSection()) as server, pytest.raises(ContractError):
        kserve(server.address).infer_batch([Observation({}, "")])


# --- whole runs ---

REAL = pytest.param("libero_object", marks=[pytest.mark.nightly, pytest.mark.timeout(1800)])


def run_of(tmp_path, suite, *words):
    short = ("tasks=[0]", "episodes_per_task=1", "protocol.max_steps=20", "workers=1")
    evaluation = ray_eval.evaluate(None, [f"suite={suite}", *short, *words, f"out={tmp_path / 'run'}"])
    (result,) = evaluation.results
    assert result.error is None
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    header = json.loads((tmp_path / "run" / "episodes.jsonl").read_text().splitlines()[0])
    return result, summary, header


@pytest.mark.filterwarnings(*RUN_WARNINGS)
@pytest.mark.parametrize("suite", ["fake", REAL])
def test_workers_drive_an_openpi_server_and_the_run_says_whose_noise_it_is(loop, openpi, tmp_path, suite):
    result, summary, header = run_of(tmp_path, suite, "policy=openpi", f"policy.addresses=[{openpi.address}]")
    # The protocol executes five of ten; before, it was asked for its shape, for a trial and with a real observation.
    assert (result.requests, len(openpi.seen)) == (-(-result.steps // 5), result.requests + 3)
    assert openpi.seen[-1]["observation/image"].shape == (224, 224, 3)
    assert not summary["is_reproducible"]
    assert "draws its own noise" in " ".join(header["provenance"]["remarks"])


@pytest.mark.filterwarnings(*RUN_WARNINGS)
@pytest.mark.parametrize("suite", ["fake", REAL])
def test_workers_drive_vla_evals_model_server_step_by_step(tmp_path, suite):
    with vla_eval_server(chunk_size=4) as (model, address):
        words = ("policy=vla_eval", "protocol=vla_eval", f"policy.addresses=[{address}]")
        result, summary, _ = run_of(tmp_path, suite, *words)
        assert result.requests == result.steps
        assert max(model.calls.values()) == -(-result.steps // 4)
        assert not summary["is_reproducible"]


@pytest.mark.nightly
@pytest.mark.filterwarnings(*RUN_WARNINGS)
def test_a_run_ends_where_its_server_comes_back_with_another_checkpoint(tmp_path):
    ledger, servers = tmp_path / "run" / "episodes.jsonl", contextlib.ExitStack()
    address = servers.enter_context(serving("a" * 64)).address

    def exchange():
        while not ledger.exists() or len(ledger.read_bytes().splitlines()) < 2:
            time.sleep(0.02)
        servers.close()
        servers.enter_context(serving("b" * 64, address))

    words = (
        "suite=fake",
        "workers=2",
        "repeats=4",
        "protocol.replan_steps=chunk",
        "serving.slowdown_ms=[20,20]",
        f"out={tmp_path / 'run'}",
    )
    with servers:
        exchanging = threading.Thread(target=exchange, daemon=True)
        exchanging.start()
        with pytest.raises(
            PolicyChanged, match=rf"{address}: expected the policy that the run began with.*SHA-256 bbbb"
        ):
            ray_eval.evaluate(None, ["policy=kserve", f"policy.addresses=[{address}]", *words])
        exchanging.join()
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert lines[0]["identity"]["environment.policy_sha256"] == "a" * 64
    assert {line["outcome"] for line in lines[1:]} <= {"success", "failure"}

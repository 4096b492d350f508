"""GR00T's, X-VLA's and starVLA's servers as remote policies, over real sockets; and what is said of a wrong address."""

import dataclasses
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from foreign_servers import GrootServer, StarVlaServer, XvlaServer

import ray_eval
from ray_eval.errors import ConfigError, EpisodeError, PolicyChanged, SetupError
from ray_eval.policies import make_policy
from ray_eval.policies.contract import continued, trial_observation
from ray_eval.policies.fake import FakePolicy
from ray_eval.policies.remote.rotations import columns_of
from ray_eval.sections import (
    POLICY_TYPES,
    BatchingSection,
    GrootServerSection,
    ListenSection,
    Names,
    StarVlaServerSection,
    XvlaServerSection,
)
from ray_eval.serving.server import serve_in_thread
from ray_eval.testing import check_policy
from ray_eval.types import IMAGE, STATE, WRIST_IMAGE

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
QUICK_S = 10.0


MADE = []


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_kept():
    yield
    ray_eval.release()


@pytest.fixture(autouse=True)
def nothing_stays_open():
    yield
    while MADE:
        MADE.pop()._pool.close()


def policy_of(section, server, **settings):
    MADE.append(make_policy(section(addresses=(server.address,), **{"timeout_s": QUICK_S, **settings})))
    return MADE[-1]


def groot_expected(row, steps):
    state, image, wrist = (
        row.arrays[key] if steps == 1 else row.arrays[key][-1] for key in (STATE, IMAGE, WRIST_IMAGE)
    )
    return np.array([*state[:6], state[6:].sum()]) + image.mean() + wrist.max()


@pytest.mark.parametrize(
    ("layout", "version", "steps"),
    [("flat", "n1_6", 1), ("nested", "n1_6", 1), ("flat", "n1_7", 4), ("nested", "n1_7", 1), ("flat", "n1_5", 1)],
)
def test_groots_server_of_each_version_is_asked_in_its_layout(layout, version, steps):
    with GrootServer(layout, version, steps) as server:
        policy = policy_of(GrootServerSection, server, image_size_px=32)
        check_policy(policy)
        assert (policy.spec.chunk_len, policy.spec.action_dim, policy.spec.n_obs_steps) == (16, 7, steps)
        row = trial_observation(policy.spec, 3)
        (chunk,) = policy.infer_batch([row])
        assert np.allclose(chunk.actions, groot_expected(row, steps), atol=1e-4)
        assert server.requests[-1]["language"]["annotation.human.action.task_description"] == [[row.task]]
        assert "says nothing of its checkpoint" in " ".join(policy.spec.remarks)


def test_groots_token_is_sent_and_a_wrong_one_is_said(tmp_path):
    (tmp_path / "token").write_text("secret\n")
    with GrootServer(token="secret") as server:
        assert policy_of(GrootServerSection, server, token_file=str(tmp_path / "token")).spec.chunk_len == 16
        with pytest.raises(SetupError, match="Unauthorized: Invalid API token"):
            policy_of(GrootServerSection, server)


def test_a_groot_policy_for_another_robot_is_refused_by_name():
    with GrootServer() as server:
        server.configs["state"]["modality_keys"] = ["left_arm"]
        with pytest.raises(ConfigError, match=r"parts of the state x, y, .*got 'left_arm'; start the server with"):
            policy_of(GrootServerSection, server)
        server.configs = server.modalities()
        server.configs["video"]["modality_keys"] = ["front", "wrist_image"]
        with pytest.raises(ConfigError, match=r"the cameras image, wrist_image, got 'front'"):
            policy_of(GrootServerSection, server)
        server.configs["video"]["delta_indices"] = [-10, 0]
        with pytest.raises(ConfigError, match=r"those just before it, got video at \[-10, 0\]"):
            policy_of(GrootServerSection, server, rename=Names({IMAGE: "front"}))


def test_a_groot_server_that_comes_back_with_another_policy_ends_the_run_and_the_same_one_is_found_again():
    server = GrootServer()
    with server:
        policy = policy_of(GrootServerSection, server, image_size_px=32)
        row = trial_observation(policy.spec, 0)
        before = policy.infer_batch([row])[0].actions
    with server:
        assert np.array_equal(policy.infer_batch([row])[0].actions, before)
    server.configs["action"]["delta_indices"] = list(range(8))
    with (
        server,
        pytest.raises(PolicyChanged, match=r"action\.as_json\.delta_indices.*, got .*policy\.ignore_metadata"),
    ):
        policy.infer_batch([row])


def test_a_groot_server_that_dies_while_it_is_asked_is_not_waited_for():
    server = GrootServer()
    with ThreadPoolExecutor(1) as asking:
        with server:
            policy = policy_of(GrootServerSection, server, image_size_px=32, timeout_s=3600.0)
            row = trial_observation(policy.spec, 0)
            server.dies = True
            asked = asking.submit(policy.infer_batch, [row])
            server.thread.join()
        server.dies = False
        with server:
            assert asked.result(60)[0].actions.shape == (16, 7)


def test_xvlas_server_is_sent_the_pose_that_is_seen_and_then_the_one_last_commanded():
    with XvlaServer() as server:
        policy = policy_of(XvlaServerSection, server, image_size_px=32)
        assert (policy.spec.chunk_len, policy.spec.action_dim) == (30, 7)
        server.requests.clear()
        row = trial_observation(policy.spec, 0)
        (chunk,) = policy.infer_batch([row])
        state = row.arrays[STATE]
        sent = server.requests[0]
        assert np.allclose(sent["proprio"], [*state[:3], *columns_of(state[3:6].astype(float)), *[0.0] * 11])
        assert np.array_equal(sent["images"][0], row.arrays[IMAGE])
        assert np.array_equal(sent["images"][1], row.arrays[WRIST_IMAGE])
        assert np.allclose(chunk.actions[:, 0], state[0] + np.arange(30) / 100)
        assert np.allclose(columns_of(chunk.actions[0, 3:6].astype(float)), sent["proprio"][3:9], atol=1e-5)
        assert np.allclose(chunk.actions[:, 6], 0.75)
        for steps in (30, 10):
            policy.infer_batch([continued(row, chunk, steps)])
            assert np.allclose(server.requests[-1]["proprio"][0], state[0] + (steps - 1) / 100)
        check_policy(policy)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("raise", "expected actions, got HTTP status 400: Request failed; the server's log says why"),
        ("nan", "expected finite actions"),
        ("html", r"expected JSON, got HTTP status 200 and b'<html>"),
        ("narrow", r"expected poses of 9 numbers and a gripper, got \(30, 7\)"),
        ("another", "expected 'actions' or 'action'"),
    ],
)
def test_what_xvlas_server_does_wrong_costs_an_attempt_and_not_the_next(wrong, said):
    with XvlaServer() as server:
        policy = policy_of(XvlaServerSection, server, image_size_px=32)
        row = trial_observation(policy.spec, 0)
        with pytest.raises(EpisodeError, match=rf"policy server at {server.address}: .*{said}"):
            policy.infer_batch([dataclasses.replace(row, task=wrong)])
        assert len(policy.infer_batch([row])) == 1


def test_an_xvla_server_that_restarts_is_found_again():
    server = XvlaServer()
    with server:
        policy = policy_of(XvlaServerSection, server, image_size_px=32)
        row = trial_observation(policy.spec, 0)
        before = policy.infer_batch([row])[0].actions
    with server:
        assert np.array_equal(policy.infer_batch([row])[0].actions, before)


def test_starvlas_server_is_sent_examples_and_its_envelope_is_opened():
    with StarVlaServer() as server:
        policy = policy_of(StarVlaServerSection, server, image_size_px=32, unnorm_key="franka")
        check_policy(policy)
        assert (policy.spec.chunk_len, policy.spec.action_dim) == (8, 7)
        assert "trained on images of [224, 224]" in " ".join(policy.spec.remarks)
        row = trial_observation(policy.spec, 2)
        (chunk,) = policy.infer_batch([row])
        sent = server.requests[-1]
        assert (sent["lang"], sent["unnorm_key"], "state" in sent) == (row.task, "franka", False)
        expected = row.arrays[IMAGE].mean() + 2 * row.arrays[WRIST_IMAGE].mean()
        assert np.allclose(chunk.actions, expected / 100)
        with pytest.raises(EpisodeError, match="expected actions, got the error no such task"):
            policy.infer_batch([dataclasses.replace(row, task="trouble")])


def test_starvlas_server_gets_the_state_where_its_checkpoint_reads_one():
    with StarVlaServer() as server:
        policy = policy_of(StarVlaServerSection, server, image_size_px=32, keys=(IMAGE, STATE))
        assert server.requests[-1]["state"].shape == (1, 8)
        assert policy.spec.keys == (IMAGE, STATE)


def test_an_old_starvla_server_that_leaves_the_units_to_its_client_is_refused():
    with StarVlaServer() as server:
        server.answer_key = "normalized_actions"
        with pytest.raises(SetupError, match="expected actions in LIBERO's units, got `normalized_actions`"):
            policy_of(StarVlaServerSection, server)


def test_another_checkpoint_behind_starvlas_server_ends_the_run_and_a_restart_of_the_same_does_not():
    server = StarVlaServer(started_at=1.0)
    with server:
        policy = policy_of(StarVlaServerSection, server, image_size_px=32)
        row = trial_observation(policy.spec, 0)
        policy.infer_batch([row])
    server.metadata["started_at"] = 2.0
    with server:
        policy.infer_batch([row])
    server.metadata["ckpt_path"] = "checkpoints/steps_40000"
    with server, pytest.raises(PolicyChanged, match=r"ckpt_path: .*steps_30000.*, got .*steps_40000"):
        policy.infer_batch([row])


# --- addresses ---

ALL = ("kserve", "openpi", "vla_eval", "starvla_server", "groot_server", "xvla_server")


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ftp://127.0.0.1:8000", r"expected host:port each, .*got 'ftp://127\.0\.0\.1:8000'; write 127\.0\.0\.1:8000$"),
        ("[127.0.0.1:8000]", "expected host:port each, got"),
        ("127.0.0.1", "expected host:port each, got"),
        ("127.0.0.1:80000", "expected host:port each, got"),
        ("127.0.0.1:0", "expected host:port each, got"),
        ("my host:8000", "expected host:port each, got"),
    ],
)
def test_what_is_no_address_is_one_line(kind, address, said):
    with pytest.raises(ConfigError, match=rf"^policy\.addresses: {said}"):
        POLICY_TYPES[kind](addresses=(address,))


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("kserve", "http://127.0.0.1:8000"),
        ("openpi", "http://127.0.0.1:8000"),
        ("openpi", "grpc://127.0.0.1:8000"),
        ("groot_server", "http://127.0.0.1:8000"),
        ("xvla_server", "grpc://127.0.0.1:8000"),
    ],
)
def test_another_protocols_scheme_is_named_with_what_to_write(kind, address):
    with pytest.raises(ConfigError, match=r"; write 127\.0\.0\.1:8000$"):
        POLICY_TYPES[kind](addresses=(address,))


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("kserve", "grpc://127.0.0.1:1"),
        ("kserve", "unix:/tmp/policy.sock"),
        ("openpi", "ws://[::1]:8000/policy"),
        ("openpi", "wss://example.org"),
        ("groot_server", "tcp://gpu-1:5555"),
        ("xvla_server", "http://gpu-1:8000/act"),
        ("xvla_server", "[::1]:8000"),
    ],
)
def test_its_own_scheme_may_stand_before_an_address(kind, address):
    assert POLICY_TYPES[kind](addresses=(address,)).addresses == (address,)


def grpc_server():
    return serve_in_thread(FakePolicy(), ListenSection("127.0.0.1:0"), BatchingSection())


SERVERS = {
    "kserve": grpc_server,
    "openpi": StarVlaServer,
    "groot_server": GrootServer,
    "xvla_server": XvlaServer,
}


KNOWN_AT_ONCE = {
    ("kserve", "groot_server"),
    ("kserve", "xvla_server"),
    ("openpi", "xvla_server"),
    ("starvla_server", "xvla_server"),
    ("vla_eval", "openpi"),
    ("groot_server", "kserve"),
    ("xvla_server", "groot_server"),
}
PAIRS = [
    pytest.param(kind, there, marks=() if (kind, there) in KNOWN_AT_ONCE else pytest.mark.nightly)
    for kind in ALL
    for there in SERVERS
    if there != kind and (kind, there) != ("starvla_server", "openpi")
]


@pytest.mark.parametrize(("kind", "there"), PAIRS)
def test_a_server_of_another_kind_is_one_line(kind, there):
    with SERVERS[there]() as server, pytest.raises(SetupError) as caught:
        make_policy(POLICY_TYPES[kind](addresses=(server.address,), timeout_s=QUICK_S, first_timeout_s=20.0))
    said = str(caught.value)
    assert server.address in said
    assert "\n" not in said
    assert len(said) <= 500
    assert "expected" in said


def test_a_server_that_is_not_there_is_known_soon():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        for kind in ("openpi", "groot_server", "xvla_server", "kserve", "vla_eval"):
            with pytest.raises(SetupError, match=rf"policy server at {address}: expected .* within 0\.2 s"):
                make_policy(POLICY_TYPES[kind](addresses=(address,), timeout_s=0.2))


# --- whole runs ---

RUNS = {
    "groot_server": (GrootServer, "gr00t", 8),
    "xvla_server": (XvlaServer, "xvla", 30),
    "starvla_server": (StarVlaServer, "starvla", 8),
}


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("suite", ["fake", "libero_object"])
@pytest.mark.parametrize("kind", RUNS)
def test_workers_drive_each_server_under_its_protocol(kind, suite, tmp_path):
    make, protocol, executed = RUNS[kind]
    with make() as server:
        words = [f"policy={kind}", f"policy.addresses=[{server.address}]", f"protocol={protocol}", f"suite={suite}"]
        short = ["tasks=[0]", "episodes_per_task=1", "protocol.max_steps=40", "workers=1", f"out={tmp_path / 'run'}"]
        (result,) = ray_eval.evaluate(None, [*words, *short]).results
        assert result.error is None
        assert result.requests == -(-result.steps // executed)
        assert len(server.requests) >= result.requests
    header = json.loads((tmp_path / "run" / "episodes.jsonl").read_text().splitlines()[0])
    assert "draws its own noise" in " ".join(header["provenance"]["remarks"])
    assert not json.loads((tmp_path / "run" / "summary.json").read_text())["is_reproducible"]

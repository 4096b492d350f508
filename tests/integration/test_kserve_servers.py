"""Servers of the Open Inference Protocol as people run them, over real gRPC."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from ray_eval.errors import ConfigError, EpisodeError, PolicyChanged, SetupError
from ray_eval.policies import make_policy
from ray_eval.policies.contract import trial_observation
from ray_eval.policies.remote import tensors
from ray_eval.sections import KservePolicySection, Names
from ray_eval.testing import check_policy
from ray_eval.types import IMAGE, STATE
from ray_eval.wire import open_inference_pb2 as pb
from ray_eval.wire.open_inference_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

QUICK_S = 10.0
RENAME = Names({IMAGE: "PIXELS", STATE: "STATE"})


class Model(GRPCInferenceServiceServicer):
    """Answers the image's mean plus the state's sum; each attribute is one way in which servers differ."""

    inputs = (("PIXELS", "FP32", (-1, -1, -1, 3)), ("STATE", "FP32", (-1, 8)))
    outputs = (("OUT", "FP32", (-1, 10, 7)),)
    has_metadata = True
    takes = "both"
    answers = "raw"
    answer_shape = (1, 10, 7)
    version = ""

    def __init__(self, **ways):
        for name, value in ways.items():
            setattr(self, name, value)
        self.requests = []

    def ModelMetadata(self, request, context):
        if not self.has_metadata:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not implemented!")
        response = pb.ModelMetadataResponse(name=request.name or "vla", platform="made-up")
        for kind in ("inputs", "outputs"):
            for name, datatype, shape in getattr(self, kind):
                getattr(response, kind).add(name=name, datatype=datatype, shape=shape)
        return response

    def ModelInfer(self, request, context):
        is_raw = bool(request.raw_input_contents)
        if self.takes not in ("both", "raw" if is_raw else "typed"):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"expected {self.takes} contents")
        got = {tensor.name: (tensor.datatype, tuple(tensor.shape)) for tensor in request.inputs}
        for name, datatype, shape in self.inputs:
            if name not in got or got[name][0] != datatype or len(got[name][1]) != len(shape):
                context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT, f"{name}: expected {datatype} {shape}, got {got.get(name)}"
                )
        self.requests.append(request)
        values = {tensor.name: self.read(request, index) for index, tensor in enumerate(request.inputs)}
        value = values["PIXELS"].mean() + values["STATE"].sum()
        return self.response(np.full(self.answer_shape, value))

    def read(self, request, index):
        tensor = request.inputs[index]
        if tensor.datatype == tensors.BYTES:
            return None
        reply = pb.ModelInferResponse()
        output = reply.outputs.add(name="x", datatype=tensor.datatype, shape=tensor.shape)
        if request.raw_input_contents:
            reply.raw_output_contents.append(request.raw_input_contents[index])
        else:
            output.contents.CopyFrom(tensor.contents)
        return tensors.output_of(reply, ("x",), "test").astype(np.float64)

    def response(self, array):
        response = pb.ModelInferResponse(model_name="vla", model_version=self.version)
        for name, datatype, _ in self.outputs:
            tensor = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
            if self.answers == "typed":
                tensors.fill_typed(tensor.contents, array, datatype)
            else:
                response.raw_output_contents.append(tensors.raw_numbers(array, datatype))
        return response

    def __enter__(self):
        self.server = grpc.server(ThreadPoolExecutor(2))
        add_GRPCInferenceServiceServicer_to_server(self, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.stop(0).wait()


MADE = []


@pytest.fixture(autouse=True)
def nothing_stays_open():
    yield
    while MADE:
        MADE.pop()._pool.close()


def policy_of(server, **settings):
    defaults = {"keys": (IMAGE, STATE), "rename": RENAME, "image_size_px": 16, "timeout_s": QUICK_S, "model": "vla"}
    MADE.append(make_policy(KservePolicySection(addresses=(server.address,), **{**defaults, **settings})))
    return MADE[-1]


def assert_answers(policy, tolerance=1e-3):
    check_policy(policy)
    row = trial_observation(policy.spec, 1)
    (chunk,) = policy.infer_batch([row])
    assert chunk.actions.shape == (10, 7)
    assert np.allclose(chunk.actions, row.arrays[IMAGE].mean() + row.arrays[STATE].sum(), atol=tolerance)


@pytest.mark.parametrize("takes", ["raw", "typed"])
@pytest.mark.parametrize("answers", ["raw", "typed"])
def test_numbers_are_sent_and_read_as_bytes_and_in_typed_fields_as_the_server_wants_them(takes, answers):
    with Model(takes=takes, answers=answers) as server:
        assert_answers(policy_of(server))
        assert bool(server.requests[-1].raw_input_contents) == (takes == "raw")


def test_typed_fields_can_be_asked_for():
    with Model() as server:
        assert_answers(policy_of(server, contents="typed"))
        assert not server.requests[-1].raw_input_contents


def test_an_input_without_a_batch_axis_gets_none_and_an_answer_without_one_is_read():
    inputs = (("PIXELS", "UINT8", (-1, -1, 3)), ("STATE", "FP32", (8,)))
    with Model(inputs=inputs, outputs=(("OUT", "FP32", (10, 7)),), answer_shape=(10, 7)) as server:
        assert_answers(policy_of(server))
        assert [list(tensor.shape) for tensor in server.requests[-1].inputs] == [[16, 16, 3], [8]]


def test_an_input_with_other_axes_than_an_observation_is_named():
    said = r"input 'PIXELS': expected 3 axes, or 4 with a batch, got .*\[-1, -1\]"
    inputs = (("PIXELS", "UINT8", (-1, -1)), ("STATE", "FP32", (-1, 8)))
    with Model(inputs=inputs) as server, pytest.raises(ConfigError, match=said):
        policy_of(server)


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_precision_goes_both_ways(datatype):
    inputs = (("PIXELS", datatype, (-1, -1, -1, 3)), ("STATE", datatype, (-1, 8)))
    with Model(inputs=inputs, outputs=(("OUT", datatype, (-1, 10, 7)),)) as server:
        assert_answers(policy_of(server), tolerance=1.5)


def test_the_only_input_for_texts_is_the_instruction_and_others_are_named_by_the_user():
    texts = ("PROMPT", "BYTES", (-1, 1))
    with Model(inputs=(*Model.inputs, texts)) as server:
        policy = policy_of(server)
        assert_answers(policy)
        row = trial_observation(policy.spec, 0)
        assert server.requests[-1].raw_input_contents[-1][4:] == row.task.encode()
    with Model(inputs=(*Model.inputs, texts, ("ROBOT", "BYTES", (1,)))) as server:
        with pytest.raises(
            SetupError, match=r"not sent: PROMPT, ROBOT \(policy\.keys, policy\.rename, policy\.texts\)"
        ):
            policy_of(server)
        assert_answers(policy_of(server, texts=Names({"ROBOT": "franka"})))
        sent = {tensor.name: tuple(tensor.shape) for tensor in server.requests[-1].inputs}
        assert (sent["PROMPT"], sent["ROBOT"]) == ((1, 1), (1,))
        assert b"franka" in server.requests[-1].raw_input_contents[-1]


def test_a_server_without_metadata_is_asked_by_what_the_user_says():
    inputs = (("PIXELS", "UINT8", (-1, -1, -1, 3)), ("STATE", "BF16", (-1, 8)))
    with Model(has_metadata=False, inputs=inputs, outputs=(("action", "FP32", ()),)) as server:
        policy = policy_of(server, chunk_len=10, datatypes=Names({STATE: "BF16"}))
        assert_answers(policy, tolerance=0.1)
        assert "says nothing of its checkpoint" in " ".join(policy.spec.remarks)
        with pytest.raises(
            ConfigError, match=r"the server does not say what it serves .*UNIMPLEMENTED.*policy\.model=NAME"
        ):
            policy_of(server, model=None)


def test_a_server_whose_answers_come_from_another_version_ends_the_run_even_without_metadata():
    with Model(has_metadata=False, outputs=(("action", "FP32", ()),), version="1") as server:
        policy = policy_of(server, datatypes=Names({IMAGE: "FP32"}))
        row = trial_observation(policy.spec, 0)
        policy.infer_batch([row])
        server.version = "2"
        with pytest.raises(PolicyChanged, match=r"version 1, got version 2"):
            policy.infer_batch([row])


def test_of_several_outputs_one_is_asked_for_by_name():
    with Model(outputs=(("value", "FP32", ()), ("OUT", "FP32", ()))) as server:
        with pytest.raises(SetupError, match=r"expected the output 'action' or 'actions', got value, OUT"):
            policy_of(server)
        assert_answers(policy_of(server, rename=Names({**RENAME, "action": "OUT"})))
        assert [output.name for output in server.requests[-1].outputs] == ["OUT"]


def test_what_a_model_refuses_is_said_with_the_inputs_that_it_did_not_get():
    with Model(takes="nothing") as server:
        with pytest.raises(SetupError, match=r"INVALID_ARGUMENT: expected nothing contents"):
            policy_of(server)
        policy = policy_of(server, chunk_len=10)
        with pytest.raises(EpisodeError, match="INVALID_ARGUMENT"):
            policy.infer_batch([trial_observation(policy.spec, 0)])

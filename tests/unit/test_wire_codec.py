"""What goes into a message comes out of it, and nothing malformed comes through."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ray_eval.errors import ContractError
from ray_eval.types import (
    ENVIRONMENT_STATE,
    IMAGE,
    POLICY_STATE_LIMIT_BYTES,
    STATE,
    ActionChunk,
    Observation,
    PolicySpec,
    TrainingRange,
)
from ray_eval.wire import codec
from ray_eval.wire import open_inference_pb2 as pb
from ray_eval.wire.codec import CodecError

SPEC = PolicySpec(name="toy", keys=(IMAGE, STATE), chunk_len=3, action_dim=7)
PRIVILEGED = PolicySpec(name="toy", keys=(ENVIRONMENT_STATE,), chunk_len=3)


def observation(**changes):
    arrays = {IMAGE: np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3), STATE: np.arange(8, dtype=np.float32)}
    return dataclasses.replace(Observation(arrays=arrays, task="pick it up", suite="s", noise_seed=7), **changes)


def test_a_privileged_state_in_double_precision_comes_out_as_it_went_in():
    exact = np.array([0.1, 1 / 3, -np.pi])
    row = Observation({ENVIRONMENT_STATE: exact}, "t")
    (decoded,) = codec.decode_request(codec.encode_request([row], PRIVILEGED), PRIVILEGED)
    assert decoded.arrays[ENVIRONMENT_STATE].dtype == np.float64
    assert decoded.arrays[ENVIRONMENT_STATE].tobytes() == exact.tobytes()


def test_rows_of_one_request_have_a_privileged_state_of_one_precision():
    rows = [Observation({ENVIRONMENT_STATE: np.zeros(7, dtype)}, "t") for dtype in (np.float32, np.float64)]
    with pytest.raises(CodecError, match="rows of one data type"):
        codec.encode_request(rows, PRIVILEGED)


def request(**changes):
    return codec.encode_request([observation(**changes)], SPEC, "run/s/0/0/1/0")


def tensor(message, name):
    index = [head.name for head in message.inputs].index(name)
    return message.inputs[index], index


def assert_same(left, right):
    assert set(left.arrays) == set(right.arrays)
    for key, array in left.arrays.items():
        assert array.dtype == right.arrays[key].dtype
        np.testing.assert_array_equal(array, right.arrays[key])
    for field in dataclasses.fields(Observation):
        if field.name != "arrays":
            assert getattr(left, field.name) == getattr(right, field.name)


floats = st.floats(width=32, allow_nan=True)
ids = st.integers(0, 2**63 - 1)


@st.composite
def specs_and_rows(draw):
    n_obs_steps = draw(st.integers(1, 3))
    spec = PolicySpec(
        name="toy", keys=(IMAGE, STATE, ENVIRONMENT_STATE), chunk_len=draw(st.integers(1, 4)), n_obs_steps=n_obs_steps
    )
    history = (n_obs_steps,) if n_obs_steps > 1 else ()
    size, width = draw(st.integers(1, 5)), draw(st.integers(1, 20))
    shared = dict(zip(("task_id", "init_state_id", "repeat", "step"), draw(st.tuples(ids, ids, ids, ids)), strict=True))
    rows = [
        Observation(
            arrays={
                IMAGE: draw(hnp.arrays(np.uint8, (*history, size, size, 3))),
                STATE: draw(hnp.arrays(np.float32, (*history, 8), elements=floats)),
                ENVIRONMENT_STATE: draw(hnp.arrays(np.float32, (*history, width), elements=floats)),
            },
            task=draw(st.text()),
            suite="libero_goal",
            noise_seed=draw(ids),
            environment_names=tuple(draw(st.lists(st.text(max_size=5), max_size=3))),
            policy_state=draw(st.binary(max_size=20)),
            **shared,
        )
        for _ in range(draw(st.integers(1, 3)))
    ]
    return spec, rows


@given(specs_and_rows())
@settings(deadline=None)
def test_observations_survive_the_wire(case):
    spec, rows = case
    message = codec.encode_request(rows, spec, "id")
    received = pb.ModelInferRequest.FromString(message.SerializeToString())
    decoded = codec.decode_request(received, spec, max_rows=3)
    assert len(decoded) == len(rows)
    for before, after in zip(rows, decoded, strict=True):
        assert_same(before, after)


@given(st.integers(1, 4), st.data())
@settings(deadline=None)
def test_chunks_survive_the_wire(row_count, data):
    chunks = [
        ActionChunk(data.draw(hnp.arrays(np.float32, (3, 7), elements=floats)), data.draw(st.binary(max_size=9)))
        for _ in range(row_count)
    ]
    message = codec.encode_response(chunks, SPEC, "id")
    decoded = codec.decode_response(pb.ModelInferResponse.FromString(message.SerializeToString()), SPEC, row_count)
    for before, after in zip(chunks, decoded, strict=True):
        np.testing.assert_array_equal(before.actions, after.actions)
        assert before.policy_state == after.policy_state


@given(specs_and_rows())
@settings(deadline=None)
def test_the_bytes_of_a_request_are_those_of_its_message(case):
    spec, rows = case
    body = codec.encode_request_bytes(rows, spec, "id")
    assert pb.ModelInferRequest.FromString(body) == codec.encode_request(rows, spec, "id")


def test_arrays_that_are_views_of_others_arrive_as_they_look():
    image = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)[1, ::-1, ::-1]
    sent = observation(arrays={IMAGE: image, STATE: np.arange(16, dtype=np.float32)[::2]})
    body = codec.encode_request_bytes([sent], SPEC)
    (decoded,) = codec.decode_request(pb.ModelInferRequest.FromString(body), SPEC)
    assert {key: array.tolist() for key, array in decoded.arrays.items()} == {
        key: array.tolist() for key, array in sent.arrays.items()
    }


def test_decoded_arrays_are_read_only_views_of_the_message():
    message = request()
    (decoded,) = codec.decode_request(message, SPEC)
    assert not any(array.flags.writeable or array.flags.owndata for array in decoded.arrays.values())


def test_the_layout_is_the_documented_one():
    message = request(policy_state=b"\x01\x02")
    heads = {head.name: (head.datatype, list(head.shape)) for head in message.inputs}
    assert heads == {
        IMAGE: ("UINT8", [1, 4, 4, 3]),
        STATE: ("FP32", [1, 8]),
        "task": ("BYTES", [1, 1]),
        "policy_state": ("BYTES", [1, 1]),
    }
    assert message.raw_input_contents[2] == b"\x0a\x00\x00\x00pick it up"
    assert message.raw_input_contents[3] == b"\x02\x00\x00\x00\x01\x02"
    assert message.parameters["noise_seed"].int64_param == 7


def test_seeds_of_several_rows_travel_as_a_tensor():
    message = codec.encode_request([observation(noise_seed=1), observation(noise_seed=2)], SPEC)
    assert list(tensor(message, "noise_seed")[0].shape) == [2]
    assert "noise_seed" not in message.parameters
    assert [row.noise_seed for row in codec.decode_request(message, SPEC, max_rows=2)] == [1, 2]


def test_ragged_rows_do_not_share_a_request():
    rows = [Observation({ENVIRONMENT_STATE: np.zeros(n, np.float32)}, "t") for n in (7, 14)]
    with pytest.raises(CodecError, match="rows of one shape"):
        codec.encode_request(rows, PRIVILEGED)


@pytest.mark.parametrize(
    ("arrays", "spec", "message"),
    [
        ({STATE: np.zeros(8, np.float32)}, SPEC, "expected the keys"),
        ({IMAGE: np.zeros((4, 4, 3), np.float32), STATE: np.zeros(8, np.float32)}, SPEC, "expected uint8"),
        ({IMAGE: np.zeros((4, 4, 3), np.uint8), STATE: np.zeros(8)}, SPEC, "expected float32, got float64"),
        ({IMAGE: np.zeros((3, 4, 4), np.uint8), STATE: np.zeros(8, np.float32)}, SPEC, "any, any, 3"),
        (
            {IMAGE: np.zeros((4, 4, 3), np.uint8), STATE: np.zeros(8, np.float32)},
            dataclasses.replace(SPEC, image_size_px=8),
            r"\(8, 8, 3\), got \(4, 4, 3\)",
        ),
        (
            {IMAGE: np.zeros((4, 4, 3), np.uint8), STATE: np.zeros(8, np.float32)},
            dataclasses.replace(SPEC, n_obs_steps=2),
            r"\(2, any, any, 3\)",
        ),
    ],
)
def test_an_observation_that_the_spec_does_not_ask_for_is_refused(arrays, spec, message):
    with pytest.raises(ContractError, match=message):
        codec.encode_request([Observation(arrays, "t")], spec)


def shape(name, dims):
    def spoil(message):
        head, _ = tensor(message, name)
        del head.shape[:]
        head.shape.extend(dims)

    return spoil


def content(name, raw):
    def spoil(message):
        message.raw_input_contents[tensor(message, name)[1]] = raw

    return spoil


def datatype(name, value):
    def spoil(message):
        tensor(message, name)[0].datatype = value

    return spoil


def drop(message):
    del message.inputs[1], message.raw_input_contents[1]


def repeat(message):
    message.inputs.append(message.inputs[1])
    message.raw_input_contents.append(message.raw_input_contents[1])


def unknown(message):
    message.inputs.add(name="observation.stat", datatype="FP32", shape=[1, 1])
    message.raw_input_contents.append(b"\0\0\0\0")


def typed(message):
    message.inputs[1].contents.fp32_contents.append(1.0)


def misspelt(message):
    message.parameters["noise_sed"].int64_param = 1


def wrong_kind(message):
    message.parameters["task_id"].string_param = "1"


def negative(message):
    message.parameters["noise_seed"].int64_param = -1


def no_contents(message):
    del message.raw_input_contents[:]


def many(message):
    for i in range(100):
        message.inputs.add(name=str(i))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (content(STATE, b"\0" * 31), "expected 32 bytes"),
        (content(STATE, b"\0" * 33), "expected 32 bytes"),
        (content(STATE, b""), "got 0 bytes"),
        (shape(STATE, [-1, 8]), "positive dimensions"),
        (shape(STATE, [1, 0]), "positive dimensions"),
        (shape(STATE, [1, 2**62]), f"expected {2**64} bytes"),
        (shape(STATE, [1] * 7), "1 to 6 dimensions"),
        (shape(STATE, []), "1 to 6 dimensions"),
        (shape(STATE, [2, 4]), "batch dimension"),
        (shape(IMAGE, [1, 2**31, 2**31, 3]), "bytes for shape"),
        (shape(IMAGE, [1, 4, 3, 4]), "any, any, 3"),
        (datatype(STATE, "FP16"), "one of UINT8, FP32"),
        (datatype(STATE, "FP64"), "expected FP32, got FP64"),
        (datatype(STATE, "INT64"), "expected FP32, got INT64"),
        (datatype("task", "FP32"), r"BYTES \[1, 1\]"),
        (content("task", b"\x01"), "4-byte length"),
        (content("task", b"\xff\xff\xff\xffx"), "an element of at most 1 bytes"),
        (content("task", b"\x01\0\0\0xy"), "nothing behind"),
        (content("task", b"\x01\0\0\0\xff"), "UTF-8"),
        (drop, "observation.state': expected it"),
        (repeat, "it twice"),
        (unknown, "Did you mean 'observation.state'"),
        (typed, "typed contents"),
        (misspelt, "Did you mean 'noise_seed'"),
        (wrong_kind, "expected int64_param, got string_param"),
        (negative, "at least 0"),
        (no_contents, "one for each of 3 tensors, got 0"),
        (many, "at most 64 tensors"),
    ],
)
def test_a_malformed_request_is_refused_by_name(spoil, message):
    spoiled = request()
    spoil(spoiled)
    with pytest.raises(CodecError, match=message):
        codec.decode_request(spoiled, SPEC)


@pytest.mark.parametrize("text", [b"[" * 60_000, b"{}", b"[1]", b"nope", b"9" * 5000])
def test_names_are_a_list_of_strings(text):
    message = codec.encode_request(
        [Observation({ENVIRONMENT_STATE: np.zeros(7, np.float32)}, "t", environment_names=("a",))], PRIVILEGED
    )
    content(codec.ENVIRONMENT_NAMES, len(text).to_bytes(4, "little") + text)(message)
    with pytest.raises(CodecError, match=r"observation\.environment_state\.names"):
        codec.decode_request(message, PRIVILEGED)


def test_a_policy_state_beyond_its_limit_is_refused_both_ways():
    too_long = b"\0" * (POLICY_STATE_LIMIT_BYTES + 1)
    with pytest.raises(CodecError, match="policy_state"):
        codec.decode_request(request(policy_state=too_long), SPEC)
    response = codec.encode_response([ActionChunk(np.zeros((3, 7), np.float32), too_long)], SPEC)
    with pytest.raises(CodecError, match="policy_state"):
        codec.decode_response(response, SPEC)


def decodes_or_refuses(body):
    """Passes when the bytes are no message, a refused one, or a whole observation."""
    try:
        message = pb.ModelInferRequest.FromString(body)
    except Exception as error:  # noqa: BLE001 - protobuf's own refusal
        assert type(error).__name__ == "DecodeError"  # noqa: PT017
        return
    try:
        rows = codec.decode_request(message, SPEC, max_rows=4)
    except CodecError:
        return
    for row in rows:
        codec.check_observation(row, SPEC)


@given(st.binary(max_size=300))
@settings(max_examples=1500, deadline=None)
def test_random_bytes_never_break_the_codec(body):
    decodes_or_refuses(body)


@given(st.data())
@settings(max_examples=1500, deadline=None)
def test_a_request_with_flipped_bytes_is_refused_or_whole(data):
    body = bytearray(request().SerializeToString(deterministic=True))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    decodes_or_refuses(bytes(body[: data.draw(st.integers(0, len(body)))] if data.draw(st.booleans()) else body))


def test_the_spec_survives_the_metadata():
    metadata = codec.encode_metadata(SPEC)
    assert codec.decode_metadata(metadata) == SPEC
    assert [(head.name, list(head.shape)) for head in metadata.inputs] == [
        (IMAGE, [-1, -1, -1, 3]),
        (STATE, [-1, -1]),
        ("task", [-1, 1]),
    ]
    assert list(metadata.outputs[0].shape) == [-1, 3, 7]


def test_what_a_checkpoint_says_of_itself_survives_the_metadata():
    ranges = (TrainingRange(STATE, (-0.5, 0.0), (0.5, 1.0), "min, max"),)
    spec = dataclasses.replace(SPEC, state_dim=2, runtime={"torch": "2.13.0"}, ranges=ranges, remarks=("no image",))
    assert codec.decode_metadata(codec.encode_metadata(spec)) == spec


@pytest.mark.parametrize("text", [None, "nope", "{}", '{"name": "x", "colour": 1, "keys": []}', "[]"])
def test_metadata_without_a_spec_of_ours_is_refused(text):
    metadata = pb.ModelMetadataResponse(name="other")
    if text is not None:
        metadata.properties[codec.SPEC_PROPERTY] = text
    with pytest.raises(CodecError, match="metadata of 'other'"):
        codec.decode_metadata(metadata)


@pytest.mark.parametrize(
    ("rows", "dims"), [(1, (2, 7)), (1, (3, 6)), (2, (3, 7))], ids=["chunk_len", "action_dim", "rows"]
)
def test_an_answer_of_another_shape_is_refused(rows, dims):
    other = dataclasses.replace(SPEC, chunk_len=dims[0], action_dim=dims[1])
    response = codec.encode_response([ActionChunk(np.zeros(dims, np.float32))], other)
    with pytest.raises(ContractError, match="expected shape"):
        codec.decode_response(response, SPEC, rows)

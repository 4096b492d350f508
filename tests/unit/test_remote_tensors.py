"""Tensors of other servers of the Open Inference Protocol: bytes and typed fields, BF16 and FP16."""

import numpy as np
import pytest

from ray_eval.policies.remote import tensors
from ray_eval.policies.remote.pool import BadAnswerError
from ray_eval.wire import open_inference_pb2 as pb


def response_of(array, datatype, *, is_typed=False, name="action"):
    response = pb.ModelInferResponse()
    tensor = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
    if is_typed:
        tensors.fill_typed(tensor.contents, array, datatype)
    else:
        response.raw_output_contents.append(tensors.raw_numbers(array, datatype))
    return response


@pytest.mark.parametrize("datatype", [*tensors.DTYPES])
@pytest.mark.parametrize("is_typed", [False, True])
def test_numbers_of_every_format_come_back(datatype, is_typed):
    if is_typed and datatype not in tensors.TYPED_FIELDS:
        assert datatype in ("FP16", "BF16")
        return
    array = np.array([[0, 1, 3], [5, 2, 1]])
    expected = array != 0 if datatype == "BOOL" else array
    back = tensors.output_of(response_of(array, datatype, is_typed=is_typed), ("action",), "here")
    assert np.array_equal(back, expected)


def test_bf16_is_rounded_to_the_nearest_as_torch_does_it():
    torch = pytest.importorskip("torch")
    numbers = np.concatenate(
        [np.random.default_rng(0).normal(0, 10.0**exponent, 500) for exponent in range(-8, 9)] + [[0.0, -0.0, 1.0]]
    ).astype(np.float32)
    theirs = torch.from_numpy(numbers).to(torch.bfloat16)
    assert tensors.raw_numbers(numbers, "BF16") == theirs.view(torch.int16).numpy().tobytes()
    back = tensors.output_of(response_of(numbers, "BF16"), ("action",), "here")
    assert np.array_equal(back, theirs.float().numpy())


def test_of_several_outputs_the_named_one_is_read_wherever_it_stands():
    response = response_of(np.zeros((1, 2)), "FP32", name="value")
    other = response_of(np.ones((1, 10, 7)), "FP16", name="OUT")
    response.outputs.extend(other.outputs)
    response.raw_output_contents.extend(other.raw_output_contents)
    assert tensors.output_of(response, ("action", "OUT"), "here").shape == (1, 10, 7)
    with pytest.raises(BadAnswerError, match=r"expected the output 'ELSE', got value, OUT; write policy.rename.action"):
        tensors.output_of(response, ("ELSE",), "here")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": (3, 3)}, r"FP32 \[3, 3\] in 16 bytes"),
        ({"shape": (-1, 4)}, r"FP32 \[-1, 4\] in 16 bytes"),
        ({"shape": ()}, r"FP32 \[\] in 16 bytes"),
        ({"datatype": "FP8"}, r"FP8 \[2, 2\] in 16 bytes"),
        ({"datatype": "BYTES"}, r"BYTES \[2, 2\] in 16 bytes"),
    ],
)
def test_contents_that_do_not_fit_their_shape_are_refused(change, said):
    response = response_of(np.ones((2, 2)), "FP32")
    tensor = response.outputs[0]
    tensor.datatype = change.get("datatype", tensor.datatype)
    if "shape" in change:
        del tensor.shape[:]
        tensor.shape.extend(change["shape"])
    with pytest.raises(
        BadAnswerError, match=f"output 'action': expected numbers, as many as its shape says, got {said}"
    ):
        tensors.output_of(response, ("action",), "here")
    with pytest.raises(BadAnswerError, match=r"FP32 \[2\] in 0 typed numbers"):
        tensors.output_of(
            pb.ModelInferResponse(outputs=[{"name": "action", "datatype": "FP32", "shape": [2]}]), ("action",), ""
        )

"""The checked-in stubs are those of open_inference.proto and speak the public protocol."""

import re
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

from ray_eval.wire import open_inference_pb2 as pb
from ray_eval.wire import open_inference_pb2_grpc
from ray_eval.wire.transport import SERVICE_NAME

WIRE = Path(pb.__file__).parent
METHODS = ["ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"]
# Of the extension "system_shared_memory".
METHODS += ["SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister"]

# Field numbers of the public specification.
FIELDS = {
    "ServerLiveResponse": {"live": 1},
    "ServerReadyResponse": {"ready": 1},
    "ModelReadyRequest": {"name": 1, "version": 2},
    "ModelReadyResponse": {"ready": 1},
    "ServerMetadataResponse": {"name": 1, "version": 2, "extensions": 3},
    "ModelMetadataRequest": {"name": 1, "version": 2},
    "ModelMetadataResponse": {"name": 1, "versions": 2, "platform": 3, "inputs": 4, "outputs": 5, "properties": 1001},
    "ModelMetadataResponse.TensorMetadata": {"name": 1, "datatype": 2, "shape": 3},
    "ModelInferRequest": {
        "model_name": 1,
        "model_version": 2,
        "id": 3,
        "parameters": 4,
        "inputs": 5,
        "outputs": 6,
        "raw_input_contents": 7,
    },
    "ModelInferRequest.InferInputTensor": {"name": 1, "datatype": 2, "shape": 3, "parameters": 4, "contents": 5},
    "ModelInferRequest.InferRequestedOutputTensor": {"name": 1, "parameters": 2},
    "ModelInferResponse": {
        "model_name": 1,
        "model_version": 2,
        "id": 3,
        "parameters": 4,
        "outputs": 5,
        "raw_output_contents": 6,
    },
    "ModelInferResponse.InferOutputTensor": {"name": 1, "datatype": 2, "shape": 3, "parameters": 4, "contents": 5},
    "SystemSharedMemoryStatusRequest": {"name": 1},
    "SystemSharedMemoryStatusResponse": {"regions": 1},
    "SystemSharedMemoryStatusResponse.RegionStatus": {"name": 1, "key": 2, "offset": 3, "byte_size": 4},
    "SystemSharedMemoryRegisterRequest": {"name": 1, "key": 2, "offset": 3, "byte_size": 4},
    "SystemSharedMemoryUnregisterRequest": {"name": 1},
    "InferParameter": {
        "bool_param": 1,
        "int64_param": 2,
        "string_param": 3,
        "double_param": 4,
        "uint64_param": 5,
    },
    "InferTensorContents": {
        "bool_contents": 1,
        "int_contents": 2,
        "int64_contents": 3,
        "uint_contents": 4,
        "uint64_contents": 5,
        "fp32_contents": 6,
        "fp64_contents": 7,
        "bytes_contents": 8,
    },
}


def descriptor(name):
    outer, _, inner = name.partition(".")
    message = pb.DESCRIPTOR.message_types_by_name[outer]
    return message.nested_types_by_name[inner] if inner else message


@pytest.mark.parametrize("name", FIELDS)
def test_a_message_has_the_public_field_numbers(name):
    assert {field.name: field.number for field in descriptor(name).fields} == FIELDS[name]


def test_the_service_has_the_public_name_and_methods():
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert service.full_name == SERVICE_NAME
    assert [method.name for method in service.methods] == METHODS
    for method in METHODS:
        assert hasattr(open_inference_pb2_grpc.GRPCInferenceServiceServicer, method)


def test_the_stubs_are_those_of_the_proto_file():
    """Every `name = number` of the source is in the stub's descriptor, and nothing else."""
    source = re.sub(r"//.*", "", (WIRE / "open_inference.proto").read_text())
    written = re.findall(r"(\w+) = (\d+);", source)
    assert sorted(written) == sorted((name, str(number)) for name, number in compiled_fields(pb.DESCRIPTOR))


def compiled_fields(container):
    messages = getattr(container, "message_types_by_name", None) or container.nested_types_by_name
    for message in messages.values():
        if not message.GetOptions().map_entry:
            yield from ((field.name, field.number) for field in message.fields)
            yield from compiled_fields(message)


def test_the_stubs_carry_no_check_of_the_protobuf_version():
    assert "runtime_version" not in (WIRE / "open_inference_pb2.py").read_text()


def test_the_stubs_leave_the_names_free_for_other_clients_of_the_protocol():
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest")

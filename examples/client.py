"""One chunk from a policy server, by the protocol alone: `python examples/client.py 127.0.0.1:8000` (TOKEN as 2nd)."""

import sys

import grpc
import numpy as np

from ray_eval.wire import open_inference_pb2 as pb  # or what protoc makes of ray_eval/wire/open_inference.proto
from ray_eval.wire.open_inference_pb2_grpc import GRPCInferenceServiceStub

address, *token = sys.argv[1:]
task = b"pick up the black bowl"
state = np.zeros((1, 8), "<f4")
request = pb.ModelInferRequest(raw_input_contents=[state.tobytes(), bytes([len(task), 0, 0, 0]) + task])
request.inputs.add(name="observation.state", datatype="FP32", shape=[1, 8])
request.inputs.add(name="task", datatype="BYTES", shape=[1, 1])
request.parameters["noise_seed"].int64_param = 7
with grpc.insecure_channel(address) as channel:
    metadata = [("authorization", f"Bearer {each}") for each in token]
    answer = GRPCInferenceServiceStub(channel).ModelInfer(request, metadata=metadata, timeout=60)
print(np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(answer.outputs[0].shape))

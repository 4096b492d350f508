#!/bin/sh
# Writes the stubs of open_inference.proto anew; they are checked in.
#
# grpcio-tools 1.62.3 and no later one: its output carries no check of the protobuf version, so that one set of
# stubs serves protobuf 4.25 to 7, whatever a checkpoint's environment pins.
#
#     python3.11 -m venv /tmp/stubs && /tmp/stubs/bin/pip install "grpcio-tools==1.62.3" "setuptools<81"
#     PYTHON=/tmp/stubs/bin/python ray_eval/wire/generate.sh
set -eu
cd "$(dirname "$0")/../.."
"${PYTHON:-python}" -m grpc_tools.protoc --proto_path=. \
    --python_out=. --pyi_out=. --grpc_python_out=. ray_eval/wire/open_inference.proto

# A descriptor pool of our own: every client of this protocol, Triton's for one, brings messages of the same names,
# and protobuf's default pool takes them once. A policy may import such a client into the server's process.
sed -i 's/_descriptor_pool\.Default()/_descriptor_pool.DescriptorPool()/' ray_eval/wire/open_inference_pb2.py

"""The client's end of a connection: how a channel to a policy server is opened, in workers and in checks."""

from __future__ import annotations

import ssl
from typing import Any

import grpc

from ray_eval.sections import ConnectSection
from ray_eval.wire import open_inference_pb2 as pb
from ray_eval.wire.transport import AUTHORIZATION, MESSAGE_OPTIONS, SELF_SIGNED_NAME, SERVICE_NAME, bearer

# Channels to one address do not share a connection, so that closing one leaves the others alone; reconnects are
# quick, because a policy actor is usually back within seconds.
_CHANNEL_OPTIONS = (
    *MESSAGE_OPTIONS,
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 10_000),  # gRPC's name for how long one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def open_channel(section: ConnectSection) -> grpc.Channel:
    """A channel to the server; it connects with the first call, and the caller closes it."""
    if section.certificate_pem is None:
        return grpc.insecure_channel(section.address, options=_CHANNEL_OPTIONS)
    credentials = grpc.ssl_channel_credentials(root_certificates=section.certificate_pem)
    options = (*_CHANNEL_OPTIONS, *_name_override(section.certificate_pem))
    return grpc.secure_channel(section.address, credentials, options)


def infer_method(channel: grpc.Channel) -> Any:
    """ModelInfer for a request that is bytes already, so that a repeat need not be serialised again."""
    method = f"/{SERVICE_NAME}/ModelInfer"
    return channel.unary_unary(method, None, pb.ModelInferResponse.FromString)


def call_metadata(section: ConnectSection) -> tuple[tuple[str, str], ...]:
    """What every call carries: the bearer token, if there is one."""
    return () if section.token is None else ((AUTHORIZATION, bearer(section.token)),)


def _name_override(certificate_pem: bytes) -> tuple[tuple[str, str], ...]:
    """The fixed name by which a certificate that ray-eval made is checked; none for any other certificate.

    Such a certificate is trusted because it is the very one that the run made, so that the address under which the
    server is reached says nothing more.
    """
    der = ssl.PEM_cert_to_DER_cert(certificate_pem.decode("ascii"))
    is_self_signed = SELF_SIGNED_NAME.encode() in der
    return (("grpc.ssl_target_name_override", SELF_SIGNED_NAME),) if is_self_signed else ()

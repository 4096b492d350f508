"""What the two ends of a connection must agree on besides the messages; read by the server and by its clients."""

from __future__ import annotations

import ipaddress

SERVICE_NAME = "inference.GRPCInferenceService"
"""Full name of the Open Inference Protocol's service."""
MESSAGE_LIMIT_BYTES = 64 * 1024 * 1024
"""Largest message in either direction; about 160 observations of two 256 px images."""
AUTHORIZATION = "authorization"
"""Metadata key of the bearer token."""
SELF_SIGNED_NAME = "policy.ray-eval.internal"
"""DNS name in every certificate that ray-eval makes, whatever the host is called."""
UNIX_PREFIX = "unix:"
"""What the address of a unix socket begins with."""
MAX_UNIX_PATH_BYTES = 107
"""Longest path of a unix socket on Linux: `sun_path` less its final zero."""

MESSAGE_OPTIONS = (
    ("grpc.max_send_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.enable_http_proxy", 0),
)
"""gRPC options of both ends."""


def bearer(token: str) -> str:
    """The value of the `authorization` metadata for a token."""
    return f"Bearer {token}"


def is_loopback(host: str) -> bool:
    """Whether a host, by its name or number, is one that no other machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""Credentials of one run: a token that every call carries, and a certificate for traffic between hosts."""

from __future__ import annotations

import datetime as dt
import ipaddress
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ray_eval.errors import SetupError
from ray_eval.wire.transport import SELF_SIGNED_NAME

if TYPE_CHECKING:
    from cryptography import x509

VALID_DAYS = 30
"""How long a certificate holds, from a day before it was made, for hosts whose clocks differ."""


def new_token() -> str:
    """A fresh bearer token: 256 random bits as URL-safe text."""
    return secrets.token_urlsafe(32)


def self_signed_certificate(*hosts: str) -> tuple[bytes, bytes]:
    """A certificate for the hosts (names or IP addresses) and its key, both PEM.

    It also carries the name `SELF_SIGNED_NAME`, by which our clients check it, so that they may reach the server
    under any address.

    Raises:
        SetupError: the package cryptography is not installed.
    """
    try:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise SetupError(
            "TLS: expected the package cryptography, got none; install ray-eval[eval] or bring a certificate"
        ) from error
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _unsigned(hosts).public_key(key.public_key()).sign(key, hashes.SHA256())
    private_key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private_key_pem


def _unsigned(hosts: Sequence[str]) -> x509.CertificateBuilder:
    from cryptography import x509

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, SELF_SIGNED_NAME)])
    now = dt.datetime.now(dt.UTC)
    names = [_general_name(host) for host in (SELF_SIGNED_NAME, *hosts)]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    )


def _general_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)

"""Where a server may listen: addresses, socket files and credentials, checked before gRPC sees them."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
from pathlib import Path

from ray_eval.errors import SetupError
from ray_eval.scratch import is_named_as_ours
from ray_eval.sections import ListenSection
from ray_eval.wire.transport import MAX_UNIX_PATH_BYTES, UNIX_PREFIX, is_loopback

PROBE_TIMEOUT_S = 1.0
"""How long a socket file's owner is given to accept before the file is taken to be in use."""


def check_listen(listen: ListenSection) -> None:
    """Passes when the address is well formed and nobody unauthorised can reach it.

    Raises:
        SetupError: half of a certificate, a malformed address, or one that other hosts reach without credentials.
    """
    has_tls = listen.certificate_pem is not None
    if has_tls != (listen.private_key_pem is not None):
        raise SetupError(f"listen {listen.address!r}: expected a certificate and its key, got one without the other")
    if listen.token is not None and not (listen.token.isascii() and listen.token.isprintable() and listen.token):
        raise SetupError(f"listen {listen.address!r}: expected a token of printable ASCII characters")
    if listen.address.startswith(UNIX_PREFIX):
        _check_unix(unix_path(listen.address))
    elif not is_loopback(_host(listen.address)) and not (has_tls and listen.token):
        raise SetupError(
            f"listen {listen.address!r}: expected a token and TLS on an address that other hosts reach, got"
            f" {'no TLS' if listen.token else 'no token'}; listen on 127.0.0.1, or give a token, certificate and key"
        )


def unix_path(address: str) -> Path:
    """The socket file of a `unix:` address."""
    return Path(address.removeprefix(UNIX_PREFIX))


def _host(address: str) -> str:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise SetupError(f"listen {address!r}: expected `host:port` or `unix:/path`")
    return host.removeprefix("[").removesuffix("]")


def is_local(address: str) -> bool:
    """Whether an address is one that no other host reaches: a socket file, or loopback."""
    return address.startswith(UNIX_PREFIX) or is_loopback(_host(address))


def is_every_interface(host: str) -> bool:
    """Whether a host stands for every interface of its machine, so that nobody can be told to call it."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _check_unix(path: Path) -> None:
    length = len(os.fsencode(path))
    if not 1 < length <= MAX_UNIX_PATH_BYTES:
        raise SetupError(
            f"listen 'unix:{path}': expected a path of at most {MAX_UNIX_PATH_BYTES} bytes, got {length};"
            " use a shorter folder, for instance under /tmp"
        )
    if not path.parent.is_dir():
        raise SetupError(f"listen 'unix:{path}': expected the folder {path.parent} to exist")
    if is_named_as_ours(path.parent) and path.parent.stat().st_uid != os.getuid():
        raise SetupError(f"listen 'unix:{path}': expected a folder of this user's, got one of another's")


def remove_stale(path: Path) -> None:
    """Removes a socket file that nobody listens on.

    Raises:
        SetupError: the path is another kind of file, or a server that lives.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SetupError(f"listen 'unix:{path}': expected a free path, got a file that is no socket")
    if _is_answered(path):
        raise SetupError(f"listen 'unix:{path}': expected a free path, got the socket of a server that runs")
    path.unlink(missing_ok=True)


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
        return True

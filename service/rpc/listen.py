"""The address that the server listens on, and its certificates.

Each problem is one line.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from .certificates import CertificateError, ServerCertificates

if TYPE_CHECKING:
    import grpc

    from ..config import ServiceConfig


class ServeError(Exception):
    """The server can't start; the message is one line, `exit_code` the exit code of the command."""

    exit_code = 2


def listen(server: grpc.aio.Server, config: ServiceConfig) -> str:
    """Open the port of `server` and return its address; for port 0 the system chooses the port.

    Raises:
        ServeError: the address is invalid or in use, or certificates are missing or don't match.
        KeysError: the key file is unusable, or other machines could connect without a key.
    """
    credentials = _credentials(config)
    host = _probe(config.grpc)
    config.check_access()
    try:
        if credentials is None:
            port = server.add_insecure_port(config.grpc)
        else:
            port = server.add_secure_port(config.grpc, credentials)
    except RuntimeError as error:
        raise ServeError(f"cannot listen on {config.grpc}: {error}") from error
    return config.grpc if host is None else f"{host}:{port}"


def _probe(address: str) -> str | None:
    """Bind `address` once, since gRPC reports no cause; return its host, None for a Unix socket."""
    if address.startswith("unix"):
        return None
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ServeError(f"--grpc must be HOST:PORT, for example 127.0.0.1:50051; got {address!r}")
    try:
        family, *_, place = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            probe.listen(1)
    except OSError as error:
        raise ServeError(
            f"cannot listen on {address}: {error.strerror or error}; choose another address with --grpc"
        ) from error
    return host


def _credentials(config: ServiceConfig) -> grpc.ServerCredentials | None:
    if config.tls_cert is None or config.tls_key is None:
        if config.tls_cert or config.tls_key or config.tls_client_ca:
            raise ServeError("TLS requires both --tls-cert and --tls-key")
        return None
    try:
        return ServerCertificates(config.tls_cert, config.tls_key, config.tls_client_ca).credentials()
    except CertificateError as error:
        raise ServeError(str(error)) from error

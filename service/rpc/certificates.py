"""Certificates of the server's address, which may be renewed while it runs."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING

import grpc

from tintype.v1.certificates import FileWatch, pair_problem

if TYPE_CHECKING:
    from pathlib import Path

CHECK_INTERVAL = 1.0  # seconds between two looks at the files, which handshakes cause


class ServerCertificates:
    """The certificate at `cert` with its `key`, and the CA of clients, if they must have certificates.

    gRPC asks for changes at each handshake, on a thread of its own. Calls on open connections go on.
    Raises CertificateError.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._lock = threading.Lock()
        self._next_check = 0.0  # time of `monotonic`
        self._watch = FileWatch((cert, key, client_ca), self._load)
        self._load()

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials that follow the files."""
        given = self._current
        required = self._client_ca is not None
        sent = [given]

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            current = self._checked()
            if current is sent[0]:
                return None
            sent[0] = current
            return current

        # For None gRPC keeps the certificates that it has.
        return grpc.dynamic_ssl_server_credentials(given, fetch, require_client_authentication=required)  # type: ignore[arg-type]

    def _checked(self) -> grpc.ServerCertificateConfiguration:
        """Return the current certificates; look at the files if the last look was some time ago."""
        with self._lock:
            if monotonic() >= self._next_check:
                self._watch.check()
                self._next_check = monotonic() + CHECK_INTERVAL
            return self._current

    def _load(self) -> None:
        pair = _read(self._key, "--tls-key"), _read(self._cert, "--tls-cert")
        if problem := pair_problem(self._cert, self._key):
            raise CertificateError(f"--tls-cert {self._cert} and --tls-key {self._key} {problem}")
        roots = _read(self._client_ca, "--tls-client-ca") if self._client_ca else None
        self._current = grpc.ssl_server_certificate_configuration([pair], roots)


class CertificateError(Exception):
    """A certificate can't be used; the message is one line."""


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{name} {path} can't be read: {error.strerror}") from error

"""Channels to the gRPC service: address, certificates, key, and why a connection failed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import grpc

from tintype.v1.certificates import pair_problem
from tintype.v1.keys import authorization
from tintype.v1.limits import REQUEST_ID
from tintype.v1.tracing import current_span

from ..errors import StartError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..config import GatewayConfig

MODEL_ID = "multiplexed_model_id"  # Ray Serve's name of the metadata
HANDSHAKE_FAILED = "the TLS handshake with the image service failed"
NOT_SERVING = "the image service is loading its model, draining, or has no model that works"
KEY_REJECTED = "the image service does not accept this gateway's key"
REFUSED = "nothing listens at the address of the image service"
# Parts of gRPC's messages for failed connections, and their meanings; the first match counts.
_REASONS = {
    "Connection refused": REFUSED,
    "Domain name not found": "the host name of the image service is unknown",
    "address lookup failed": "the host name of the image service is unknown",
}
_REASONS_WITHOUT_TLS = {
    "Socket closed": "the image service closed the connection; it may expect TLS: set --tls-ca",
    "Connection reset": "the image service closed the connection; it may expect TLS: set --tls-ca",
}
_REASONS_WITH_TLS = {
    "WRONG_VERSION_NUMBER": f"{HANDSHAKE_FAILED}: it does not speak TLS; leave out --tls-ca",
    "CERTIFICATE_VERIFY_FAILED": f"{HANDSHAKE_FAILED}: its certificate is not signed by --tls-ca",
    "Hostname Verification": f"{HANDSHAKE_FAILED}: its certificate is for another host name than --grpc",
    "handshake failed": HANDSHAKE_FAILED,
}


@dataclass(frozen=True, slots=True)
class Route:
    """The address and credentials of a service.

    `target` is one address, or several as `targets` describes them; a channel needs one. With `tls_ca`, `cert` or
    `cert_key` (PEM files) the channel uses TLS. `key` is sent with each call. `authority` is the name of the server in
    requests and in its certificate, if that is not `target`. With `ray_serve` the target is a proxy of Ray Serve.
    Raises StartError for a key that can't be sent as metadata.
    """

    target: str
    tls_ca: Path | None = None
    cert: Path | None = None
    cert_key: Path | None = None
    key: str = ""
    authority: str = ""
    ray_serve: bool = False

    def __post_init__(self) -> None:
        if not (self.key.isascii() and self.key.isprintable()):
            raise StartError("--service-key must be printable ASCII, because it is sent as gRPC metadata")

    @classmethod
    def from_config(cls, config: GatewayConfig) -> Route:
        """Return the route that the configuration describes."""
        certificates = config.tls_ca, config.service_cert, config.service_cert_key
        return cls(config.grpc, *certificates, config.service_key, ray_serve=config.ray_serve)

    @property
    def certificates(self) -> tuple[Path | None, ...]:
        """The files of the credentials."""
        return self.tls_ca, self.cert, self.cert_key

    def at(self, address: str, authority: str = "") -> Route:
        """Return the route to one of several addresses, with the same credentials."""
        return replace(self, target=address, authority=authority)

    @property
    def is_tls(self) -> bool:
        """Whether the channel uses TLS."""
        return bool(self.tls_ca or self.cert)

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Return the certificates; None without TLS. Raises StartError if they can't be read."""
        if (self.cert is None) != (self.cert_key is None):
            raise StartError("a client certificate requires both --service-cert and --service-cert-key")
        if not self.is_tls:
            return None
        return grpc.ssl_channel_credentials(
            _pem(self.tls_ca, "--tls-ca"),
            _pem(self.cert_key, "--service-cert-key"),
            _pem(self.cert, "--service-cert"),
        )

    def check_certificates(self) -> None:
        """Raise StartError if the certificates can't be used. Reads the files."""
        self.credentials()
        if self.cert and self.cert_key and (problem := pair_problem(self.cert, self.cert_key)):
            raise StartError(f"--service-cert {self.cert} and --service-cert-key {self.cert_key} {problem}")

    def channel(self, options: Sequence[tuple[str, Any]]) -> grpc.aio.Channel:
        """Open a channel. Raises StartError if a certificate can't be read."""
        credentials = self.credentials()
        if self.authority:
            options = (*options, ("grpc.default_authority", self.authority))
        if credentials is None:
            return grpc.aio.insecure_channel(self.target, options=options)
        if self.authority:
            options = (*options, ("grpc.ssl_target_name_override", self.authority.rpartition(":")[0].strip("[]")))
        return grpc.aio.secure_channel(self.target, credentials, options=options)

    def failure_reason(self, error: grpc.aio.AioRpcError) -> str:
        """Return why a call did not reach the service, without addresses; empty if gRPC's message does not say."""
        text = error.details() or ""
        reasons = _REASONS | (self._reasons_with_tls if self.is_tls else _REASONS_WITHOUT_TLS)
        return next((reason for part, reason in reasons.items() if part in text), "")

    @property
    def _reasons_with_tls(self) -> dict[str, str]:
        """The table for TLS. A server that refuses the client's certificate closes or resets the connection."""
        why = "it may expect a client certificate: set --service-cert"
        if self.cert:
            why = "it may not accept the certificate in --service-cert"
        closed = f"the image service closed the connection; {why}"
        return _REASONS_WITH_TLS | {"Socket closed": closed, "Connection reset": closed}


def call_metadata(route: Route, request_id: str = "", model: str = "") -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call to the service, which continues the trace; every call has it from here.

    Ray Serve sends a call with the name of a `model` to the replica that has it.
    """
    request = ((REQUEST_ID, request_id),) if request_id else ()
    routing = ((MODEL_ID, model),) if route.ray_serve and model else ()
    key = (authorization(route.key),) if route.key else ()
    return (*request, *routing, *current_span().headers(), *key)


def _pem(path: Path | None, flag: str) -> bytes | None:
    try:
        return path.read_bytes() if path else None
    except OSError as error:
        raise StartError(f"cannot read {flag} {path}: {error.strerror}") from error

"""TLS of the gateway's own address."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tintype.v1.settings import Common

from ..errors import StartError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TlsSettings(Common):
    """Certificates of the gateway's own address; without them it serves HTTP."""

    rest_tls_cert: Path | None = field(
        default=None, metadata={"help": "TLS certificate chain (PEM) of the REST gateway; it then serves HTTPS"}
    )
    rest_tls_key: Path | None = field(default=None, metadata={"help": "private key (PEM) of --rest-tls-cert"})
    rest_tls_client_ca: Path | None = field(
        default=None,
        metadata={"help": "CA (PEM) that must have signed the certificates of REST clients (mutual TLS)"},
    )

    def check_tls(self) -> None:
        """Raise StartError if only a part of the certificates is given."""
        if bool(self.rest_tls_cert) != bool(self.rest_tls_key) or (self.rest_tls_client_ca and not self.rest_tls_cert):
            raise StartError("HTTPS requires both --rest-tls-cert and --rest-tls-key")

    @property
    def is_open(self) -> bool:
        """Whether other machines can connect, and only keys restrict access."""
        return not (self.is_local or self.anonymous or self.rest_tls_client_ca)

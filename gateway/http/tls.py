"""TLS of the gateway's connections: certificates, which may be renewed while it runs, and bounded handshakes.

A connection counts towards the limit of connections from the beginning, as an idle one; its handshake has
HANDSHAKE_SECONDS. A client that speaks plain HTTP gets 400.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from tintype.v1.certificates import FileWatch, pair_problem

from ..dialects.openai import INVALID_REQUEST
from ..dialects.openai_types import ErrorBody, ErrorResponse
from ..errors import StartError

if TYPE_CHECKING:
    from ..config import GatewayConfig
    from .connections import Connection

HANDSHAKE_SECONDS = 10.0
MAX_SPARE_SOCKETS = 64  # of unfinished handshakes, kept to answer plain HTTP
_MESSAGE = "This is an HTTPS address; the request was sent by plain HTTP."
_BODY = msgspec.json.encode(ErrorResponse(ErrorBody(message=_MESSAGE, type=INVALID_REQUEST, param=None, code=None)))
PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


class ServerTls:
    """The certificates of the gateway: `context` is for the next handshake.

    Raises StartError if a file can't be used.
    """

    def __init__(self, config: GatewayConfig) -> None:
        assert config.rest_tls_cert and config.rest_tls_key, "the settings are checked"  # noqa: S101, PT018
        self._cert, self._key, self._ca = config.rest_tls_cert, config.rest_tls_key, config.rest_tls_client_ca
        self.watch = FileWatch((self._cert, self._key, self._ca), self.load)  # from before the files are read
        self.load()

    def load(self) -> None:
        """Read the files again. Raises StartError, and then keeps the previous context."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        context.options |= ssl.OP_NO_RENEGOTIATION
        names = f"--rest-tls-cert {self._cert} and --rest-tls-key {self._key}"
        try:
            if problem := pair_problem(self._cert, self._key):
                raise StartError(f"{names} {problem}")
            context.load_cert_chain(self._cert, self._key, password=lambda: "")
            names = f"--rest-tls-client-ca {self._ca}"
            if self._ca:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(self._ca)
        except OSError as error:
            raise StartError(f"{names} can't be read: {error.strerror or error}") from error
        self.context = context


def server_tls(config: GatewayConfig) -> ServerTls | None:
    """Return the certificates that a configuration names; None without any. Raises StartError."""
    return ServerTls(config) if config.rest_tls_cert else None


def with_tls(connections: type[Connection], tls: ServerTls | None) -> Any:
    """Return the factory of a gateway's connections: these, after a handshake if there are certificates."""
    if tls is None:
        return connections

    def connection(*args: Any, **kwargs: Any) -> Handshake:
        return Handshake(connections(*args, **kwargs), tls)

    return connection


class Handshake(asyncio.Protocol):
    """The first protocol of a connection: the TLS handshake, after which `connection` takes over."""

    spare_sockets = 0  # of all handshakes

    def __init__(self, connection: Connection, tls: ServerTls) -> None:
        self._connection = connection
        self._tls = tls
        self._received = bytearray()
        self._is_ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection and start the handshake; if there are too many connections, abort it."""
        self.transport = transport
        transport.pause_reading()  # until TLS reads
        registry = self._connection.registry
        if not registry.add(self) and registry.is_full:
            self._forget()
            transport.abort()
            return
        self._connection.open_connections.add(self)
        self._task = self._connection.loop.create_task(self._shake_hands())

    def data_received(self, data: bytes) -> None:
        """Keep what arrives before the handshake begins, and later what arrives with its end."""
        self._received += data

    def eof_received(self) -> None:
        """Note that the client has closed the connection."""
        self._is_ended = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        """Note that the connection is closed."""
        self._is_ended = True
        self._forget()

    def shutdown(self) -> None:
        """End the connection when the server shuts down; uvicorn calls it."""
        self.transport.abort()

    def _forget(self) -> None:
        self._connection.registry.remove(self)
        self._connection.open_connections.discard(self)

    async def _shake_hands(self) -> None:
        spare = self._spare_socket()
        try:
            shaking = self._connection.loop.create_task(self._start_tls())
            await asyncio.sleep(0)  # until it has replaced the protocol of the transport
            self._pass_on()
            transport = await shaking
        except OSError as error:  # of TLS as well
            if spare and "HTTP_REQUEST" in str(getattr(error, "reason", "")):
                with suppress(OSError):
                    spare.send(PLAIN_HTTP)
            return
        finally:
            self._forget()
            if spare:
                Handshake.spare_sockets -= 1
                spare.close()
        self._hand_over(transport)

    async def _start_tls(self) -> Any:
        return await self._connection.loop.start_tls(
            self.transport,
            self,
            self._tls.context,
            server_side=True,
            ssl_handshake_timeout=min(HANDSHAKE_SECONDS, self._connection.seconds),
            ssl_shutdown_timeout=self._connection.seconds,
        )

    def _pass_on(self) -> None:
        """Pass what has arrived to TLS: uvloop reads before the first protocol can stop it."""
        protocol: Any = self.transport.get_protocol()
        received, self._received = self._received, bytearray()
        while received and protocol is not self:
            buffer = protocol.get_buffer(len(received))
            size = min(len(buffer), len(received))
            buffer[:size] = received[:size]
            del received[:size]
            protocol.buffer_updated(size)

    def _hand_over(self, transport: Any) -> None:
        """Let the connection serve requests on the encrypted transport."""
        if transport is None or self._is_ended:
            self.transport.abort()
            return
        transport.set_protocol(self._connection)
        self._connection.connection_made(transport)
        if self._received and not transport.is_closing():
            self._connection.data_received(bytes(self._received))

    def _spare_socket(self) -> socket.socket | None:
        """Return the connection's socket once more: a failed handshake closes the first one."""
        if Handshake.spare_sockets >= MAX_SPARE_SOCKETS:
            return None
        try:
            spare = socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno()))
        except OSError:
            return None
        spare.setblocking(False)  # noqa: FBT003
        Handshake.spare_sockets += 1
        return spare

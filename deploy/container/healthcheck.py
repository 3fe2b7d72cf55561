#!/opt/tintype/bin/python
"""Exit with 0 if a server of this container is alive: the gateway by `/livez`, otherwise the service by its health.

With the argument `ready` they must also be able to make images: `/readyz`, and the health SERVING.
Ports are those of TINTYPE_REST and TINTYPE_GRPC, otherwise 8080 and 50051.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import sys
from contextlib import closing

TIMEOUT = 5.0  # seconds
ALIVE, READY = "/livez", "/readyz"


def port(variable: str, default: int) -> int:
    """Return the port of an address HOST:PORT in a variable."""
    text = os.environ.get(variable, "").rpartition(":")[2]
    return int(text) if text.isdigit() else default


def ask_gateway(path: str) -> bool | None:
    """Return whether the gateway answers with 200, over HTTP or HTTPS; None if there is no gateway.

    One that asks for a client certificate, which this program does not have, counts as alive after its handshake.
    """
    for secure in (False, True):
        try:
            if _status(path, secure=secure) == http.HTTPStatus.OK:
                return True
        except ConnectionRefusedError:
            return None
        except ConnectionClosed:
            if secure:
                return path == ALIVE
        except (OSError, http.client.HTTPException):  # the other protocol, or no answer in time
            continue
    return False  # a gateway that serves HTTPS answers plain HTTP with 400


class ConnectionClosed(Exception):
    """The connection was closed in place of an answer."""


def _status(path: str, *, secure: bool) -> int:
    """Return the status of a response. Raises OSError, HTTPException, or ConnectionClosed after a handshake."""
    with closing(_connection(secure=secure)) as connection:
        connection.connect()
        try:
            connection.request("GET", path)
            with connection.getresponse() as response:
                return response.status
        except (ConnectionError, ssl.SSLError) as error:
            raise ConnectionClosed from error


def _connection(*, secure: bool) -> http.client.HTTPConnection:
    address, number = "127.0.0.1", port("TINTYPE_REST", 8080)
    if not secure:
        return http.client.HTTPConnection(address, number, timeout=TIMEOUT)
    # The certificate is of the gateway's public name, and this connection stays in the container.
    context = ssl._create_unverified_context()  # noqa: S323, SLF001
    return http.client.HTTPSConnection(address, number, timeout=TIMEOUT, context=context)


def ask_service(*, ready: bool) -> bool:
    """Return whether the service accepts connections; if `ready`, whether its health is SERVING, which needs no TLS."""
    number = port("TINTYPE_GRPC", 50051)
    if ready:
        return _is_serving(f"127.0.0.1:{number}")
    try:
        socket.create_connection(("127.0.0.1", number), TIMEOUT).close()
    except OSError:
        return False
    return True


def _is_serving(address: str) -> bool:
    import grpc  # noqa: PLC0415 - other checks are faster without it
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def main() -> int:
    """Return the exit code."""
    ready = "ready" in sys.argv[1:]
    alive = ask_gateway(READY if ready else ALIVE)
    return 0 if (ask_service(ready=ready) if alive is None else alive) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Where servers listen and how they are reached from here."""

from __future__ import annotations

import socket

from ..errors import UserError
from ..settings.values import split_address

ANY = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # compared with, not bound to


def claim(address: str, flag: str) -> str:
    """Check that a server can listen at HOST:PORT, and put a free port for 0. Raises UserError."""
    host, port = split_address(address)
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            probe.listen(1)
            port = probe.getsockname()[1]
    except OSError as error:
        raise UserError(f"can't listen on {address}: {error.strerror}; choose another with {flag}") from error
    return address.rpartition(":")[0] + f":{port}"


def reachable(address: str) -> str:
    """How this machine reaches a server that listens at HOST:PORT."""
    host, port = split_address(address)
    return f"{ANY[host]}:{port}" if host in ANY else address


def reachable_url(url: str) -> str:
    """How this machine reaches a server that says it is at `http://HOST:PORT`."""
    return "http://" + reachable(url.removeprefix("http://"))

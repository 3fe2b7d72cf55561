"""The addresses of `--grpc`: one or several, separated by commas, and names whose addresses are looked up.

HOST:PORT  [::1]:PORT       one replica; a name is resolved by gRPC, which uses any of its addresses
unix:PATH                   one replica at a Unix socket
dns:///NAME:PORT            as many replicas as the name has addresses, looked up again every few seconds
ipv4:A:1,B:2  ipv6:[A]:1    gRPC's own notation for several addresses
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from ..errors import StartError

Resolver: TypeAlias = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host name and port, HOST:PORT each. Raises OSError."""

_DNS = re.compile(r"dns:(?://(?P<server>[^/]*)/)?(?P<name>.+)")
_ADDRESS = re.compile(r"(?P<host>\[[0-9a-f:.]+(?:%[\w.-]+)?\]|[^\s:/\[\]]+):(?P<port>\d{1,5})", re.IGNORECASE)
_SOCKET = re.compile(r"unix(?:-abstract)?:\S+")


@dataclass(frozen=True, slots=True)
class Target:
    """One part of `--grpc`: an address or, with `host`, a name whose addresses are looked up."""

    address: str
    host: str = ""
    port: int = 0


def parse_targets(text: str) -> tuple[Target, ...]:
    """Return the parts of `--grpc`, each once. Raises StartError."""
    parts = [part.strip() for part in re.sub(r"(?<![^,\s])ipv[46]:(?://)?/?", "", text).split(",")]
    return tuple(dict.fromkeys(_target(part, text) for part in parts))


async def look_up(host: str, port: int) -> list[str]:
    """Return all IPv4 addresses of a name, or its IPv6 addresses if it has no others. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    by_family = [
        sorted({str(place[0]) for family, _, _, _, place in found if family == wanted})
        for wanted in (socket.AF_INET, socket.AF_INET6)
    ]
    return [
        f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address in by_family[0] or by_family[1]
    ]


def _target(part: str, text: str) -> Target:
    if _SOCKET.fullmatch(part):
        return Target(part)
    name = _DNS.fullmatch(part)
    if name and name["server"]:
        raise StartError(f"--grpc must not name a DNS server, only dns:///NAME:PORT; got {part!r}")
    match = _ADDRESS.fullmatch(name["name"] if name else part)
    if not match or not 0 < int(match["port"]) <= 65535:
        expected = "HOST:PORT, several of them separated by commas, dns:///NAME:PORT, or unix:PATH"
        raise StartError(f"--grpc must be {expected}; got {text!r}")
    return Target(match[0], match["host"].strip("[]"), int(match["port"])) if name else Target(match[0])

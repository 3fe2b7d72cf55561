"""What a proxy says of the request that it passes on: believed only of those that are configured.

`X-Forwarded-For` and `X-Forwarded-Proto` are read by uvicorn, `X-Forwarded-Host` here. Who is no configured proxy
says them in vain: links would lead where a stranger wants, and limits by address would be none.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

if TYPE_CHECKING:
    from collections.abc import Sequence

_HOST = re.compile(rb"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_FORWARDED = b"x-forwarded-host"


def believing(app: Any, proxies: Sequence[str]) -> Any:
    """Return the ASGI application that believes these addresses and networks, and nobody else."""
    networks = [ip_network(proxy) for proxy in proxies]
    # uvicorn's comes second, as it puts the client's address in the place of the proxy's.
    return _ForwardedHost(ProxyHeadersMiddleware(app, [str(network) for network in networks]), networks)


class _ForwardedHost:
    """Puts the host that the client asked for in the place of the one that the proxy asked for."""

    def __init__(self, app: Any, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self.app = app
        self.networks = networks

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        host = self._host(scope) if scope["type"] == "http" else b""
        if scope["type"] == "http":  # pages can send X-Forwarded-Host, but not a Host of their choice
            scope.setdefault("state", {})["hosts"] = [value for name, value in scope["headers"] if name == b"host"]
        if host:
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            scope = {**scope, "headers": [(b"host", host), *others]}
        await self.app(scope, receive, send)

    def _host(self, scope: Any) -> bytes:
        """Return the host that a believed proxy names; the last one, as what stands before it is the client's word."""
        said = [value for name, value in scope["headers"] if name == _FORWARDED]
        if not said or not self._believed(scope.get("client")):
            return b""
        host: bytes = said[-1].rpartition(b",")[2].strip()
        return host if _HOST.fullmatch(host) else b""

    def _believed(self, client: tuple[str, int] | None) -> bool:
        try:
            return bool(client) and any(ip_address(client[0]) in network for network in self.networks)  # type: ignore[index]
        except ValueError:
            return False

"""`X-Forwarded-*` headers, accepted from configured proxies only.

uvicorn reads `X-Forwarded-For` and `X-Forwarded-Proto`; this module reads `X-Forwarded-Host`. From other senders the
headers are ignored: otherwise any client could choose where result links lead and evade limits by address.
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


def trust_proxies(app: Any, proxies: Sequence[str]) -> Any:
    """Return `app` behind a middleware that accepts forwarded headers from these addresses and networks only."""
    networks = [ip_network(proxy) for proxy in proxies]
    # uvicorn's middleware must be the inner one: it replaces the proxy's address by the client's.
    return _ForwardedHost(ProxyHeadersMiddleware(app, [str(network) for network in networks]), networks)


class _ForwardedHost:
    """ASGI middleware that replaces the proxy's `Host` by the client's."""

    def __init__(self, app: Any, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self.app = app
        self.networks = networks

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        host = self._host(scope) if scope["type"] == "http" else b""
        if scope["type"] == "http":  # web pages can set X-Forwarded-Host, but not Host
            scope.setdefault("state", {})["hosts"] = [value for name, value in scope["headers"] if name == b"host"]
        if host:
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            scope = {**scope, "headers": [(b"host", host), *others]}
        await self.app(scope, receive, send)

    def _host(self, scope: Any) -> bytes:
        """Return the host named by a trusted proxy, or b"".

        Of several values only the last is the proxy's; the client may have sent those before it.
        """
        values = [value for name, value in scope["headers"] if name == _FORWARDED]
        if not values or not self._is_trusted(scope.get("client")):
            return b""
        host: bytes = values[-1].rpartition(b",")[2].strip()
        return host if _HOST.fullmatch(host) else b""

    def _is_trusted(self, client: tuple[str, int] | None) -> bool:
        try:
            return bool(client) and any(ip_address(client[0]) in network for network in self.networks)  # type: ignore[index]
        except ValueError:
            return False

"""Protection against requests that foreign web pages cause in a user's browser.

- A request has exactly one `Host`, which names a host (RFC 9112, section 3.2). At a loopback address it must be a name
  of this machine or a configured one. Otherwise a page whose own name resolves to 127.0.0.1 (DNS rebinding) would have
  full access, because the browser treats both as one origin.
- Requests from pages of other origins are refused unless `cors` allows them. CORS alone is not enough: browsers send
  simple requests, including forms with files, without a preflight, and withhold only the response.
- `Sec-Fetch-Site` and `Origin` name the origin of a request. Programs other than browsers send neither and pass.
- Any page may link to the gateway's pages and results, and may show results.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from litestar.enums import ScopeType

from ..access.rejections import ForeignHost, ForeignPage
from ..errors import BadRequest, GatewayError
from ..settings.clients import ALL, LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from litestar.types import ASGIApp, Receive, Scope, Send

    from ..config import GatewayConfig

    SendError = Callable[[Any, GatewayError, Send], Awaitable[None]]

# Names of the host machine inside containers; `.internal` has no public names (ICANN, 2024).
CONTAINER_HOSTS = ("host.docker.internal", "host.containers.internal")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# Paths that other pages may load: nothing there is private.
OPEN_PATHS = ("/", "/docs", "/favicon.ico", "/openapi.json", "/livez", "/readyz", "/health")
OPEN_PREFIXES = ("/files/", "/playground/")
DEFAULT_PORTS = {"http": "80", "https": "443"}

_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?")


class Origins:
    """The origins whose pages may call the gateway, from the setting `cors`."""

    def __init__(self, allowed: Collection[str]) -> None:
        self.allows_all = ALL in allowed
        self.allows_some = bool(allowed)
        self._loopback = LOOPBACK in allowed
        self._allowed = frozenset(allowed) - {ALL, LOOPBACK}

    def __contains__(self, origin: object) -> bool:
        """Return whether pages of an origin may call the gateway."""
        if not isinstance(origin, str):
            return False
        return self.allows_all or origin in self._allowed or (self._loopback and _is_loopback_origin(origin))


class BrowserGuard:
    """ASGI middleware that refuses foreign host names and pages; `send_error` sends the error."""

    def __init__(self, app: ASGIApp, config: GatewayConfig, send_error: SendError) -> None:
        self.app = app
        self._send_error = send_error
        self._origins = Origins(config.cors_origins)
        public = urlsplit(config.public_url)
        default_port = f":{DEFAULT_PORTS.get(public.scheme)}"
        netloc = public.netloc.lower().removesuffix(default_port)  # origins omit the default port
        self._own_origin = f"{public.scheme}://{netloc}"
        self._hosts = {host.lower() for host in config.hosts} | {public.hostname or ""}
        self._checks_host = (config.is_local or bool(config.hosts)) and ALL not in config.hosts
        self._is_local = config.is_local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call `app`, or refuse the request."""
        if scope["type"] == ScopeType.HTTP:
            try:
                self._check(scope)
            except GatewayError as error:
                await self._send_error(scope, error, send)
                return
        await self.app(scope, receive, send)

    def _check(self, scope: Any) -> None:
        """Raise BadRequest, ForeignHost or ForeignPage."""
        headers = {str(name, "latin-1"): str(value, "latin-1") for name, value in scope["headers"]}
        host = _host(scope)
        if self._checks_host and host is not None and not self._is_own_host(host):
            raise ForeignHost(host)
        if self._comes_from_foreign_page(headers) and not _allows_any_page(scope, headers):
            raise ForeignPage(headers.get("origin", ""))

    def _is_own_host(self, host: str) -> bool:
        return host in self._hosts or (self._is_local and (is_loopback(host) or host in CONTAINER_HOSTS))

    def _comes_from_foreign_page(self, headers: Mapping[str, str]) -> bool:
        """Return whether the request comes from a page of an origin that is not allowed."""
        site, origin = headers.get("sec-fetch-site", ""), headers.get("origin")
        if site in ("same-origin", "none") or self._origins.allows_all:
            return False
        if origin is None:
            return site in ("same-site", "cross-site")
        own = origin.lower() == self._own_origin or _has_host(origin, headers.get("host", ""))
        return not own and origin not in self._origins


def is_open_path(path: str) -> bool:
    """Return whether a path needs no key and is open to other pages."""
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIXES)


def is_loopback(host: str) -> bool:
    """Return whether a host (IPv6 addresses without brackets) is certainly this machine."""
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_loopback_origin(origin: str) -> bool:
    scheme, _, rest = origin.lower().partition("://")
    found = _HOST.fullmatch(rest)
    return scheme in DEFAULT_PORTS and found is not None and is_loopback(found[1].strip("[]"))


def _has_host(origin: str, host: str) -> bool:
    """Return whether an origin names a host; a proxy may have changed the scheme."""
    scheme, _, rest = origin.lower().partition("://")
    return bool(rest) and rest == host.lower().removesuffix(f":{DEFAULT_PORTS.get(scheme)}")


def _allows_any_page(scope: Any, headers: Mapping[str, str]) -> bool:
    """Return whether any page may cause this request: a preflight, a followed link, or a GET of an open path."""
    path, method = scope["path"], scope["method"]
    navigates = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return method == "OPTIONS" or (method in SAFE_METHODS and (is_open_path(path) or navigates))


def _host(scope: Any) -> str | None:
    """Return the requested host without its port; None for HTTP/1.0 without `Host`. Raises BadRequest.

    `X-Forwarded-Host` is ignored: web pages can set it.
    """
    sent = [value for name, value in scope["headers"] if name == b"host"]
    sent = scope.get("state", {}).get("hosts", sent)
    if not sent and scope["http_version"] == "1.0":
        return None
    if len(sent) != 1:
        raise BadRequest(f"The request must have exactly one 'host' header, not {len(sent)}.")
    text = str(sent[0], "latin-1")
    found = _HOST.fullmatch(text)
    if found is None or int(found[2] or 0) > 65535:
        raise BadRequest(f"The 'host' header must name a host, for example 127.0.0.1:8080, not {text[:100]!r}.")
    return found[1].strip("[]").lower().removesuffix(".")

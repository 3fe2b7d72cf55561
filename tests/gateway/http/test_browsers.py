"""Protection against foreign host names and web pages."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.gateway.fakes import PATH, FakeService, Service, config, running_gateway
from tintype.gateway.config import GatewayConfig
from tintype.gateway.errors import StartError
from tintype.gateway.http.browsers import BrowserGuard, Origins, is_loopback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tintype.gateway.errors import GatewayError

pytestmark = pytest.mark.anyio

FOREIGN_ORIGIN = "https://evil.example"
FOREIGN_HEADERS = (
    {"origin": FOREIGN_ORIGIN},
    {"origin": "null"},
    {"origin": FOREIGN_ORIGIN, "sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
)
# Requests that have an effect or reveal data: method, path, and the keys of their errors.
PRIVATE = (
    ("POST", PATH, {"error"}),
    ("POST", "/v1/images/edits", {"error"}),
    ("POST", "/api/ai/images/generate", {"error", "status", "status_message"}),
    ("POST", "/sdapi/v1/txt2img", {"error", "detail", "body", "errors"}),
    ("POST", "/sdapi/v1/interrupt", {"error", "detail", "body", "errors"}),
    ("POST", "/sdapi/v1/skip", {"error", "detail", "body", "errors"}),
    ("POST", "/sdapi/v1/options", {"error", "detail", "body", "errors"}),
    ("POST", "/sdapi/v1/unload-checkpoint", {"error", "detail", "body", "errors"}),
    ("POST", "/sdapi/v1/reload-checkpoint", {"error", "detail", "body", "errors"}),
    ("GET", "/sdapi/v1/progress", {"error", "detail", "body", "errors"}),
    ("GET", "/v1/models", {"error"}),
    ("GET", "/metrics", {"error"}),
)


async def app(_: Any, __: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def send_error(_: Any, error: GatewayError, send: Callable[[Any], Awaitable[None]]) -> None:
    await send({"type": "http.response.start", "status": error.status, "headers": []})
    await send({"type": "http.response.body", "body": error.message.encode()})


async def status_of(
    settings: dict[str, Any],
    headers: dict[str, str],
    host: str = "127.0.0.1:8080",
    method: str = "POST",
    path: str = "/x",
) -> int:
    """Return the status of a gateway with these settings."""
    browsers: Any = BrowserGuard(
        app, GatewayConfig(**settings), send_error
    )  # Litestar's types of ASGI and httpx's differ
    transport = httpx.ASGITransport(browsers)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}", trust_env=False) as client:
        return (await client.request(method, path, headers=headers)).status_code


class TestPages:
    @pytest.mark.parametrize(("method", "path", "shape"), PRIVATE)
    async def test_foreign_pages_are_refused(
        self, gateway: httpx.AsyncClient, method: str, path: str, shape: set[str]
    ) -> None:
        """Requests from a page of another site are refused, in the format of the path's dialect."""
        for headers in FOREIGN_HEADERS:
            answer = await gateway.request(method, path, headers=headers)
            assert (answer.status_code, set(answer.json())) == (403, shape), headers
            assert "access-control-allow-origin" not in answer.headers

    async def test_forms_of_foreign_pages_are_refused(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A form, which browsers send without a preflight, generates no image."""
        answer = await gateway.post(
            "/v1/images/edits", data={"prompt": "x"}, files={"image": b"x"}, headers={"origin": FOREIGN_ORIGIN}
        )
        assert answer.status_code == 403
        assert not fake.requests

    async def test_own_pages_may_call(self, gateway: httpx.AsyncClient) -> None:
        """The gateway's own pages may call it, in browsers with and without Sec-Fetch-Site."""
        own_origin = str(gateway.base_url).rstrip("/")
        for headers in ({"origin": own_origin, "sec-fetch-site": "same-origin"}, {"origin": own_origin}):
            assert (await gateway.post(PATH, json={"prompt": "x"}, headers=headers)).status_code == 200

    async def test_other_programs_are_not_checked(self, gateway: httpx.AsyncClient) -> None:
        """Programs other than browsers are not checked."""
        for headers in ({}, {"sec-fetch-mode": "cors"}, {"sec-fetch-site": "none"}):  # the second: Node
            assert (await gateway.post(PATH, json={"prompt": "x"}, headers=headers)).status_code == 200

    @pytest.mark.parametrize(
        "path", ["/", "/docs", "/playground/icon.svg", "/openapi.json", "/livez", "/files/a/b.png"]
    )
    async def test_open_paths_are_open_to_any_page(self, gateway: httpx.AsyncClient, path: str) -> None:
        """Any page may link to the gateway's pages and show results."""
        for headers in FOREIGN_HEADERS:
            assert (await gateway.get(path, headers=headers)).status_code in (200, 404)

    @pytest.mark.parametrize(
        ("fetch_headers", "status"),
        [
            ({"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 200),
            ({"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 403),
            ({"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, 403),
        ],
    )
    async def test_links_may_be_followed_from_any_page(self, fetch_headers: dict[str, str], status: int) -> None:
        """A user may follow a link to any path; a page can't load it or send a form to it."""
        headers = {"sec-fetch-site": "cross-site"} | fetch_headers
        assert await status_of({}, headers, method="GET") == status
        assert await status_of({}, headers, method="POST") == 403

    @pytest.mark.parametrize(
        ("settings", "origin", "host", "status"),
        [
            ({}, "http://localhost:3000", "127.0.0.1:8080", 200),
            ({}, "http://127.0.0.1", "localhost:8080", 200),
            ({}, "https://[::1]:9000", "127.0.0.1:8080", 200),
            ({}, "http://app.localhost", "127.0.0.1:8080", 200),
            ({}, "http://localhost.evil.example", "127.0.0.1:8080", 403),
            ({}, "http://localhost@evil.example", "127.0.0.1:8080", 403),
            ({}, "tauri://localhost", "127.0.0.1:8080", 403),
            ({}, "http://192.168.1.7", "127.0.0.1:8080", 403),
            ({"cors": ("tauri://localhost",)}, "tauri://localhost", "127.0.0.1:8080", 200),
            ({"cors": ("none",)}, "http://localhost:3000", "127.0.0.1:8080", 403),
            ({"cors": ("none",)}, "http://127.0.0.1:8080", "127.0.0.1:8080", 200),
            ({"cors": ("*",)}, FOREIGN_ORIGIN, "127.0.0.1:8080", 200),
            ({"cors": (FOREIGN_ORIGIN, "loopback")}, "http://localhost:3000", "127.0.0.1:8080", 200),
            ({"cors": (FOREIGN_ORIGIN,)}, FOREIGN_ORIGIN, "127.0.0.1:8080", 200),
            ({"cors": (FOREIGN_ORIGIN,)}, "https://evil.example.org", "127.0.0.1:8080", 403),
            ({"rest": "0.0.0.0:8080"}, FOREIGN_ORIGIN, "images.example", 403),
            ({"rest": "0.0.0.0:8080"}, "http://localhost:3000", "images.example", 403),
            ({"rest": "0.0.0.0:8080"}, "https://images.example", "images.example", 200),
            ({"rest": "0.0.0.0:8080"}, "https://images.example", "images.example:443", 200),
            ({"rest": "0.0.0.0:8080"}, "https://images.example:8443", "images.example", 403),
            ({"public_url": "https://images.example/a"}, "https://images.example", "127.0.0.1:8080", 200),
            ({"public_url": "https://Images.example:443"}, "https://images.example", "127.0.0.1:8080", 200),
            ({"public_url": "http://images.example:80"}, "http://images.example", "127.0.0.1:8080", 200),
            ({"public_url": "http://images.example:443"}, "http://images.example", "127.0.0.1:8080", 403),
            ({"public_url": "https://images.example:8443"}, "https://images.example:8443", "127.0.0.1:8080", 200),
        ],
        ids=str,
    )
    async def test_allowed_origins(self, settings: dict[str, Any], origin: str, host: str, status: int) -> None:
        """Pages of this machine may call at a loopback address, elsewhere its own pages; `cors` allows others."""
        assert await status_of(settings, {"origin": origin}, host) == status

    @pytest.mark.parametrize("rest", ["127.0.0.1:8080", "0.0.0.0:8080"])
    async def test_foreign_pages_with_credentials_are_refused(self, rest: str) -> None:
        """Credentials that a browser adds by itself do not help a foreign page."""
        headers = {"origin": FOREIGN_ORIGIN, "authorization": "Basic dTpw"}
        assert await status_of({"rest": rest}, headers) == 403


class TestHosts:
    @pytest.mark.parametrize(
        "host",
        ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "93.184.216.34", "localhost.evil.example"],
    )
    async def test_dns_rebinding_is_refused(self, gateway: httpx.AsyncClient, fake: FakeService, host: str) -> None:
        """A page whose own name resolves to this machine is refused, whatever headers it sends."""
        own_headers = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
        for headers in (
            own_headers,
            own_headers | {"x-forwarded-host": "127.0.0.1"},
            own_headers | {"x-forwarded-host": host},
        ):
            for method, path, shape in PRIVATE:
                answer = await gateway.request(method, path, headers=headers)
                assert (answer.status_code, set(answer.json())) == (403, shape)
            assert (await gateway.get("/", headers=headers)).status_code == 403
        assert not fake.requests

    @pytest.mark.parametrize(
        ("settings", "host", "status"),
        [
            ({}, "localhost", 200),
            ({}, "LocalHost:8080", 200),
            ({}, "localhost.:8080", 200),
            ({}, "ui.localhost", 200),
            ({}, "127.3.2.1:1", 200),
            ({}, "[::1]:8080", 200),
            ({}, "host.docker.internal:8080", 200),
            ({}, "images.example", 403),
            ({"hosts": ("images.example",)}, "images.example:81", 200),
            ({"hosts": ("images.example",)}, "localhost", 200),
            ({"hosts": ("images.example",)}, "a.images.example", 403),
            ({"hosts": ("*",)}, "images.example", 200),
            ({"public_url": "https://Images.example:8443/a"}, "images.example:8443", 200),
            ({"rest": "[::1]:8080"}, "images.example", 403),
            ({"rest": "localhost:8080"}, "images.example", 403),
            ({"rest": "0.0.0.0:8080"}, "images.example", 200),
            ({"rest": "0.0.0.0:8080", "hosts": ("images.example",)}, "images.example", 200),
            ({"rest": "0.0.0.0:8080", "hosts": ("images.example",)}, "other.example", 403),
        ],
        ids=str,
    )
    async def test_served_host_names(self, settings: dict[str, Any], host: str, status: int) -> None:
        """At a loopback address only names of this machine and configured names are served, elsewhere any name."""
        assert await status_of(settings, {"host": host}) == status

    @pytest.mark.parametrize(
        ("head", "status"),
        [
            (b"HTTP/1.1\r\n", 400),
            (b"HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n", 400),
            (b"HTTP/1.1\r\nhost: localhost\r\nHost: evil.example\r\n", 400),
            (b"HTTP/1.1\r\nhost:\r\n", 400),
            (b"HTTP/1.1\r\nhost: local host\r\n", 400),
            (b"HTTP/1.1\r\nhost: a@localhost\r\n", 400),
            (b"HTTP/1.1\r\nhost: localhost, localhost\r\n", 400),
            (b"HTTP/1.1\r\nhost: localhost/x\r\n", 400),
            (b"HTTP/1.1\r\nhost: localhost:99999\r\n", 400),
            (b"HTTP/1.1\r\nhost: localhost\r\nx-forwarded-host: images.example\r\n", 200),
            (b"HTTP/1.1\r\nhost: localhost\r\nhost: x\r\nx-forwarded-host: images.example\r\n", 400),
            (b"HTTP/1.0\r\n", 200),
            (b"HTTP/1.0\r\nhost: localhost\r\nhost: localhost\r\n", 400),
        ],
    )
    async def test_a_request_names_exactly_one_host(self, gateway: httpx.AsyncClient, head: bytes, status: int) -> None:
        """A request names one host (RFC 9112); otherwise the answer is 400 in the format of the path's dialect."""
        reader, writer = await asyncio.open_connection(gateway.base_url.host, gateway.base_url.port)
        writer.write(b"GET /v1/models " + head + b"connection: close\r\n\r\n")
        response = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        assert re.match(rb"HTTP/1\.1 (\d+)", response)[1] == b"%d" % status  # type: ignore[index]
        assert status == 200 or b'{"error":{"message":"The' in response

    async def test_pages_behind_a_proxy_may_call(self, service: Service, tmp_path: Path) -> None:
        """Pages behind a proxy may call, if it forwards the host in its header or as `Host`."""
        forwarded = {"x-forwarded-host": "images.example", "origin": "https://images.example"}
        forwarded_as_host = {"host": "images.example", "origin": "https://images.example"}
        async with running_gateway(config(service, tmp_path, hosts=("images.example",))) as client:
            for headers in (forwarded, forwarded_as_host, forwarded | forwarded_as_host):
                assert (await client.post(PATH, json={"prompt": "x"}, headers=headers)).status_code == 200
            answer = await client.post(PATH, json={"prompt": "x"}, headers=forwarded | {"origin": FOREIGN_ORIGIN})
            assert answer.status_code == 403


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("::1", True), ("127.0.0.1", True), ("127.1", False), ("xlocalhost", False)],
)
def test_is_loopback(host: str, local: bool) -> None:  # noqa: FBT001
    """Only names that certainly are this machine are loopback names."""
    assert is_loopback(host) is local


def test_empty_origins_allow_no_page() -> None:
    """With no allowed origins, no page may call."""
    assert "null" not in Origins(())
    assert None not in Origins(("*",))


@pytest.mark.parametrize("host", ["https://images.example", "images.example:80", "a/b", ""])
def test_an_invalid_host_setting_is_refused(host: str) -> None:
    """An invalid host name is refused at start, because it could never match."""
    with pytest.raises(StartError, match=r"--hosts must be names such as images\.example, without ports, or \*; got"):
        GatewayConfig(hosts=(host,))


@pytest.mark.parametrize("url", ["https://", "http://[::1", "https://:443/a", "https://images.example:x"])
def test_an_invalid_public_url_is_refused(url: str) -> None:
    """A public URL without a host is refused at start, in one line."""
    with pytest.raises(StartError, match=r"--public-url must name a host, for example https://images\.example; got"):
        GatewayConfig(public_url=url)

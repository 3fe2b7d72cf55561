"""CORS headers for web pages of other origins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.gateway.fakes import PATH
from tintype.gateway.config import GatewayConfig
from tintype.gateway.errors import StartError
from tintype.gateway.http.cors import Cors

pytestmark = pytest.mark.anyio

if TYPE_CHECKING:
    from collections.abc import Collection

PAGE = "https://lite.koboldai.net"
LOCAL = "http://localhost:3000"  # a page of this machine
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os",
}


async def app(_: Any, __: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def client_of(origins: Collection[str]) -> httpx.AsyncClient:
    cors: Any = Cors(app, origins)  # Litestar's types of ASGI and httpx's differ
    transport = httpx.ASGITransport(cors)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway", trust_env=False)


class TestPages:
    async def test_every_origin_is_allowed(self) -> None:
        """If every origin is allowed, every page may read the response and the gateway's headers, without cookies."""
        async with client_of(["*"]) as client:
            headers = (await client.get("/", headers={"origin": PAGE})).headers
        assert headers["access-control-allow-origin"] == "*"
        assert "x-request-id" in headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in headers
        assert "vary" not in headers

    @pytest.mark.parametrize(
        ("origins", "origin", "allowed"),
        [
            ([PAGE], PAGE, True),
            ([PAGE], "https://evil.example", False),
            ([PAGE], PAGE + ".evil.example", False),
            ([], PAGE, False),
        ],
    )
    async def test_only_named_origins_are_allowed(self, origins: list[str], origin: str, allowed: bool) -> None:  # noqa: FBT001
        """If some origins are allowed, they are named, others get no header, and caches distinguish them."""
        async with client_of(origins) as client:
            headers = (await client.get("/", headers={"origin": origin})).headers
            preflight = await client.options("/", headers=PREFLIGHT | {"origin": origin})
        assert headers.get("access-control-allow-origin") == (origin if allowed else None)
        assert preflight.headers.get("access-control-allow-origin") == (origin if allowed else None)
        assert headers.get("vary") == ("origin" if origins else None)

    async def test_requests_without_origin_get_no_header(self) -> None:
        """A client that is not a page gets no CORS header."""
        async with client_of(["*"]) as client:
            assert "access-control-allow-origin" not in (await client.get("/")).headers


class TestPreflight:
    async def test_preflight_repeats_methods_and_headers(self) -> None:
        """A preflight is answered at once, with the requested headers and methods."""
        async with client_of(["*"]) as client:
            answer = await client.options("/", headers=PREFLIGHT | {"access-control-request-private-network": "true"})
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-methods"] == "POST"
        assert answer.headers["access-control-allow-headers"] == PREFLIGHT["access-control-request-headers"]
        assert answer.headers["access-control-allow-private-network"] == "true"

    async def test_pages_of_this_machine_may_call_every_path(self, gateway: httpx.AsyncClient) -> None:
        """A gateway at a loopback address answers pages of this machine, errors included, and no others."""
        for path in (PATH, "/v1/models", "/files/a/b.png", "/nothing"):
            answer = await gateway.options(path, headers=PREFLIGHT | {"origin": LOCAL})
            assert answer.status_code == 204
            assert answer.headers["access-control-allow-origin"] == LOCAL
            assert answer.headers["x-request-id"]
            assert "access-control-allow-origin" not in (await gateway.options(path, headers=PREFLIGHT)).headers
        answer = await gateway.post(PATH, json={}, headers={"origin": LOCAL})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (400, LOCAL)


@pytest.mark.parametrize(
    ("settings", "origins"),
    [
        ({"rest": "127.0.0.1:8080"}, ("loopback",)),
        ({"rest": "localhost:8080"}, ("loopback",)),
        ({"rest": "[::1]:8080"}, ("loopback",)),
        ({"rest": "0.0.0.0:8080"}, ()),
        ({"rest": ":8080"}, ()),
        ({"rest": "10.0.0.5:8080"}, ()),
        ({"rest": "10.0.0.5:8080", "cors": ("*",)}, ("*",)),
        ({"cors": ("none",)}, ()),
        ({"cors": (PAGE, "tauri://localhost", "null")}, (PAGE, "tauri://localhost", "null")),
    ],
    ids=str,
)
def test_default_origins_depend_on_the_address(settings: dict[str, Any], origins: tuple[str, ...]) -> None:
    """By default, pages of this machine may call a gateway at a loopback address, and no others."""
    assert GatewayConfig(**settings).cors_origins == origins


@pytest.mark.parametrize("origin", ["ui.example", "https://ui.example/", "https://*.example", ""])
def test_an_invalid_origin_is_refused(origin: str) -> None:
    """An invalid origin is refused at start, because it could never match."""
    with pytest.raises(StartError, match=r"--cors must be origins such as https://ui\.example"):
        GatewayConfig(cors=(origin,))

"""Requests: redirects, the token, waits, and errors of the hub."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tintype.service.models.hub import HubError, HubSettings
from tintype.service.models.hub.errors import HubUnavailable
from tintype.service.models.hub.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "secret"
SETTINGS = HubSettings(cache=Path(), endpoint="https://hub.example", token=KEY)
URL = "https://hub.example/owner/name/resolve/c/f"


class Read:
    """One reading of URL from a server that is a function; afterwards the requests, the waits and the notices."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []
        self.notices: list[str] = []
        self._answer = answer

    def run(self, url: str = URL) -> bytes:
        return asyncio.run(self._read(url))

    async def _read(self, url: str) -> bytes:
        async with Transport(SETTINGS, notice=self.notices.append, sleep=self._sleep) as transport:
            transport._client._mounts = {}  # no proxies of this machine
            transport._client._transport = httpx.MockTransport(self._respond)
            return (await transport.read(url, "owner/name/f", 1000))[0]

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._answer(request)

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


def redirecting(place: str) -> Callable[[httpx.Request], httpx.Response]:
    """Return a server whose hub redirects to `place`, which answers with its name."""

    def answer(request: httpx.Request) -> httpx.Response:
        if str(request.url) == URL:
            return httpx.Response(302, headers={"location": place})
        return httpx.Response(200, content=request.url.host.encode())

    return answer


@pytest.mark.parametrize(
    ("place", "gets_token"),
    [
        ("/elsewhere", True),
        ("https://hub.example/elsewhere", True),
        ("https://cdn.example/f?signature=x", False),
        ("https://hub.example:8443/f", False),
        ("https://hub.example.evil/f", False),
    ],
)
def test_the_token_stays_at_the_hub(place: str, gets_token: bool) -> None:  # noqa: FBT001
    """The hub's own scheme, host and port get the token, no other address does."""
    read = Read(redirecting(place))
    read.run()
    assert [("authorization" in request.headers) for request in read.requests] == [True, gets_token]
    assert {request.headers["accept-encoding"] for request in read.requests} == {"identity"}


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("http://hub.example/f", r"^owner/name/f: redirect from https to http, at hub\.example, refused$"),
        ("ftp://cdn.example/f", r"redirect to 'ftp://cdn\.example/f', which is not a web address"),
        (URL, r"^owner/name/f: more than 6 redirects$"),
    ],
)
def test_refused_redirects(place: str, message: str) -> None:
    """A redirect that would lose encryption, or never ends, is an error."""
    with pytest.raises(HubError, match=message):
        Read(redirecting(place)).run()


def test_storage_is_asked_directly_until_its_address_expires() -> None:
    """The second request goes to storage; after a 403 from there the hub is asked again."""
    hosts: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        if request.url.host == "hub.example":
            return httpx.Response(302, headers={"location": f"https://cdn.example/{len(hosts)}"})
        return httpx.Response(403 if len(hosts) == 3 else 200, content=b"x")

    async def twice() -> None:
        async with Transport(SETTINGS, sleep=lambda _: asyncio.sleep(0)) as transport:
            transport._client._mounts = {}
            transport._client._transport = httpx.MockTransport(answer)
            for _ in range(2):
                await transport.read(URL, "f", 10)

    asyncio.run(twice())
    assert hosts == ["hub.example", "cdn.example", "cdn.example", "hub.example", "cdn.example"]


def later(seconds: int) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"ratelimit": '"resolvers";r=0;t=55', "retry-after": "3"}, [56]),
        ({"ratelimit": '"api";r=7;t=55', "retry-after": "3"}, [3]),
        ({"retry-after": "0"}, [0]),
        ({"retry-after": later(-100)}, [0]),
        ({"retry-after": "soon"}, [0.5]),
        ({}, [0.5]),
    ],
)
def test_waits_that_the_hub_asks_for(headers: dict[str, str], waits: list[float]) -> None:
    """The wait is that of RateLimit, otherwise of Retry-After, otherwise it grows from half a second."""
    answers = iter([httpx.Response(429, headers=headers), httpx.Response(200, content=b"x")])
    read = Read(lambda _: next(answers))
    assert read.run() == b"x"
    assert read.waits == waits


def test_long_waits_are_announced_or_refused() -> None:
    """A wait is announced; one of more than five minutes is an error that says how long it is."""
    answers = iter([httpx.Response(429, headers={"retry-after": later(60)}), httpx.Response(200)])
    read = Read(lambda _: next(answers))
    read.run()
    assert 50 < read.waits[0] <= 60
    assert read.notices[0].startswith("HTTP 429 from hub.example: waiting ")
    with pytest.raises(HubUnavailable, match=r"HTTP 503 from hub\.example; it accepts requests again in 4000 s"):
        Read(lambda _: httpx.Response(503, headers={"retry-after": "4000"})).run()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_failures_that_may_pass(status: int) -> None:
    """These are tried six times, with growing waits."""
    read = Read(lambda _: httpx.Response(status))
    with pytest.raises(
        HubUnavailable, match=rf"^owner/name/f: no answer from the hub: HTTP {status} from hub\.example$"
    ):
        read.run()
    assert read.waits == [0.5, 1, 2, 4, 8]


@pytest.mark.parametrize("status", [400, 402, 405, 418, 451])
def test_failures_that_do_not_pass(status: int) -> None:
    """Others are errors at once, with the hub's message, without control characters."""
    read = Read(lambda _: httpx.Response(status, headers={"x-error-message": "No\x1b[2J" + "o" * 999}))
    with pytest.raises(HubError, match=rf"^owner/name/f: HTTP {status} from the hub: No\[2Jo{{1,300}}$"):
        read.run()
    assert len(read.requests) == 1


def test_network_failures() -> None:
    """A failed connection is tried again, and is an error in the end."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Name or service not known", request=request)

    read = Read(fail)
    with pytest.raises(HubUnavailable, match=r"no answer from the hub: Name or service not known$"):
        read.run()
    assert len(read.requests) == 6


def test_invalid_settings_of_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that httpx cannot use is one line."""
    monkeypatch.setenv("ALL_PROXY", "nonsense://proxy")
    with pytest.raises(HubError, match=r"^cannot connect to the hub: "):
        Transport(SETTINGS)

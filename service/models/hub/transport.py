"""Requests to the hub and to where it redirects: headers, redirects, errors, retries.

- The token is sent to the hub's own host only, never to the storage that it redirects to.
- A redirect from https to http, or to another scheme, is refused. Redirects are followed here, not by httpx.
- Everything asks for `Accept-Encoding: identity`, since ranges of compressed content could not be joined.
- Responses 408, 429 and 5xx and network failures are retried with growing delays; `RateLimit` and `Retry-After` set
  the delay if the hub sends them.
- h11 bounds headers (100 KiB); JSON is bounded here.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import httpx

from .errors import HubError, HubRefused, HubUnavailable, NotOnHub, printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Self

    from .settings import HubSettings

BUSY = {408, 429, 500, 502, 503, 504}
EXPIRED = {401, 403, 404, 410}  # of storage: its signed addresses expire
TRIES = 6  # without progress
LONGEST_WAIT = 310.0  # seconds; the hub counts requests in windows of 300 s
MOST_REDIRECTS = 6
LARGEST_JSON = 32 << 20  # bytes
TIMEOUT = httpx.Timeout(30.0, connect=10.0, pool=None)
RATE_LIMIT = re.compile(r'"\w+"\s*;\s*r\s*=\s*(\d{1,9})\s*;\s*t\s*=\s*(\d{1,9})')
MISSING = {
    "RepoNotFound": "no such repository",
    "RevisionNotFound": "no such revision",
    "EntryNotFound": "no such file",
}


class Busy(Exception):  # not an error of the user
    """An attempt failed in a way that may pass; `delay` is what the server asks for, in seconds."""

    def __init__(self, problem: str, delay: float | None = None) -> None:
        super().__init__(problem)
        self.delay = delay


RETRIED = (httpx.TransportError, Busy)


class Retries:
    """Counts the failed attempts of one piece of work, and waits between them."""

    def __init__(self, transport: Transport, what: str, tries: int = TRIES) -> None:
        self._transport, self._what, self._tries = transport, what, tries
        self._failed = 0

    def reset(self) -> None:
        """Start counting again, after progress."""
        self._failed = 0

    async def wait(self, error: Exception) -> None:
        """Wait before the next attempt. Raises HubUnavailable after the last one."""
        self._failed += 1
        delay = getattr(error, "delay", None)
        if self._failed >= self._tries or (delay or 0) > LONGEST_WAIT:
            later = f"; it accepts requests again in {delay:.0f} s" if delay else ""
            raise HubUnavailable(f"{self._what}: no answer from the hub: {_describe(error)}{later}") from error
        if delay:
            self._transport.notice(f"{_describe(error)}: waiting {delay:.0f} s as the hub asks")
        await self._transport.sleep(2 ** (self._failed - 2) if delay is None else delay)


class Transport:
    """An HTTP client of the hub; an async context manager. `notice` gets a line when a request has to wait."""

    def __init__(
        self,
        settings: HubSettings,
        *,
        notice: Callable[[str], object] = lambda _: None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.settings, self.notice, self.sleep = settings, notice, sleep
        self._storage: dict[str, str] = {}  # where the hub redirected to, by the hub's address
        try:
            self._client = httpx.AsyncClient(
                timeout=TIMEOUT, headers={"user-agent": "tintype", "accept-encoding": "identity"}
            )
        except (ImportError, ValueError) as error:  # variables of proxies or certificates
            raise HubError(f"cannot connect to the hub: {error}") from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    @asynccontextmanager
    async def get(self, url: str, what: str, *, span: str = "") -> AsyncIterator[httpx.Response]:
        """Request an address of the hub, or the bytes `span` of it, and yield a successful response, unread.

        Raises:
            HubError: the request fails for good; the message begins with `what`.
            Busy, httpx.TransportError: it may succeed later.
        """
        place = self._storage.get(url, url)
        for _ in range(MOST_REDIRECTS):
            response = await self._send(place, what, span)
            try:
                if not response.has_redirect_location:
                    self._check(response, url, what)
                    yield response
                    return
                place = self._redirected(place, response.headers["location"], what)
                if not self.settings.is_hub(place):
                    self._storage[url] = place
            finally:
                await response.aclose()
        raise HubError(f"{what}: more than {MOST_REDIRECTS} redirects")

    def retries(self, what: str, tries: int = TRIES) -> Retries:
        """Return a counter of failed attempts."""
        return Retries(self, what, tries)

    async def read(self, url: str, what: str, limit: int, tries: int = TRIES) -> tuple[bytes, str]:
        """Return the content of an address, at most `limit` bytes, and the address of the next page if any.

        Raises HubError.
        """
        retries = self.retries(what, tries)
        while True:
            try:
                async with self.get(url, what) as response:
                    return await _bounded(response, limit, what), response.links.get("next", {}).get("url", "")
            except RETRIED as error:
                await retries.wait(error)

    async def read_json(self, url: str, what: str, tries: int = TRIES) -> tuple[Any, str]:
        """Return the JSON at an address, and the address of the next page if any. Raises HubError."""
        content, following = await self.read(url, what, LARGEST_JSON, tries)
        try:
            return json.loads(content), following
        except (ValueError, RecursionError) as error:
            raise HubError(f"{what}: the hub at {self.settings.endpoint} sent no valid JSON: {error}") from error

    async def _send(self, place: str, what: str, span: str) -> httpx.Response:
        headers = {"range": f"bytes={span}"} if span else {}
        if self.settings.token and self.settings.is_hub(place):
            headers["authorization"] = f"Bearer {self.settings.token}"
        try:
            return await self._client.send(self._client.build_request("GET", place, headers=headers), stream=True)
        except httpx.InvalidURL as error:
            raise HubError(f"{what}: invalid address {printable(place)!r}: {error}") from error

    def _redirected(self, place: str, location: str, what: str) -> str:
        try:
            target = urljoin(place, location)
            scheme, host = urlsplit(target).scheme, urlsplit(target).hostname
        except ValueError:
            raise HubError(f"{what}: redirect to an invalid address {printable(location)!r}") from None
        if scheme not in {"http", "https"} or not host:
            raise HubError(f"{what}: redirect to {printable(target)!r}, which is not a web address")
        if urlsplit(place).scheme == "https" and scheme != "https":
            raise HubError(f"{what}: redirect from https to http, at {host}, refused")
        return target

    def _check(self, response: httpx.Response, url: str, what: str) -> None:
        """Raise the error that a response means, unless it is a success."""
        status, host = response.status_code, response.url.host
        if status in {200, 206}:
            return
        if status in BUSY:
            raise Busy(f"HTTP {status} from {host}", _delay(response.headers))
        if not self.settings.is_hub(str(response.url)):
            self._storage.pop(url, None)
            if status in EXPIRED:
                raise Busy(f"HTTP {status} from {host}")
            raise HubError(f"{what}: HTTP {status} from {host}, where the hub keeps this file")
        self._refuse(response, what)

    def _refuse(self, response: httpx.Response, what: str) -> None:
        status, code = response.status_code, response.headers.get("x-error-code", "")
        message = printable(response.headers.get("x-error-message", "")) or f"HTTP {status}"
        token = self.settings.token_source if self.settings.token else ""
        if code == "GatedRepo":
            page = self.settings.page("/".join(what.partition("@")[0].split("/")[:2]))
            account = f"the account of the token in {token}" if token else "an account, and HF_TOKEN set to its token"
            raise HubRefused(f"{what}: gated: its terms must be accepted at {page} by {account}")
        if status in {401, 403} and token:
            raise HubRefused(f"{what}: the hub denies access with the token in {token}: {message}")
        if status == 401:
            raise HubRefused(f"{what}: no such repository, or it is private or gated: then set HF_TOKEN")
        if status == 403:
            raise HubRefused(f"{what}: the hub denies access: {message}; it may need HF_TOKEN")
        if status == 404:
            raise NotOnHub(f"{what}: {MISSING.get(code, 'not found')} at {self.settings.endpoint}")
        raise HubError(f"{what}: HTTP {status} from the hub: {message}")


async def _bounded(response: httpx.Response, limit: int, what: str) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > limit:
            raise HubError(f"{what}: the hub sent more than {limit:,} bytes of metadata")
    return bytes(content)


def _delay(headers: httpx.Headers) -> float | None:
    """Return the seconds that a response asks to wait; None if it does not say."""
    if (match := RATE_LIMIT.search(headers.get("ratelimit", "")[:200])) and not int(match[1]):
        return int(match[2]) + 1.0  # the hub rounds down
    after = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}", after):
        return float(after)
    try:
        return max(parsedate_to_datetime(after).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None


def _describe(error: Exception) -> str:
    return printable(f"{error or type(error).__name__}")

"""A client of the gateway's REST API: wait until it is ready, and make an image with OpenAI's JSON."""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  # dataclasses read annotations
from typing import Any

import httpx

from tintype.v1.keys import authorization

from ..errors import UserError

POLL_INTERVAL = 0.05  # seconds between two readiness checks
READY_TIMEOUT = 30.0  # seconds that a gateway has to reach a service that is ready


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """A finished image: the bytes of the file, the seed, and the seconds that the request took."""

    data: bytes
    seed: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class RestGateway:
    """A gateway on this machine: its URL, a key if it requires one, and its certificate if it serves HTTPS."""

    url: str
    key: str = ""
    cert: Path | None = None

    def client(self) -> httpx.AsyncClient:
        """Return a client. The gateway runs on this machine, so proxies of the environment do not apply."""
        headers = dict([authorization(self.key)]) if self.key else {}
        options: dict[str, Any] = {"base_url": self.url, "headers": headers, "trust_env": False, "verify": self._tls()}
        return httpx.AsyncClient(**options, timeout=None)  # noqa: S113  # an image may take any time

    def _tls(self) -> ssl.SSLContext | bool:
        """Return what the server is verified with: exactly its own certificate, for whatever name that is."""
        if self.cert is None:
            return True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(self.cert)
        return context


async def wait_until_ready(gateway: RestGateway, service: str) -> None:
    """Wait until a gateway reports that its service at `service`, which is ready, can make images.

    Raises:
        UserError: the gateway was not ready within READY_TIMEOUT.
    """
    reason = ""
    try:
        async with asyncio.timeout(READY_TIMEOUT), gateway.client() as client:
            while reason := await _unready_reason(client):  # noqa: ASYNC110  # the gateway sends no event
                await asyncio.sleep(POLL_INTERVAL)
    except TimeoutError:
        problem = f"the gateway at {gateway.url} cannot reach the service at {service}, which is ready: {reason}"
        raise UserError(problem) from None


async def _unready_reason(client: httpx.AsyncClient) -> str:
    """Return why the gateway is not ready; empty if it is ready.

    A gateway that closes the connection without a response is not ready yet.
    """
    try:
        answer = await client.get("/readyz")
    except httpx.TransportError as error:
        return f"the gateway does not answer ({type(error).__name__})"
    return "" if answer.is_success else str(answer.json().get("why", "it gave no reason"))


async def default_model(gateway: RestGateway) -> str:
    """Return the name of the default model, which the gateway lists first; "?" if it does not say."""
    async with gateway.client() as client:
        with suppress(httpx.HTTPError, ValueError, LookupError, TypeError):
            answer = await client.get("/v1/models")
            return str(answer.json()["data"][0]["id"])
    return "?"


async def generate(gateway: RestGateway, prompt: str, *, seed: int) -> GeneratedImage:
    """Make one PNG with the default model. Raises UserError with the gateway's message."""
    began, url = time.monotonic(), gateway.url
    async with gateway.client() as client:
        body = {"prompt": prompt, "n": 1, "seed": seed, "response_format": "b64_json"}
        try:
            answer = await client.post("/v1/images/generations", json=body)
        except httpx.HTTPError as error:
            raise UserError(f"no image from {url}: {error or type(error).__name__}") from error
    if answer.is_error:
        raise UserError(f"no image from {url}: HTTP {answer.status_code}: {answer.text[:300]}")
    image = answer.json()["data"][0]
    return GeneratedImage(base64.b64decode(image["b64_json"]), image.get("seed"), time.monotonic() - began)

"""The gateway, as its clients see it: whether it is ready, and a picture through its OpenAI dialect."""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import dataclass

import httpx

from ..errors import UserError

POLL = 0.05  # seconds between two looks whether it is ready
PATIENCE = 30.0  # seconds in which a gateway finds a service that is ready


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished picture: the file's bytes, the seed that makes it again, and the seconds that it took."""

    data: bytes
    seed: int | None
    seconds: float


def _client(url: str) -> httpx.AsyncClient:
    # It is on this machine: proxies in the environment are not for it, and a picture may take its time.
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=None)  # noqa: S113


async def ready(url: str, service: str) -> None:
    """Wait until the gateway at `url` finds that its service, which is ready at `service`, can make pictures.

    Raises UserError where it does not.
    """
    why = ""
    try:
        async with asyncio.timeout(PATIENCE), _client(url) as client:
            while why := await _why_not(client):  # noqa: ASYNC110 - no event comes from there
                await asyncio.sleep(POLL)
    except TimeoutError:
        problem = f"the gateway at {url} does not reach the service at {service}, which is ready: {why}"
        raise UserError(problem) from None


async def _why_not(client: httpx.AsyncClient) -> str:
    """Return why the gateway is not ready; empty if it is.

    A gateway that breaks off the connection is not ready yet.
    """
    try:
        answer = await client.get("/readyz")
    except httpx.TransportError as error:
        return f"the gateway does not answer ({type(error).__name__})"
    return "" if answer.is_success else str(answer.json().get("why", "it gave no reason"))


async def make(url: str, prompt: str, key: str = "", *, seed: int) -> Picture:
    """Make one PNG of the default model. Raises UserError with the gateway's own words."""
    began = time.monotonic()
    async with _client(url) as client:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        asked = {"prompt": prompt, "n": 1, "seed": seed, "response_format": "b64_json"}
        try:
            answer = await client.post("/v1/images/generations", json=asked, headers=headers)
        except httpx.HTTPError as error:
            raise UserError(f"no picture through {url}: {error or type(error).__name__}") from error
    if answer.is_error:
        raise UserError(f"no picture through {url}: HTTP {answer.status_code}: {answer.text[:300]}")
    image = answer.json()["data"][0]
    return Picture(base64.b64decode(image["b64_json"]), image.get("seed"), time.monotonic() - began)

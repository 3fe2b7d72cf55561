"""Jobs of a gateway: submission, polling, and services that hold images back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.support.gateway.fakes import PATH, QUEUED, make_images
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.support.gateway.fakes import FakeService

ASYNC = {"prefer": "respond-async"}
FINAL = ("succeeded", "failed", "cancelled")


async def submit(
    client: httpx.AsyncClient, body: dict[str, Any] | None = None, path: str = PATH, **headers: str
) -> dict[str, Any]:
    """Submit a job and return it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await client.post(path, json=body or {"prompt": "a lake"}, headers=ASYNC | named)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


async def ended(client: httpx.AsyncClient, job_id: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """Return a job once it has ended."""
    async with asyncio.timeout(60):
        while True:
            answer = await client.get(f"/v1/jobs/{job_id}?wait=30", headers=headers)
            assert answer.status_code == 200, answer.text
            job: dict[str, Any] = answer.json()
            if job["status"] in FINAL:
                return job


async def with_status(client: httpx.AsyncClient, job_id: str, status: str) -> dict[str, Any]:
    """Return a job once it has a status."""
    async with asyncio.timeout(60):
        while True:
            job: dict[str, Any] = (await client.get(f"/v1/jobs/{job_id}")).json()
            if job["status"] == status:
                return job
            await asyncio.sleep(0.02)


async def requests_of(fake: FakeService, number: int) -> None:
    """Wait until the service has got a number of requests."""
    async with asyncio.timeout(60):
        while len(fake.requests) < number:  # noqa: ASYNC110 - the service can't call us
            await asyncio.sleep(0.01)


class Gate:
    """A service whose images wait, after the first half of the steps, until `open` is set."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self, request: pb.GenerateImagesRequest, context: Any) -> AsyncIterator[pb.StreamImagesResponse]:
        yield QUEUED
        yield pb.StreamImagesResponse(progress=pb.Progress(index=0, step=10, steps=20))
        await self.open.wait()
        async for event in make_images(request, context):
            yield event

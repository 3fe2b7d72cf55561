"""Progress, previews and interruption of a running request."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway.bodies import BASE, make_images, open_image, png
from tests.support.gateway.fakes import FakeService, Service, config, running_gateway
from tintype.v1 import image_service_pb2 as pb
from tintype.v1.keyfile import create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.anyio

LONG = 30  # seconds until something immediate must have happened, on a busy machine


class SlowService:
    """A service that sends a preview of each call half way, and continues when the test lets it."""

    def __init__(self) -> None:
        self.half_way = asyncio.Semaphore(0)
        self.go = asyncio.Event()

    async def __call__(self, request: pb.GenerateImagesRequest, context: Any) -> AsyncIterator[pb.StreamImagesResponse]:
        events = [event async for event in make_images(request, context)]
        progress = pb.Progress(index=0, step=5, steps=10)
        progress.eta.FromMilliseconds(60_000)
        yield pb.StreamImagesResponse(progress=progress)
        yield pb.StreamImagesResponse(preview=pb.Preview(index=0, step=5, data=png(8, 6), mime_type="image/png"))
        if request.count > 1:
            yield events.pop(0)
        self.half_way.release()
        await self.go.wait()
        for event in events:
            yield event


@pytest.fixture
def slow(fake: FakeService) -> SlowService:
    fake.behave = slow = SlowService()
    return slow


@asynccontextmanager
async def half_finished_request(
    client: httpx.AsyncClient, slow: SlowService, **body: Any
) -> AsyncIterator[asyncio.Task[httpx.Response]]:
    """A request that is half finished."""
    task = asyncio.create_task(client.post(f"{BASE}/txt2img", json={"prompt": "x", "seed": 1} | body))
    try:
        await asyncio.wait_for(slow.half_way.acquire(), LONG)
        await wait_for_progress(client, lambda body: body["current_image"])
        yield task
    finally:
        slow.go.set()
        await task


async def wait_for_progress(client: httpx.AsyncClient, condition: Any) -> dict[str, Any]:
    """Return the first progress that meets a condition: events of the service need a moment to arrive."""
    async with asyncio.timeout(LONG):
        while True:
            body: dict[str, Any] = (await client.get(f"{BASE}/progress")).json()
            if condition(body):
                return body
            await asyncio.sleep(0.01)


async def idle(client: httpx.AsyncClient) -> bool:
    body = (await client.get(f"{BASE}/progress")).json()
    return bool(body["progress"] == body["state"]["job_count"] == 0)


async def test_idle_progress_is_zero(gateway: httpx.AsyncClient) -> None:
    """If nothing runs, all numbers are 0, none is null, and there is no image."""
    assert (await gateway.get(f"{BASE}/progress")).json() == {
        "progress": 0.0,
        "eta_relative": 0.0,
        "state": {
            "skipped": False,
            "interrupted": False,
            "stopping_generation": False,
            "job": "",
            "job_count": 0,
            "job_timestamp": "0",
            "job_no": 0,
            "sampling_step": 0,
            "sampling_steps": 0,
        },
        "current_image": None,
        "textinfo": None,
    }


async def test_progress_of_two_batches(gateway: httpx.AsyncClient, slow: SlowService) -> None:
    """Half of the first of two batches is a quarter; the preview has the size of the image."""
    async with half_finished_request(gateway, slow, n_iter=2):
        body = (await gateway.get(f"{BASE}/progress?skip_current_image=false")).json()
        assert body["progress"] == pytest.approx(0.01 + 0.5 / 2)
        assert body["eta_relative"] > 0
        state = body["state"]
        assert (state["job_count"], state["job_no"], state["sampling_step"], state["sampling_steps"]) == (2, 0, 5, 10)
        assert open_image(body["current_image"]).size == (96, 64)
        skipped = (await gateway.get(f"{BASE}/progress?skip_current_image=true")).json()
        assert skipped["current_image"] is None
    assert await idle(gateway)


async def test_eta_of_one_batch_is_the_services(gateway: httpx.AsyncClient, slow: SlowService) -> None:
    """For a single batch the time left is the service's estimate."""
    async with half_finished_request(gateway, slow):
        assert 60 - LONG < (await gateway.get(f"{BASE}/progress")).json()["eta_relative"] <= 60


async def test_interrupt_returns_finished_images(
    gateway: httpx.AsyncClient, fake: FakeService, slow: SlowService
) -> None:
    """An interrupted request is answered at once with its finished images, and the call to the service is cancelled."""
    async with half_finished_request(gateway, slow, batch_size=2, n_iter=3) as task:
        assert (await gateway.post(f"{BASE}/interrupt")).json() == {}
        answer = await asyncio.wait_for(task, LONG)
        await asyncio.wait_for(fake.cancelled.wait(), LONG)
    assert answer.status_code == 200
    assert len(answer.json()["images"]) == 1
    assert json.loads(answer.json()["info"])["all_seeds"] == [1]
    assert len(fake.requests) == 1
    assert await idle(gateway)


async def test_interrupt_without_finished_images(gateway: httpx.AsyncClient, slow: SlowService) -> None:
    """If no image is finished, the list is empty and all other keys are there."""
    async with half_finished_request(gateway, slow) as task:
        await gateway.post(f"{BASE}/interrupt")
        answer = (await asyncio.wait_for(task, LONG)).json()
    assert answer["images"] == []
    info = json.loads(answer["info"])
    assert (info["seed"], info["all_seeds"], info["infotexts"]) == (1, [], [])


async def test_skip_ends_one_batch(gateway: httpx.AsyncClient, fake: FakeService, slow: SlowService) -> None:
    """A skipped batch ends, and the next one is made."""
    async with half_finished_request(gateway, slow, n_iter=2) as task:
        assert (await gateway.post(f"{BASE}/skip")).json() is None
        await asyncio.wait_for(slow.half_way.acquire(), LONG)
        slow.go.set()
        answer = await asyncio.wait_for(task, LONG)
    assert json.loads(answer.json()["info"])["all_seeds"] == [2]
    assert [request.seed for request in fake.requests] == [1, 2]


async def test_disconnect_cancels_the_call(gateway: httpx.AsyncClient, fake: FakeService, slow: SlowService) -> None:
    """If the client disconnects, the service's call is cancelled, and no job is running."""
    task = asyncio.create_task(gateway.post(f"{BASE}/txt2img", json={"prompt": "x"}))
    await asyncio.wait_for(slow.half_way.acquire(), LONG)
    task.cancel()
    await asyncio.wait_for(fake.cancelled.wait(), LONG)
    await wait_for_progress(gateway, lambda body: body["state"]["job_count"] == 0)


async def test_jobs_of_other_keys_are_hidden(service: Service, slow: SlowService, tmp_path: Path) -> None:
    """If keys are required, a key cannot see, stop or redirect the job of another key."""
    mine, other = (create(tmp_path / "keys", name) for name in ("me", "other"))
    stranger = {"authorization": "Basic " + base64.b64encode(f":{other}".encode()).decode()}
    async with running_gateway(config(service, tmp_path, keys=tmp_path / "keys")) as client:
        client.headers["authorization"] = f"Bearer {mine}"
        async with half_finished_request(client, slow) as task:
            body = (await client.get(f"{BASE}/progress", headers=stranger)).json()
            assert (body["state"]["job_count"], body["current_image"]) == (0, None)
            await client.post(f"{BASE}/interrupt", headers=stranger)
            await client.post(f"{BASE}/options", headers=stranger, json={"sd_model_checkpoint": "org/large"})
            assert (await client.get(f"{BASE}/options")).json()["sd_model_checkpoint"] == "tiny"
            assert not task.done()
            slow.go.set()
            assert len((await task).json()["images"]) == 1

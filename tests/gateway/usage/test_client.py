"""Usage of requests through every API, and who may see it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration

from tests.support.gateway.fakes import PATH, QUEUED, config, image, running_gateway
from tests.support.gateway.jobs import ended, submit
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import keyfile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from tests.support.gateway.fakes import FakeService, Service

pytestmark = pytest.mark.anyio
TIMINGS = pb.Timings(
    queue=Duration(seconds=9),
    encode=Duration(nanos=250_000_000),
    denoise=Duration(seconds=2),
    decode=Duration(seconds=1),
)


async def make_timed(request: pb.GenerateImagesRequest, _: Any) -> AsyncIterator[pb.StreamImagesResponse]:
    """Make images of 64 x 64, with timings."""
    yield QUEUED
    count = request.count or 1
    for index in range(count):
        yield image(index, timings=TIMINGS)
    usage = pb.Usage(images=count, steps=20 * count)
    yield pb.StreamImagesResponse(completed=pb.Completed(model=request.model or "tiny", usage=usage, timings=TIMINGS))


async def usage_of(client: httpx.AsyncClient, **query: str) -> list[dict[str, Any]]:
    """Return the items of `/v1/usage`."""
    response = await client.get("/v1/usage", params=query)
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["data"]
    return items


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_every_api_counts(service: Service, fake: FakeService, tmp_path: Path) -> None:
    """Plain responses, streams, vendors' APIs and the web UI's API count alike: requests, images, pixels, time."""
    fake.behave = make_timed
    async with running_gateway(config(service, tmp_path)) as client:
        for path, body in (
            (PATH, {"prompt": "a", "n": 2, "response_format": "b64_json"}),
            (PATH, {"prompt": "a", "n": 2, "stream": True, "response_format": "b64_json"}),
            ("/sdapi/v1/txt2img", {"prompt": "a", "batch_size": 2}),
            ("/oxen/api/ai/images/generate", {"prompt": "a", "model": "tiny", "n": 2}),
        ):
            before = (await usage_of(client) or [{"requests": 0, "images": 0, "steps": 0}])[0]
            response = await client.post(path, json=body)
            assert response.status_code == 200, response.text
            (item,) = await usage_of(client)
            added = {name: item[name] - before[name] for name in ("requests", "images", "steps")}
            assert added == {"requests": 1, "images": 2, "steps": 40}, path
        assert (item["key"], item["model"]) == ("", "tiny")
        assert item["megapixels"] == pytest.approx(item["images"] * 64 * 64 / 1e6)
        assert item["device_seconds"] == pytest.approx(item["requests"] * 3.25)
        assert item["requests"] == 4


async def test_jobs_count_for_the_key_that_submitted_them(service: Service, fake: FakeService, tmp_path: Path) -> None:
    """A job counts once, when it runs, for its key."""
    fake.behave = make_timed
    path = tmp_path / "keys"
    alice = keyfile.create(path, "alice")
    async with running_gateway(config(service, tmp_path, keys=path)) as client:
        client.headers.update(bearer(alice))
        job = await submit(client, {"prompt": "a", "n": 2})
        assert (await ended(client, job["id"]))["status"] == "succeeded"
        (item,) = await usage_of(client)
    assert (item["key"], item["requests"], item["images"], item["steps"]) == ("alice", 1, 2, 40)


async def test_several_calls_are_one_request(service: Service, fake: FakeService, tmp_path: Path) -> None:
    """A request of the web UI's API that makes two batches is one request with all of their images."""
    fake.behave = make_timed
    async with running_gateway(config(service, tmp_path)) as client:
        response = await client.post("/sdapi/v1/txt2img", json={"prompt": "a", "batch_size": 2, "n_iter": 2})
        assert response.status_code == 200
        (item,) = await usage_of(client)
    assert (item["requests"], item["images"]) == (1, 4)


async def test_failures_make_nothing(service: Service, fake: FakeService, tmp_path: Path) -> None:
    """Invalid requests, and errors of the service, count nothing; a repeated request counts once."""
    fake.behave = make_timed
    async with running_gateway(config(service, tmp_path)) as client:
        assert (await client.post(PATH, json={"prompt": ""})).status_code == 400
        assert (await client.post(PATH, json={"prompt": "a", "model": "unknown-name"})).status_code in (200, 404)
        before = await usage_of(client)
        headers = {"idempotency-key": "one"}
        for _ in range(2):
            assert (await client.post(PATH, json={"prompt": "a"}, headers=headers)).status_code == 200
        after = await usage_of(client)
    assert sum(each["images"] for each in after) - sum(each["images"] for each in before) == 1


async def test_a_cancelled_stream_counts_what_was_made(service: Service, fake: FakeService, tmp_path: Path) -> None:
    """Images that a stream has delivered count with their time, even if the client leaves before the others.

    They count for the default model if the request names none.
    """

    async def one_of_two(request: pb.GenerateImagesRequest, _: Any) -> AsyncIterator[pb.StreamImagesResponse]:
        yield QUEUED
        yield image(0, timings=TIMINGS)
        await asyncio.sleep(600)
        yield image(request.count)

    fake.behave = one_of_two
    async with running_gateway(config(service, tmp_path)) as client:
        body = {"prompt": "a", "n": 2, "stream": True}
        async with client.stream("POST", PATH, json=body) as response:
            async for line in response.aiter_lines():
                if line.startswith("event:"):
                    break
        await asyncio.wait_for(fake.cancelled.wait(), 10)
        while not (items := await usage_of(client)):
            pass
    found = [(each["model"], each["requests"], each["images"], each["device_seconds"]) for each in items]
    assert found == [("tiny", 1, 1, 3.25)]


async def test_keys_see_their_own_usage(service: Service, fake: FakeService, tmp_path: Path) -> None:
    """An admin key sees all keys or one, another key only its own, and a request without a key nothing."""
    fake.behave = make_timed
    path = tmp_path / "keys"
    alice, bob = keyfile.create(path, "alice"), keyfile.create(path, "bob")
    admin = keyfile.create(path, "ops", admin=True)
    async with running_gateway(config(service, tmp_path, keys=path)) as client:
        for key, count in ((alice, 1), (bob, 3)):
            response = await client.post(PATH, json={"prompt": "a", "n": count}, headers=bearer(key))
            assert response.status_code == 200
        assert (await client.get("/v1/usage")).status_code == 401
        client.headers.update(bearer(alice))
        assert [(each["key"], each["images"]) for each in await usage_of(client)] == [("alice", 1)]
        assert [each["key"] for each in await usage_of(client, key="alice")] == ["alice"]
        refused = await client.get("/v1/usage", params={"key": "bob"})
        assert (refused.status_code, "only its own usage" in refused.text) == (403, True)
        client.headers.update(bearer(admin))
        assert [(each["key"], each["images"]) for each in await usage_of(client)] == [("alice", 1), ("bob", 3)]
        assert [each["key"] for each in await usage_of(client, key="bob")] == ["bob"]
        assert await usage_of(client, since="2999-01-01", until="2999-01-02") == []


@pytest.mark.parametrize("query", [{"since": "yesterday"}, {"until": "2026-13-01"}, {"since": "x" * 10_000}])
async def test_days_are_checked(gateway: httpx.AsyncClient, query: dict[str, str]) -> None:
    """A day that is none is refused with the parameter's name."""
    response = await gateway.get("/v1/usage", params=query)
    assert response.status_code == 400
    (name,) = query
    assert name in json.loads(response.text)["error"]["message"]


async def test_usage_can_be_off(service: Service, tmp_path: Path) -> None:
    """Without usage images are made as before, and the route says how to turn it on."""
    async with running_gateway(config(service, tmp_path, usage_days=0)) as client:
        assert (await client.post(PATH, json={"prompt": "a"})).status_code == 200
        response = await client.get("/v1/usage")
    assert (response.status_code, "--usage-days" in response.text) == (404, True)

"""Metrics, and what they never reveal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.parser import text_string_to_metric_families

from tests.support.gateway.fakes import PATH, FakeService, Refusal, Service, config, running_gateway, sleep_long

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.anyio

PRIVATE = "prompt-that-nobody-may-read"


@pytest.fixture
async def fresh_gateway(service: Service, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Return a gateway whose counters are zero."""
    async with running_gateway(config(service, tmp_path)) as client:
        yield client


async def sample(client: httpx.AsyncClient, name: str, **labels: Any) -> float | None:
    """Return the value of one line."""
    text = (await client.get("/metrics")).text
    wanted = {key: str(value) for key, value in labels.items()}
    found = [
        one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if one.name == f"tintype_gateway_{name}" and one.labels == wanted
    ]
    return found[0] if found else None


async def test_counts_responses_and_images(fresh_gateway: httpx.AsyncClient) -> None:
    """Responses are counted by route, dialect and status, images by model."""
    for path in (PATH, PATH, "/oxen/api/ai/images/generate"):
        assert (await fresh_gateway.post(path, json={"prompt": PRIVATE, "n": 2})).status_code == 200
    await fresh_gateway.post(PATH, json={"prompt": ""})
    assert await sample(fresh_gateway, "requests_total", route=PATH, dialect="openai", status=200) == 2
    assert await sample(fresh_gateway, "requests_total", route=PATH, dialect="openai", status=400) == 1
    assert (
        await sample(fresh_gateway, "requests_total", route="/oxen/api/ai/images/generate", dialect="oxen", status=200)
        == 1
    )
    assert await sample(fresh_gateway, "images_total", model="tiny") == 6
    assert await sample(fresh_gateway, "request_seconds_count", route=PATH) == 3


async def test_counts_streamed_images(fresh_gateway: httpx.AsyncClient) -> None:
    """Streamed images are counted as well."""
    await fresh_gateway.post(PATH, json={"prompt": PRIVATE, "n": 3, "stream": True})
    assert await sample(fresh_gateway, "images_total", model="tiny") == 3


async def test_client_text_never_becomes_a_label(fresh_gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """Paths, prompts, unknown model names, keys and methods never become labels."""
    fake.behave = Refusal(grpc.StatusCode.NOT_FOUND, reason="MODEL_NOT_FOUND")
    for number in range(20):
        await fresh_gateway.get(f"/{PRIVATE}/{number}")
        await fresh_gateway.get(f"/v1/models/{PRIVATE}-{number}")
        await fresh_gateway.get(f"/files/{PRIVATE}/{number}.png")
        await fresh_gateway.request(f"METHOD{number}", PATH)
        await fresh_gateway.post(PATH, json={"prompt": PRIVATE, "model": f"{PRIVATE}{number}", "user": PRIVATE})
    text = (await fresh_gateway.get("/metrics")).text
    assert PRIVATE not in text
    assert "METHOD" not in text
    requests = [line for line in text.splitlines() if line.startswith("tintype_gateway_requests_total")]
    assert len(requests) < 8
    assert await sample(fresh_gateway, "requests_total", route="other", dialect="", status=404) == 20


async def test_counts_service_errors_by_reason(fresh_gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """Errors of the service are counted by its reasons."""
    fake.behave = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="QUEUE_FULL")
    await fresh_gateway.post(PATH, json={"prompt": "x"})
    assert await sample(fresh_gateway, "service_errors_total", reason="QUEUE_FULL", status=429) == 1


async def test_counts_running_and_disconnected(fresh_gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """Running requests are counted, and those of clients that disconnect get their own status."""
    fake.behave = sleep_long
    waiting = asyncio.create_task(fresh_gateway.post(PATH, json={"prompt": "x"}))
    await fake.started.wait()
    assert await sample(fresh_gateway, "requests_in_flight") == 2  # this one, and the question itself
    waiting.cancel()
    await fake.cancelled.wait()
    async with asyncio.timeout(10):
        while await sample(fresh_gateway, "requests_total", route=PATH, dialect="openai", status=499) != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await sample(fresh_gateway, "requests_in_flight") == 1


async def test_format_is_prometheus(fresh_gateway: httpx.AsyncClient) -> None:
    """The response is in Prometheus' format, and includes metrics of the process."""
    answer = await fresh_gateway.get("/metrics")
    assert answer.headers["content-type"] == CONTENT_TYPE_LATEST
    assert "process_resident_memory_bytes" in answer.text

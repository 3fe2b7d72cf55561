"""Progress events of a stream, sent on request only."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway.fakes import PATH, FakeService, image
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

pytestmark = pytest.mark.anyio


async def report_progress(_: pb.GenerateImagesRequest, __: Any) -> AsyncIterator[pb.StreamImagesResponse]:
    """Report queue position, loading and steps, then finish."""
    queued = pb.Queued(position=2)
    queued.eta.FromMilliseconds(1500)
    yield pb.StreamImagesResponse(queued=queued)
    yield pb.StreamImagesResponse(loading=pb.Loading(model="tiny", fraction=0.25))
    yield pb.StreamImagesResponse(progress=pb.Progress(index=1, step=3, steps=8))
    yield image()
    yield pb.StreamImagesResponse(completed=pb.Completed(model="tiny"))


async def streamed_events(gateway: httpx.AsyncClient, **headers: str) -> list[dict[str, Any]]:
    answer = await gateway.post(PATH, json={"prompt": "x", "stream": True}, headers=headers)
    blocks = [block.split("\n") for block in answer.text.split("\n\n") if block.startswith("event: ")]
    for name, data in blocks:
        assert json.loads(data.removeprefix("data: "))["type"] == name.removeprefix("event: ")
    return [json.loads(data.removeprefix("data: ")) for _, data in blocks]


async def test_progress_is_reported_on_request(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """Queue position, loading and steps are separate events; unknown values are left out."""
    fake.behave = report_progress
    assert (await streamed_events(gateway, **{"x-tintype-progress": "true"}))[:3] == [
        {"type": "tintype.queued", "position": 2, "eta": 1.5},
        {"type": "tintype.loading", "model": "tiny", "fraction": 0.25},
        {"type": "tintype.progress", "image_index": 1, "step": 3, "steps": 8},
    ]


@pytest.mark.parametrize("headers", [{}, {"x-tintype-progress": "false"}])
async def test_without_the_header_there_is_no_progress(
    gateway: httpx.AsyncClient, fake: FakeService, headers: dict[str, str]
) -> None:
    """Without the header there are only OpenAI's events."""
    fake.behave = report_progress
    assert [event["type"] for event in await streamed_events(gateway, **headers)] == ["image_generation.completed"]


async def test_the_service_makes_no_progress_that_is_not_read(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """Progress takes the service time between two steps, so it reports it only to streams that forward it."""
    await gateway.post(PATH, json={"prompt": "x"})
    await streamed_events(gateway)
    await streamed_events(gateway, **{"x-tintype-progress": "true"})
    assert fake.with_progress == [False, False, True]

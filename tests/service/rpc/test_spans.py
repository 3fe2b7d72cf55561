"""Spans of the service's calls."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from tests.support.collector import running_collector
from tintype.service.errors import GenerationFailed
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
PROMPT = "words that no span has"


def test_calls_have_spans(running: Any, fake_device: Any) -> None:
    """A call that fails by the server's fault marks its span; a wrong request does not. Lists have no own trace."""

    def script(job: Any) -> list[Any]:
        return [GenerationFailed("no image")] if job.prompt == PROMPT else []

    async def scenario(url: str) -> None:
        async with running(device=fake_device(script), otel=url) as here:
            stub: Any = pb_grpc.ImageServiceStub(here.channel)
            for request in (pb.GenerateImagesRequest(prompt=PROMPT), pb.GenerateImagesRequest(prompt="x", steps=9999)):
                with pytest.raises(grpc.aio.AioRpcError):
                    await stub.GenerateImages(request, metadata=[("traceparent", PARENT), ("x-request-id", "req_1")])
            await stub.ListModels(pb.ListModelsRequest())
            await stub.ListModels(pb.ListModelsRequest(), metadata=[("traceparent", PARENT)])

    with running_collector() as collector:
        asyncio.run(scenario(collector.url))
    failed, refused, listed = collector.spans
    assert {span.trace_id for span in collector.spans} == {TRACE}
    assert failed.name == refused.name == "tintype.v1.ImageService/GenerateImages"
    assert (failed.failed, failed.attributes["error.type"]) == (True, "INTERNAL")
    assert failed.attributes["tintype.request.id"] == "req_1"
    assert (refused.failed, refused.attributes["rpc.response.status_code"]) == (False, "INVALID_ARGUMENT")
    assert listed.name.endswith("/ListModels")
    assert PROMPT not in str(collector.spans)

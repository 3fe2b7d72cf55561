"""Traces from the gateway through the service to its stages, as a collector gets them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.collector import CollectedSpan, running_collector
from tests.support.serving import serving

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PATH, CALL = "/v1/images/generations", "tintype.v1.ImageService/StreamImages"
SERVER, CLIENT = 2, 3
PRIVATE = "words that no span may have"


def within(inner: CollectedSpan, outer: CollectedSpan, margin: int = 5_000_000) -> bool:
    """Whether a span is inside another one; clocks are read at different times."""
    return outer.began - margin <= inner.began <= inner.ended <= outer.ended + margin


def test_one_trace_for_a_request(tmp_path: Path) -> None:
    """The spans of gateway, call, service and stages are one tree below the client's span, and none has the prompt."""

    async def scenario(url: str) -> None:
        async with serving(tmp_path, otel=url) as (_, _, rest), httpx.AsyncClient(base_url=rest) as client:
            headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "x-request-id": "req_1"}
            body = {"prompt": PRIVATE, "n": 2, "seed": 3, "size": "64x64"}
            (await client.post(PATH, json=body, headers=headers)).raise_for_status()
            assert (await client.post(PATH, json={"prompt": PRIVATE, "steps": 0})).status_code == 400
            await client.get("/livez")

    with running_collector() as collector:
        asyncio.run(scenario(collector.url))
        request, refused = (span for span in collector.spans if span.name == f"POST {PATH}")
        (call,) = collector.children(request)
        (served,) = collector.children(call)
        stages = {span.name: span for span in collector.children(served) if span.name != "encode-image"}
        encoded = [span for span in collector.children(served) if span.name == "encode-image"]
    assert (request.trace_id, request.parent, request.kind) == (TRACE, CALLER, SERVER)
    assert (request.server, request.attributes["http.route"]) == ("tintype-gateway", PATH)
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["tintype.request.id"] == served.attributes["tintype.request.id"] == "req_1"
    assert (call.name, call.kind, call.attributes["rpc.response.status_code"]) == (CALL, CLIENT, "OK")
    assert call.attributes["server.address"].startswith("127.0.0.1:")
    assert (served.name, served.kind, served.server) == (CALL, SERVER, "tintype-service")
    for span in (call, served):
        assert span.attributes["gen_ai.operation.name"] == "generate_content"
        assert span.attributes["gen_ai.output.type"] == "image"
        assert (span.attributes["gen_ai.request.choice.count"], span.attributes["gen_ai.request.seed"]) == (2, 3)
        assert span.attributes["gen_ai.response.model"] == "tintype-demo"
    assert list(stages) == ["queue", "encode", "denoise", "decode"]
    assert len(encoded) == 2
    for child, parent in [*((span, served) for span in (*stages.values(), *encoded)), (call, request)]:
        assert within(child, parent), (child, parent)
        assert child.trace_id == TRACE
    assert served.began > call.began  # it may end later: the gateway needs only its last message
    busy = stages["denoise"].attributes["tintype.busy_seconds"]
    assert 0 < busy * 1e9 <= stages["denoise"].ended - stages["denoise"].began + 1000
    assert (refused.parent, refused.failed) == ("", False)
    assert refused.trace_id != TRACE
    assert {span.name for span in collector.spans if span.failed} == set()
    assert PRIVATE not in json.dumps([span.attributes for span in collector.spans])
    assert "livez" not in str(collector.spans)

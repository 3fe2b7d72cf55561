"""Traces in the gateway: what goes to the service and into the log, and the spans."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.collector import Collector, running_collector
from tests.support.gateway.fakes import PATH, FakeService, Refusal, Service, config, running_gateway
from tintype.gateway.errors import StartError
from tintype.gateway.server import serve
from tintype.v1 import tracing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
PROMPT = "a lake that is private"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


async def test_the_service_gets_the_trace(
    service: Service, fake: FakeService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without OpenTelemetry the client's trace context goes to the service, and its id into the log."""
    caplog.set_level(logging.INFO, "tintype.gateway.access")
    async with running_gateway(config(service, tmp_path)) as client:
        for headers in ({"traceparent": PARENT, "tracestate": "a=1"}, {"traceparent": "wrong"}, {}):
            await client.post(PATH, json={"prompt": "a lake"}, headers=headers)
    metadata = [each for each in fake.metadata if "x-request-id" in each][-3:]
    assert [(each.get("traceparent"), each.get("tracestate")) for each in metadata] == [
        (PARENT, "a=1"),
        (None, None),
        (None, None),
    ]
    pairs = [record.pairs for record in caplog.records if hasattr(record, "pairs")]
    assert [(list(each)[:2], each["trace"]) for each in pairs] == [(["id", "trace"], TRACE)] + [
        (["id", "trace"], "")
    ] * 2


async def test_failures_mark_spans(service: Service, fake: FakeService, tmp_path: Path, collector: Collector) -> None:
    """A failure of the service marks the request and the call; a mistake of the client marks only the call."""
    async with running_gateway(config(service, tmp_path, otel=collector.url)) as client:
        for code, reason in (
            (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
            (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
        ):
            fake.behave = Refusal(code, reason=reason)
            await client.post(PATH, json={"prompt": PROMPT, "model": "tiny", "stream": reason == "UNAVAILABLE"})
    requests = [span for span in collector.spans if span.name == f"POST {PATH}"]
    calls = [span for request in requests for span in collector.children(request)]
    assert [span.failed for span in requests] == [True, False]
    assert [span.attributes["error.type"] for span in calls] == ["UNAVAILABLE", "MODEL_NOT_FOUND"]
    assert [span.attributes["http.response.status_code"] for span in requests] == [503, 404]
    assert PROMPT not in str(collector.spans)


async def test_prompts_are_in_spans_only_if_configured(service: Service, tmp_path: Path, collector: Collector) -> None:
    """With --log-prompts the span of the call has the prompt, as the conventions define it."""
    async with running_gateway(config(service, tmp_path, otel=collector.url, log_prompts=True)) as client:
        await client.post(PATH, json={"prompt": PROMPT})
    call = collector.named("tintype.v1.ImageService/StreamImages")
    assert PROMPT in call.attributes["gen_ai.input.messages"]


async def test_signatures_are_not_in_spans(service: Service, tmp_path: Path, collector: Collector) -> None:
    """A link to a result is a secret: its span has the path without the signature; monitoring has no spans."""
    async with running_gateway(config(service, tmp_path, otel=collector.url)) as client:
        await client.get("/files/signature/name.png?key=secret")
        await client.request("PROPFIND", "/x")
        for path in ("/livez", "/readyz", "/metrics"):
            await client.get(path)
    file, other = collector.spans
    assert (file.name, file.attributes["url.path"]) == ("GET /files/{access}/{name}", "/files/-/name.png")
    assert (other.name, other.attributes["http.request.method"]) == ("_OTHER", "_OTHER")
    assert "secret" not in str(collector.spans)


async def test_long_paths_are_cut(
    service: Service, tmp_path: Path, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """The log and the spans, which wait in memory for the collector, have only the beginning of a long path."""
    caplog.set_level(logging.INFO, "tintype.gateway.access")
    async with running_gateway(config(service, tmp_path, otel=collector.url)) as client:
        await client.get("/" + 50_000 * "a")
    (request,) = (span for span in collector.spans if "a" * 100 in str(span.attributes.get("url.path")))
    assert len(str(request.attributes["url.path"])) < 2000
    own = [record for record in caplog.records if record.name.startswith("tintype.")]  # not those of the test's client
    assert 0 < max(len(record.getMessage()) for record in own) < 2000


async def test_a_missing_extra_is_one_line(tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --otel and without the extra the gateway does not start, and says what to install."""

    def missing(*_: Any) -> None:
        raise ImportError("No module named 'opentelemetry'")

    monkeypatch.setattr(tracing, "_RecordingTracer", missing)
    with pytest.raises(StartError, match=r"^traces need an extra: pip install '.\[otel\]' in the clone"):
        await serve(config(service, tmp_path, otel="http://127.0.0.1:4318"))

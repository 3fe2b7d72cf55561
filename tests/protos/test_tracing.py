"""Trace context as W3C defines it, and spans without OpenTelemetry."""

from __future__ import annotations

import asyncio
import builtins
import json
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.collector import running_collector
from tintype.v1 import logs, tracing
from tintype.v1.threads import Threads
from tintype.v1.tracing import TraceContext, Tracer, TracingUnavailable, current_span, open_tracer

if TYPE_CHECKING:
    from collections.abc import Mapping

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*tracing.ENDPOINTS, "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)


def test_context_is_passed_on() -> None:
    """The context of a caller is sent as it came, with its state."""
    headers = {"traceparent": PARENT, "tracestate": "a=1,b=2"}
    found = TraceContext.from_headers(headers)
    assert found == TraceContext(TRACE, SPAN, 1, "a=1,b=2")
    assert dict(found.headers()) == headers


@pytest.mark.parametrize(
    "value",
    [
        "",
        PARENT.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"{PARENT}-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00_{TRACE}_{SPAN}_01",
    ],
)
def test_invalid_context_is_ignored(value: str) -> None:
    """A context that breaks a rule of the standard begins no trace."""
    assert TraceContext.from_headers({"traceparent": value}) is None


def test_a_newer_version_is_read() -> None:
    """Of a newer version the known parts are read; a state that is too long or not plain is dropped."""
    assert TraceContext.from_headers({"traceparent": f"01-{TRACE}-{SPAN}-00-new"}) == TraceContext(TRACE, SPAN)
    for state in ("x" * 513, "a=\nb", "a=ä"):
        found = TraceContext.from_headers({"traceparent": PARENT, "tracestate": state})
        assert found
        assert found.state == ""


@given(st.dictionaries(st.sampled_from(["traceparent", "tracestate"]), st.text(max_size=80)))
def test_any_text_is_read(headers: Mapping[str, str]) -> None:
    """No header raises, and what is passed on is valid again."""
    found = TraceContext.from_headers(headers)
    assert found is None or TraceContext.from_headers(dict(found.headers())) == found


def test_without_opentelemetry_the_trace_goes_on() -> None:
    """Without an endpoint nothing is recorded; the current span has the caller's context, and none afterwards."""
    tracer = open_tracer("tintype-gateway")
    with tracer.server("GET", {"traceparent": PARENT}) as span:
        assert (current_span(), span.trace_id, span.recording) == (span, TRACE, False)
        with tracer.client("call"):
            assert dict(current_span().headers()) == {"traceparent": PARENT}
            current_span().set({"a": 1})
            current_span().fail("x")
            current_span().stage("queue", 0, 1, {})
            current_span().rename("y")
    assert current_span().trace_id == ""
    with tracer.server("GET", {}):
        assert current_span().headers() == ()
    tracer.close()


def without_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the packages of the extra missing."""
    original = builtins.__import__

    def missing(name: str, *args: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(f"No module named {name!r}")
        return original(name, *args)

    monkeypatch.setattr(builtins, "__import__", missing)


def test_a_missing_extra_is_an_error_or_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The setting fails without the extra; a variable, which may be for other programs, only warns."""
    without_opentelemetry(monkeypatch)
    with pytest.raises(
        TracingUnavailable, match=r"^traces need an extra: pip install '.\[otel\]' in the clone \(No module"
    ):
        open_tracer("tintype-gateway", "http://127.0.0.1:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert type(open_tracer("tintype-gateway")) is Tracer
    assert "no traces: traces need an extra" in caplog.text


def test_spans_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans have parents, kinds, attributes, errors and stages; the last ones are sent at the end."""
    with running_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
        tracer, now = open_tracer("tintype-gateway"), time.monotonic()
        with (
            tracer.server("GET", {"traceparent": PARENT, "tracestate": "a=1"}) as outer,
            tracer.client("call") as inner,
        ):
            context = TraceContext.from_headers(dict(current_span().headers()))
            assert context
            inner.set({"set": "x", "empty": "", "none": None})
            inner.fail("UNAVAILABLE")
            inner.stage("queue", now - 2, now - 1, {"busy": 0.5})
            outer.rename("GET /x")
        tracer.close()
        request, call, stage = (collector.named(name, "mine") for name in ("GET /x", "call", "queue"))
    assert (request.trace_id, request.parent, call.parent, stage.parent) == (TRACE, SPAN, request.id, call.id)
    assert (context.trace_id, context.span_id, context.state) == (TRACE, call.id, "a=1")
    assert call.attributes == {"set": "x", "error.type": "UNAVAILABLE"}
    assert (call.failed, request.failed, stage.attributes) == (True, False, {"busy": 0.5})
    assert abs(stage.ended - stage.began - 1e9) < 1e6


def test_spans_that_are_not_sampled_continue_the_trace() -> None:
    """If the caller does not record its trace, neither do we, and the next server learns of it."""
    with running_collector() as collector:
        tracer = open_tracer("tintype-gateway", collector.url)
        with tracer.server("GET", {"traceparent": PARENT[:-1] + "0"}), tracer.client("call") as span:
            assert span.recording is False
            assert dict(span.headers())["traceparent"].startswith(f"00-{TRACE}-")
            assert dict(span.headers())["traceparent"].endswith("-00")
        tracer.close()
    assert collector.spans == []


@pytest.mark.anyio
async def test_every_line_of_a_request_has_its_ids() -> None:
    """Lines that other modules and threads write for a request have its ids; lines outside of it have none."""
    formatter = logs.JsonFormatter("gateway")

    def line() -> dict[str, Any]:
        record = logging.LogRecord("tintype.x", logging.INFO, "", 0, "text", None, None)
        found: dict[str, Any] = json.loads(formatter.format(record))
        return found

    async def request() -> list[dict[str, Any]]:
        with Tracer().server("GET", {"traceparent": PARENT}):
            logs.set_ids(id="req_1")
            return [line(), await Threads("test", 1, 10.0).call(line)]

    found = await asyncio.create_task(request())
    assert [(each["id"], each["trace"]) for each in found] == [("req_1", TRACE)] * 2
    assert not {"id", "trace"} & line().keys()

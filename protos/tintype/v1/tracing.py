"""Traces: W3C trace context over HTTP and gRPC, and spans, which OpenTelemetry records if it is turned on.

    with tracer.server("POST /v1/images/generations", headers) as span:      the request that is served
        with tracer.client("tintype.v1.ImageService/StreamImages"):          a call to another server
            metadata = current_span().headers()                              continues the trace there

Without OpenTelemetry nothing is recorded, and the trace context of an incoming request is passed on as it is. The log
shows its trace id. `open_tracer` imports the packages of the extra `otel` only if an endpoint is set.
"""

from __future__ import annotations

import logging
import os
import re
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeAlias

from . import logs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

log = logging.getLogger(__name__)

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")  # variables of OpenTelemetry
TRACES_PATH = "/v1/traces"
MAX_STATE = 512  # characters
FLUSH_TIME = 5.0  # seconds to send the last spans at the end
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

Value: TypeAlias = "str | int | float | bool"


class TracingUnavailable(Exception):
    """Spans can't be recorded; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The trace and the span that a request belongs to, in hexadecimal digits (https://www.w3.org/TR/trace-context)."""

    trace_id: str
    span_id: str
    flags: int = 0
    state: str = ""

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> TraceContext | None:
        """Return the context in headers or metadata, by lower-case name; None if it is missing or not valid."""
        found = _TRACEPARENT.fullmatch(headers.get(TRACEPARENT, "")[:256].strip())
        if not found:
            return None
        version, trace_id, span_id, flags, rest = found.groups()
        if version == "ff" or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
            return None
        state = headers.get(TRACESTATE, "").strip()
        usable = len(state) <= MAX_STATE and state.isascii() and state.isprintable()
        return cls(trace_id, span_id, int(flags, 16), state if usable else "")

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the headers, or the metadata, that continue the trace."""
        parent = (TRACEPARENT, f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}")
        return (parent, (TRACESTATE, self.state)) if self.state else (parent,)


class Span:
    """A span that is not recorded. Its context is that of the caller, if the caller sent one."""

    recording = False

    def __init__(self, context: TraceContext | None = None) -> None:
        self.context = context

    @property
    def trace_id(self) -> str:
        """The trace id, 32 hexadecimal digits; empty if there is no trace."""
        return self.context.trace_id if self.context else ""

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the headers, or the metadata, that continue the trace in another server."""
        return self.context.headers() if self.context else ()

    def rename(self, name: str) -> None:
        """Change the name."""

    def set(self, attributes: Mapping[str, Value | None]) -> None:
        """Set attributes, except those that are None or empty text."""

    def fail(self, kind: str, message: str = "") -> None:
        """Mark the span as failed; `kind` is the value of `error.type`."""

    def stage(self, name: str, began: float, ended: float, attributes: Mapping[str, Value | None]) -> None:
        """Add a finished child; times are those of `time.monotonic`, in seconds."""

    def end(self) -> None:
        """End the span."""


_NONE = Span()
_SPAN: ContextVar[Span] = ContextVar("tintype-span", default=_NONE)  # it has no state


def current_span() -> Span:
    """Return the span of the request or call that runs in this context."""
    return _SPAN.get()


class Tracer:
    """Makes spans that are not recorded."""

    @contextmanager
    def server(
        self, name: str, headers: Mapping[str, str], attributes: Mapping[str, Value | None] | None = None
    ) -> Iterator[Span]:
        """Serve a request inside the block, whose span is the current one; `headers` may continue a trace."""
        own = self._server(name, TraceContext.from_headers(headers), attributes or {})
        with logs.separate_ids(), self._current(own) as span:
            logs.set_ids(trace=span.trace_id)
            yield span

    @contextmanager
    def client(self, name: str, attributes: Mapping[str, Value | None] | None = None) -> Iterator[Span]:
        """Call another server inside the block, whose span is the current one."""
        with self._current(self._client(name, current_span(), attributes or {})) as span:
            yield span

    def close(self) -> None:
        """Send the spans that were not sent yet, for a limited time. Blocks."""

    @contextmanager
    def _current(self, span: Span) -> Iterator[Span]:
        """Make a span the current one inside the block, and end it.

        The block may be part of an asynchronous generator that is closed in another context, so no token is used.
        """
        before = _SPAN.get()
        _SPAN.set(span)
        try:
            yield span
        finally:
            _SPAN.set(before)
            span.end()

    def _server(self, name: str, parent: TraceContext | None, attributes: Mapping[str, Value | None]) -> Span:  # noqa: ARG002
        return Span(parent)

    def _client(self, name: str, parent: Span, attributes: Mapping[str, Value | None]) -> Span:  # noqa: ARG002
        return Span(parent.context)


def open_tracer(service: str, endpoint: str = "") -> Tracer:
    """Return the tracer of a server, which sends spans to an OTLP endpoint over HTTP, if one is set.

    `endpoint` is its URL; by default OpenTelemetry's own variables count. `service` is the name of the server, unless
    OTEL_SERVICE_NAME sets another.

    Raises TracingUnavailable if the extra `otel` is not installed; without `endpoint` this is only a warning.
    """
    if not endpoint and not any(map(os.environ.get, ENDPOINTS)):
        return Tracer()
    try:
        return _RecordingTracer(service, endpoint)
    except ImportError as error:
        missing = f"traces need an extra: pip install '.[otel]' in the clone ({error})"
        if endpoint:
            raise TracingUnavailable(missing) from error
        log.warning("no traces: %s", missing)
        return Tracer()


class _RecordedSpan(Span):
    """A span of OpenTelemetry. Spans that were not sampled are not recorded, but continue the trace."""

    def __init__(self, tracer: Any, span: Any) -> None:
        ids = span.get_span_context()
        state = ids.trace_state.to_header()
        super().__init__(TraceContext(f"{ids.trace_id:032x}", f"{ids.span_id:016x}", ids.trace_flags, state))
        self.tracer, self.span, self.recording = tracer, span, span.is_recording()

    def rename(self, name: str) -> None:
        """Change the name."""
        self.span.update_name(name)

    def set(self, attributes: Mapping[str, Value | None]) -> None:
        """Set attributes, except those that are None or empty text."""
        self.span.set_attributes(_present(attributes))

    def fail(self, kind: str, message: str = "") -> None:
        """Mark the span as failed; `kind` is the value of `error.type`."""
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - of the extra `otel`

        self.span.set_attribute("error.type", kind)
        self.span.set_status(Status(StatusCode.ERROR, message or None))

    def stage(self, name: str, began: float, ended: float, attributes: Mapping[str, Value | None]) -> None:
        """Add a finished child; times are those of `time.monotonic`, in seconds."""
        offset = time.time() - time.monotonic()
        start, end = (round((offset + each) * 1e9) for each in (began, ended))
        child = self.tracer.start_span(name, _context_of(self.span), start_time=start, attributes=_present(attributes))
        child.end(end)

    def end(self) -> None:
        """End the span."""
        self.span.end()


class _RecordingTracer(Tracer):
    """Makes spans of OpenTelemetry, and sends them in the background. Raises ImportError without its packages."""

    def __init__(self, service: str, endpoint: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        name = os.environ.get("OTEL_SERVICE_NAME") or service
        url = endpoint if not endpoint or endpoint.endswith(TRACES_PATH) else endpoint.rstrip("/") + TRACES_PATH
        self._provider = TracerProvider(resource=Resource.create({"service.name": name}), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url or None)))
        self._tracer = self._provider.get_tracer("tintype")

    def close(self) -> None:
        """Send the spans that were not sent yet, for a limited time. Blocks."""
        closing = Thread(target=self._provider.shutdown, name="tintype-traces", daemon=True)
        closing.start()
        closing.join(FLUSH_TIME)

    def _server(self, name: str, parent: TraceContext | None, attributes: Mapping[str, Value | None]) -> Span:
        from opentelemetry.context import Context  # noqa: PLC0415
        from opentelemetry.trace import SpanKind  # noqa: PLC0415

        return self._start(name, _remote(parent) if parent else Context(), SpanKind.SERVER, attributes)

    def _client(self, name: str, parent: Span, attributes: Mapping[str, Value | None]) -> Span:
        from opentelemetry.context import Context  # noqa: PLC0415
        from opentelemetry.trace import SpanKind  # noqa: PLC0415

        context = _context_of(parent.span) if isinstance(parent, _RecordedSpan) else Context()
        return self._start(name, context, SpanKind.CLIENT, attributes)

    def _start(self, name: str, context: Any, kind: Any, attributes: Mapping[str, Value | None]) -> Span:
        span = self._tracer.start_span(name, context, kind=kind, attributes=_present(attributes))
        return _RecordedSpan(self._tracer, span)


def _context_of(span: Any) -> Any:
    """Return OpenTelemetry's context with a span as the parent."""
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace import set_span_in_context  # noqa: PLC0415

    return set_span_in_context(span, Context())


def _remote(parent: TraceContext) -> Any:
    """Return OpenTelemetry's context with the span of a caller as the parent."""
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState  # noqa: PLC0415

    state = TraceState.from_header([parent.state]) if parent.state else TraceState()
    ids = int(parent.trace_id, 16), int(parent.span_id, 16)
    return _context_of(NonRecordingSpan(SpanContext(*ids, True, TraceFlags(parent.flags), state)))  # noqa: FBT003


def _present(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if value is not None and value != ""}

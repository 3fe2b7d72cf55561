"""A collector of traces: takes OTLP over HTTP, and keeps the spans."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class CollectedSpan:
    """A span as the collector got it; ids are in hexadecimal digits, times in nanoseconds."""

    server: str
    name: str
    kind: int
    trace_id: str
    id: str
    parent: str
    began: int
    ended: int
    attributes: dict[str, Any]
    failed: bool


@dataclass
class Collector:
    """The address of a collector, and the spans so far, in the order of their beginning."""

    url: str
    received: list[CollectedSpan] = field(default_factory=list)

    @property
    def spans(self) -> list[CollectedSpan]:
        return sorted(self.received, key=lambda span: span.began)

    def named(self, name: str, server: str = "") -> CollectedSpan:
        """Return the only span of this name, or the only one of a server."""
        (found,) = (span for span in self.received if span.name == name and server in ("", span.server))
        return found

    def children(self, parent: CollectedSpan) -> list[CollectedSpan]:
        return [span for span in self.spans if span.parent == parent.id]

    def add(self, data: bytes) -> None:
        for group in ExportTraceServiceRequest.FromString(data).resource_spans:
            server = _values(group.resource.attributes)["service.name"]
            for scope in group.scope_spans:
                self.received += [_collected(server, span) for span in scope.spans]


def _collected(server: str, span: Any) -> CollectedSpan:
    return CollectedSpan(
        server=server,
        name=span.name,
        kind=span.kind,
        trace_id=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        began=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        attributes=_values(span.attributes),
        failed=span.status.code == 2,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Run a collector on a free port while inside the block."""
    collector = Collector("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf":
                collector.add(data)
                self.send_response(200)
            else:
                self.send_response(404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()

"""Spans of calls, with the names of OpenTelemetry's semantic conventions where they have some.

A span never has a prompt.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tintype.v1.limits import SERVICE
from tintype.v1.tracing import TRACEPARENT, Tracer

from .calls import QUIET

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.message import Message

    from tintype.v1.tracing import Span

    from .calls import Call

# Of the statuses that gRPC servers send, those that are faults of the server (rpc-spans.md of the conventions).
FAULTS = ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")


@contextmanager
def trace_call(tracer: Tracer, metadata: Iterable[tuple[str, str | bytes]] | None, request: Message) -> Iterator[Span]:
    """Serve a call inside the block, as a span that continues the trace in its metadata.

    Without a trace, calls that describe models have no span: servers make them all the time.
    """
    headers = {name: value for name, value in metadata or () if isinstance(value, str)}
    call = request.DESCRIPTOR.name.removesuffix("Request")
    method = f"{SERVICE}/{call}"
    if call in QUIET and TRACEPARENT not in headers:
        tracer = Tracer()
    with tracer.server(method, headers, {"rpc.system.name": "grpc", "rpc.method": method}) as span:
        if span.recording:
            span.set(_request_attributes(getattr(request, "generation", request)))
        yield span


def end_call(span: Span, call: Call) -> None:
    """Set the outcome of a call. A cancelled one has not failed: its client has left."""
    if span.recording:
        span.set({"rpc.response.status_code": call.outcome})
        span.set({"tintype.request.id": call.id, "tintype.device": call.device})
        if call.outcome in FAULTS:
            span.fail(call.outcome)


def _request_attributes(request: Any) -> dict[str, str | int | None]:
    """Return what a request asks for; nothing for a call that generates no images."""
    if request.DESCRIPTOR.name != "GenerateImagesRequest":
        return {}
    seed = request.seed if request.HasField("seed") else None
    operation = {"gen_ai.operation.name": "generate_content", "gen_ai.output.type": "image"}
    return operation | {
        "gen_ai.request.model": request.model,
        "gen_ai.request.choice.count": request.count if request.count > 1 else None,
        "gen_ai.request.seed": seed,
    }

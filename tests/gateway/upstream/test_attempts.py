"""What the error of a call means for its repetition."""

from __future__ import annotations

import grpc
import pytest

from tests.support.gateway.fakes import Refusal
from tintype.gateway.upstream.attempts import Outcome, classify

Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("refusal", "outcome"),
    [
        (Refusal(Code.UNAVAILABLE, "Socket closed"), Outcome.LOST),
        (Refusal(Code.INTERNAL, "Received RST_STREAM with error code 2"), Outcome.LOST),
        (Refusal(Code.CANCELLED, "Received RST_STREAM with error code 8"), Outcome.LOST),
        (Refusal(Code.NOT_FOUND, "Application metadata not set"), Outcome.LOST),
        (Refusal(Code.UNIMPLEMENTED, "Received http2 header with status: 404"), Outcome.LOST),
        (Refusal(Code.UNAVAILABLE, "failed to connect to all addresses; last error: x"), Outcome.UNREACHED),
        (Refusal(Code.UNAVAILABLE, "Domain name not found"), Outcome.UNREACHED),
        (Refusal(Code.RESOURCE_EXHAUSTED, "Request dropped due to backpressure"), Outcome.FULL),
        (Refusal(Code.RESOURCE_EXHAUSTED, "Sent message larger than max (70 vs. 64)"), Outcome.FINAL),
        (Refusal(Code.DEADLINE_EXCEEDED, "Deadline Exceeded"), Outcome.FINAL),
        (Refusal(Code.UNAUTHENTICATED, "send a key", "NO_KEY"), Outcome.FINAL),
        (Refusal(Code.UNAVAILABLE, "the server is shutting down", "UNAVAILABLE"), Outcome.REFUSED),
        (Refusal(Code.RESOURCE_EXHAUSTED, "the queue is full", "QUEUE_FULL"), Outcome.FULL),
        (Refusal(Code.RESOURCE_EXHAUSTED, "not enough memory", "OUT_OF_MEMORY"), Outcome.FINAL),
        (Refusal(Code.NOT_FOUND, "no model", "MODEL_NOT_FOUND"), Outcome.UNKNOWN_MODEL),
        (Refusal(Code.INTERNAL, "the image is entirely black", "GENERATION_FAILED"), Outcome.FINAL),
        (Refusal(Code.INVALID_ARGUMENT, "steps", "INVALID_FIELD"), Outcome.FINAL),
    ],
    ids=lambda value: f"{value.code.name}-{value.reason}" if isinstance(value, Refusal) else value.name,
)
def test_meanings(refusal: Refusal, outcome: Outcome) -> None:
    """An error that the service explains is its answer, but for three reasons; others come from the connection."""
    trailers = grpc.aio.Metadata(*refusal.trailers)
    error = grpc.aio.AioRpcError(refusal.code, grpc.aio.Metadata(), trailers, refusal.message)
    assert classify(error) is outcome

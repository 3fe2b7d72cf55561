"""Errors of calls to a device's process: lost, refused, or final."""

from __future__ import annotations

import grpc
import pytest

from tintype.service.devices.failures import Failure, classify, reason_of
from tintype.service.errors import InvalidField, QueueFull
from tintype.service.rpc.status import to_status

UNAVAILABLE, INTERNAL = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL


@pytest.mark.parametrize(
    ("code", "message", "reason", "expected"),
    [
        (UNAVAILABLE, "Socket closed", "", Failure.PROCESS_LOST),
        (INTERNAL, "RST_STREAM", "", Failure.PROCESS_LOST),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", "", Failure.FINAL),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "message too large", "", Failure.FINAL),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", "QUEUE_FULL", Failure.REFUSED),
        (UNAVAILABLE, "the server is shutting down", "UNAVAILABLE", Failure.REFUSED),
        (INTERNAL, "the image is entirely black", "GENERATION_FAILED", Failure.FINAL),
        (INTERNAL, "unet failed: CUDA failure 700: an illegal memory access", "GENERATION_FAILED", Failure.DEVICE_LOST),
        (INTERNAL, "unet failed: Device lost.", "GENERATION_FAILED", Failure.DEVICE_LOST),
        (INTERNAL, "VK_ERROR_DEVICE_LOST", "GENERATION_FAILED", Failure.DEVICE_LOST),
        (grpc.StatusCode.INVALID_ARGUMENT, "prompt: device lost", "INVALID_FIELD", Failure.FINAL),
        (grpc.StatusCode.PERMISSION_DENIED, "the safety checker refuses it", "MODERATION_BLOCKED", Failure.FINAL),
    ],
)
def test_meanings(code: grpc.StatusCode, message: str, reason: str, expected: Failure) -> None:
    """Errors without a reason come from the connection; only texts of drivers say that the device is lost."""
    assert classify(code, message, reason) is expected


@pytest.mark.parametrize("error", [QueueFull("full"), InvalidField("steps", "must be 1 to 150, not 900")])
def test_reasons(error: QueueFull | InvalidField) -> None:
    """The reason is read from the details that the service sends; an error without details has none."""
    status = to_status(error)
    metadata = grpc.aio.Metadata(*status.trailing)
    call_error = grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), metadata, status.message)
    assert reason_of(call_error) == error.reason
    for trailers in (grpc.aio.Metadata(), grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff"))):
        assert reason_of(grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), trailers)) == ""
